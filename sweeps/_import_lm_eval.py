"""Reads a result file of lm-eval, 0.3 to 0.4."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lm_probe.eval_tasks import option_names
from lm_probe.model_adapters import UserError
from lm_probe.probes import Reading
from lm_probe.sweeps._import_names import arguments_of, named
from lm_probe.sweeps._import_probes import probe_failures, probe_measurements
from lm_probe.sweeps._imported import LARGEST, LARGEST_SCORE, FileContent, Imported, Origin, task_measurement
from lm_probe.sweeps._records import CheckpointKey, Conditions, joint_identity

_NO_METRIC = frozenset({"alias", "name", "sample_len", "sample_count", "samples", " ", ""})
_STAMP = re.compile(r"results_(.+)\.json")
_TORCH = re.compile(r"PyTorch version: (\S+)")


def read_results(path: Path, found: Mapping[str, Any], sha256: str) -> FileContent:
    """The scores of every task and group in a result file.

    Args:
        path: of the file, which may tell the model and the step where its content does not.
        found: its content.
        sha256: of its bytes.

    Raises:
        UserError: it holds no results, or does not say of which model.
    """
    results = found.get("results")
    if not isinstance(results, Mapping) or not all(isinstance(scores, Mapping) for scores in results.values()):
        raise UserError("is no result file of lm-eval (no results by task in it)")
    content = FileContent()
    origin = Origin(path.name, sha256, _date(found))
    checkpoint = _checkpoint(path, found)
    config = _mapping(found.get("config"))
    measurements = []
    for task, scores in results.items():
        readings = list(_readings(task, scores, _documents(found, task), content))
        if readings:
            asked = _asked(found, config, task)
            made = _conditions(found, config, _directions(found, task))
            measurements.append(
                task_measurement(origin, task, _shots(found, config, task), readings, asked, made, _versions(found))
            )
    if "lm_probe" in config:
        limit, dtype = _scalar(config.get("limit")), _dtype(config) or None
        asked = {"tasks": sorted(map(str, _mapping(found.get("configs")) or results)), "limit": limit, "dtype": dtype}
        made = _conditions(found, config)
        measurements += probe_measurements(config["lm_probe"], origin, asked, made, _versions(found), content)
    failures = probe_failures(config.get("lm_probe_errors"), content)
    if not measurements and not failures and not content.problems:
        raise UserError("holds no score of any task")
    names = [name for one in measurements for score in one.readings for name in (score.metric, score.component)]
    if any("\0" in (name or "") for name in (checkpoint.model, checkpoint.revision, *names)):
        raise UserError("holds a name with a zero byte in it")
    content.checkpoints.append(Imported(checkpoint, measurements, failures))
    return content


def _checkpoint(path: Path, found: Mapping[str, Any]) -> CheckpointKey:
    config = _mapping(found.get("config"))
    arguments = arguments_of(config.get("model_args"))
    revision = arguments.get("revision")
    if config.get("model") == "hf-probe" and revision not in (None, "main"):
        # Of a local series it is the folder inside, which lm-eval's own `hf` does not look at.
        arguments["subfolder"] = "/".join(str(part) for part in (revision, arguments.get("subfolder")) if part)
    in_own_folder = _STAMP.fullmatch(path.name.removesuffix(".gz")) is not None and path.parent.name
    said = found.get("model_name") or (path.parent.name.replace("__", "/") if in_own_folder else None)
    one = named(arguments, said if isinstance(said, str) else None, path)
    if one is None:
        raise UserError(
            "does not say of which model its scores are (no pretrained in config.model_args): "
            "put it into a folder of the model's name and call it results_<date>.json"
        )
    return CheckpointKey(one.model, one.revision, one.step, _identity(arguments, config), one.source)


def _identity(arguments: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Which weights these were: also those of an adapter, which makes another model of the same base."""
    # A sweep's own files have the identity in the arguments; lm-eval writes the Hub's commit beside them.
    parts = [arguments.get("sha") or config.get("model_sha")]
    parts += [config.get(f"{added}_sha") for added in ("peft", "delta") if arguments.get(added)]
    return joint_identity([str(part or "") for part in parts])


def _readings(
    task: str, scores: Mapping[str, Any], documents: Mapping[str, int | None], content: FileContent
) -> Iterator[Reading]:
    """The metrics of a task: `acc,none` of 0.4 and `acc` of 0.3 are one; another filter than none stays in the name."""
    for key, value in scores.items():
        metric, comma, answer_filter = key.partition(",")
        if key in _NO_METRIC or metric.endswith("_stderr") or isinstance(value, str | bool) or value is None:
            continue
        if not isinstance(value, int | float):
            content.notices.append(f"{task}: {key} is no number and is left out")
            continue
        number = _float(value)
        if not abs(number) <= LARGEST_SCORE:
            content.problems.append(f"{task}: {key} is {number} and is left out")
            continue
        said = scores.get(f"{metric}_stderr{comma}{answer_filter}")
        error = _float(said) if isinstance(said, int | float) else None  # "N/A"
        if error is not None and not 0 <= error <= LARGEST_SCORE:
            content.notices.append(f"{task}: the standard error of {key} is {error}; the score has none now")
            error = None
        name = metric if answer_filter in ("", "none") else key
        yield Reading(name, number, stderr=error, n=documents.get(key, documents[""]))


