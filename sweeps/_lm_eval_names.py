"""Which lm-eval tasks a name stands for, where they are, and what they ask."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_probe.eval_tasks import group_names, task_manager, task_names
from lm_probe.model_adapters import UserError, near_names

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager


_managers: dict[str, "TaskManager"] = {}
_KEPT = 8  # of them: a sweep asks for one and the same


def is_ours(name: str) -> bool:
    """Whether the task or group is one of `lm_probe.eval_tasks`."""
    return name in task_names() or name in group_names()


@functools.cache
def every_task() -> "TaskManager":
    """lm-eval's own tasks and ours. It reads 14,000 files, seconds of work, so it is made once and only when needed."""
    return task_manager(include_defaults=True)


def our_tasks(metadata: Mapping[str, Any] | None = None) -> "TaskManager":
    """Our tasks alone, made with these options. A manager reads 90 files, so it is made once for equal options."""
    key = repr(sorted((metadata or {}).items()))
    if key not in _managers:
        if len(_managers) == _KEPT:
            del _managers[next(iter(_managers))]  # the oldest
        _managers[key] = task_manager(metadata)
    return _managers[key]


def index_for(names: Sequence[str]) -> dict[str, Any]:
    """lm-eval's index (name to entry) that the names are looked up in: ours alone when that is enough."""
    manager = our_tasks() if all(map(is_ours, names)) else every_task()
    index: dict[str, Any] = manager.task_index
    return index


def expand_tasks(names: Sequence[str]) -> list[str]:
    """Groups and tags to the tasks in them, in order, each task once.

    Raises:
        UserError: a name that nothing has (the message lists near ones), or a group that changes the settings of its
            members, which asked for alone would ask something else.
    """
    from lm_probe.sweeps._lm_eval_quiet import quiet

    with quiet():
        index = index_for(names)
    return list(dict.fromkeys(task for name in names for task in _members(name, index)))


def _members(name: str, index: dict[str, Any]) -> list[str]:
    entry = index.get(name)
    if entry is None:
        raise UserError(
            f"no task or group is called {name!r}{near_names(name, index)}: `lm-probe tasks` lists ours, "
            f"`lm-probe eval ls tasks` lists all"
        )
    if entry.kind.name == "TAG":
        return [task for member in sorted(entry.tags) for task in _members(member, index)]
    if entry.kind.name == "GROUP":
        members = entry.cfg.get("task") or []
        if not all(isinstance(member, str) and member in index for member in members):
            raise UserError(
                f"the group {name!r} changes the settings of its tasks, so it is more than a list of them; "
                f"name single tasks instead, or run `lm-probe eval --tasks {name}`"
            )
        return [task for member in members for task in _members(member, index)]
    return [name]


def folders_of(names: Sequence[str]) -> list[Path]:
    """The folders that hold the tasks' files: enough for a task manager that is quick to make."""
    index = every_task().task_index
    return list(dict.fromkeys(index[name].yaml_path.parent for name in names))


def what_it_asks(name: str) -> str:
    """A hash of the files that decide what a task asks: its YAML with includes, and the Python beside it.

    It is the same on every machine (no paths, no addresses), and reads no data set.
    """
    from lm_probe.sweeps._lm_eval_quiet import quiet

    with quiet():
        index = index_for([name])
    _members(name, index)  # an unknown name is refused here
    return hashlib.sha256(json.dumps(portable(index[name].cfg), sort_keys=True, default=str).encode()).hexdigest()


def portable(value: Any) -> Any:
    """A configuration with each `!function`, an absolute path in the index, as its file's name and content."""
    if isinstance(value, dict):
        return {str(key): portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [portable(item) for item in value]
    if isinstance(value, str) and Path(value).is_absolute():
        module = Path(value.rpartition(".")[0] + ".py")
        content = hashlib.sha256(module.read_bytes()).hexdigest() if module.is_file() else ""
        return [Path(value).name, content]
    return value
