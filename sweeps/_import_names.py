"""Which checkpoint an evaluation was of: from lm-eval's model arguments, or from where the file lies."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from lm_probe.model_adapters import step_of
from lm_probe.sweeps._imported import LARGEST

_OF_A_STEP = re.compile(r"(?:.*[-_])?(?:step[-_]?|(checkpoint-))(\d+)")


class Named(NamedTuple):
    """A checkpoint by name, as a sweep would call it."""

    model: str
    revision: str | None
    step: int | None
    source: str
    """The Hub repository, or the folder that holds the checkpoint or its series."""


def arguments_of(given: object) -> dict[str, Any]:
    """lm-eval's `model_args`: a mapping, `pretrained=gpt2,revision=main`, or JSON."""
    if isinstance(given, Mapping):
        return dict(given)
    if not isinstance(given, str):
        return {}
    if given.lstrip().startswith("{"):
        try:
            found = json.loads(given)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}
    pairs = (part.partition("=") for part in given.split(",") if "=" in part)
    return {key.strip(): value.strip() for key, _, value in pairs}


def named(arguments: Mapping[str, Any], fallback: str | None, file: Path) -> Named | None:
    """The checkpoint that was evaluated; None where nothing says it.

    Args:
        arguments: of the model, as `arguments_of` gives them. An adapter (`peft`, `delta`) stands for what it made of
            the model, so that two adapters of one model are two models.
        fallback: the name of the model where the arguments have none.
        file: where the results lie: `.../step1000.json` tells the step where nothing else does.
    """
    given = (arguments.get(key) for key in ("peft", "delta", "pretrained", "model", "path"))
    where = next((value for value in given if isinstance(value, str) and value), fallback)
    if not where:
        return None
    if _is_path(where):
        found = _of_path(where, str(arguments.get("subfolder") or ""))
    else:
        on_hub = "pretrained" in arguments and "revision" not in arguments
        revision = str(arguments.get("revision") or "") or ("main" if on_hub else None)
        found = Named(where, revision, _step(revision), where)
    if found.step is None and found.revision in (None, "main"):
        for name in (file.name.split(".json")[0], file.parent.name):
            if said := _OF_A_STEP.fullmatch(name):
                revision = f"{said[1] or 'step'}{int(said[2])}"
                return found._replace(revision=revision, step=_step(revision))
    return found


def _is_path(where: str) -> bool:
    return where.startswith(("/", ".", "~")) or where.count("/") > 1 or _step(where.rpartition("/")[2]) is not None


def _of_path(where: str, subfolder: str) -> Named:
    path = PurePosixPath(where) / subfolder
    if len(path.parts) > 1 and (subfolder or _step(path.name) is not None):
        return Named(path.parent.name or path.name, path.name, _step(path.name), str(path.parent))
    return Named(path.name, None, _step(path.name), str(path))


def _step(name: str | None) -> int | None:
    step = step_of(name)
    return step if step is None or step < LARGEST else None