def _documents(found: Mapping[str, Any], task: str) -> dict[str, int | None]:
    """Documents behind each metric; under "" those of the task."""
    scores = found["results"][task]
    counts = _mapping(_mapping(found.get("n-samples")).get(task))
    by_metric = {key: _whole(count) for key, count in _mapping(scores.get("sample_count")).items()}
    return {**by_metric, "": _whole(counts.get("effective", scores.get("sample_len"))) or None}


def _shots(found: Mapping[str, Any], config: Mapping[str, Any], task: str, above: tuple[str, ...] = ()) -> int | None:
    """Solved examples in the prompt; of a group those that its tasks share."""
    places = (
        _mapping(found.get("n-shot")).get(task),
        _mapping(_mapping(found.get("configs")).get(task)).get("num_fewshot"),
        config.get("num_fewshot"),
    )
    said = next((shots for shots in map(_whole, places) if shots is not None), None)
    members = _mapping(found.get("group_subtasks")).get(task)
    if said is None and isinstance(members, list):
        path = (*above, task)
        shared = {_shots(found, config, member, path) for member in map(str, members) if member not in path}
        return shared.pop() if len(shared) == 1 else None
    return said


def _asked(found: Mapping[str, Any], config: Mapping[str, Any], task: str) -> dict[str, Any]:
    """What else decides whether two scores of a task compare."""
    version = _mapping(found.get("versions")).get(task)
    metadata = _mapping(_mapping(_mapping(found.get("configs")).get(task)).get("metadata"))
    return {
        "task_version": None if version in (None, "N/A", "Yaml") else str(version),
        "group": True if task in _mapping(found.get("groups")) else None,
        "limit": _scalar(config.get("limit")),
        "dtype": _dtype(config) or None,
        "chat_template": _scalar(found.get("chat_template_sha")),
        "system_instruction": _scalar(found.get("system_instruction_sha")),
        "options": {name: _scalar(metadata[name]) for name in option_names() if name in metadata} or None,
    }


def _directions(found: Mapping[str, Any], task: str) -> dict[str, bool]:
    """Which of the task's metrics lm-eval calls better where they are high, as far as it says."""
    said = _mapping(_mapping(found.get("higher_is_better")).get(task))
    return {str(metric): higher for metric, higher in said.items() if isinstance(higher, bool)}


def _conditions(
    found: Mapping[str, Any], config: Mapping[str, Any], directions: Mapping[str, bool] | None = None
) -> Conditions:
    seed = _whole(config.get("fewshot_seed"))
    details: dict[str, Any] = {"batch_size": _scalar(config["batch_size"])} if config.get("batch_size") else {}
    details |= {"higher_is_better": dict(directions)} if directions else {}
    if seed is None:
        return Conditions(_dtype(config), _device(found, config), details=details)
    return Conditions(_dtype(config), _device(found, config), seed=seed, details={**details, "seeded": True})


def _device(found: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """lm-eval writes the device that was asked for, `cuda:0` by default, also where there is none."""
    said = str(config.get("device") or "")
    no_gpu = "Is CUDA available: False" in str(found.get("pretty_env_info") or "")
    return "cpu" if no_gpu and said.startswith("cuda") else said


def _dtype(config: Mapping[str, Any]) -> str:
    said = str(config.get("model_dtype") or arguments_of(config.get("model_args")).get("dtype") or "")
    return "" if said == "auto" else said.removeprefix("torch.")


def _versions(found: Mapping[str, Any]) -> dict[str, str]:
    torch = _TORCH.search(str(found.get("pretty_env_info") or ""))
    said = {
        "torch": torch and torch[1],
        "transformers": found.get("transformers_version"),
        "lm-eval": found.get("lm_eval_version"),
    }
    return {package: str(version) for package, version in said.items() if version}


def _date(found: Mapping[str, Any]) -> float | None:
    date = found.get("date")
    seconds = _float(date) if isinstance(date, int | float) else math.inf
    return seconds if math.isfinite(seconds) else None


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _scalar(value: Any) -> Any:
    """Something that may stand in a setting: SQLite's JSON knows no NaN."""
    plain = value is None or isinstance(value, str | bool)
    return value if plain or (isinstance(value, int | float) and math.isfinite(_float(value))) else str(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
