"""The versions that a measurement depends on, and those that are recorded with it."""

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("lm-probe", "torch", "transformers", "lm-eval", "datasets")
_BESIDE = ("numpy",)


@cache
def versions() -> dict[str, str]:
    """Of the packages that make a measurement another one; asks the package metadata and imports nothing."""
    return {package: _version(package) for package in _PACKAGES}


@cache
def recorded_versions() -> dict[str, str]:
    """What is recorded with a measurement: also Python's and numpy's, for which nothing is measured again."""
    return versions() | {package: _version(package) for package in _BESIDE} | {"python": platform.python_version()}


def other_versions(held: Mapping[str, str]) -> list[str]:
    """Packages of which something was measured with another version than is installed, so that it is measured again."""
    return [
        f"{package} {held[package]}" if held.get(package) else f"no {package}"
        for package, installed in versions().items()
        if held.get(package, "") != installed
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
