"""The versions that a measurement depends on."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("lm-probe", "torch", "transformers", "lm-eval", "datasets")


@cache
def versions() -> dict[str, str]:
    """Installed versions by package name; asks the package metadata and imports nothing."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found
