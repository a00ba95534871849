"""What a model answered to each document of a task, kept small: without the prompts, gzipped, a file for each task.

The rows have lm-eval's own field names, so that one reader takes these files and lm-eval's `samples_*.jsonl`.
"""

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._measurement_rows import digest
from lm_probe.sweeps._records import CheckpointKey, Measurement
from lm_probe.sweeps._store import RunStore
from lm_probe.sweeps._versions import versions

Row = Mapping[str, Any]

_FIELDS = ("doc_id", "doc_hash", "target", "filter", "metrics")
_ANSWERS = ("choices", "binary_choices")
_COLUMNS = ("doc_id", "doc_hash", "doc", "target", "filter", "prompts", "answers", "responses")


def pack(rows: Sequence[Row]) -> bytes:
    """lm-eval's samples of one task as a gzipped .jsonl file; the same rows give the same bytes.

    Of a document its numbers and answers stay (`doc`), of a prompt the beginning of its sha256 (`arguments`, one pair
    of prompt and answer for each request), and `resps` only where a filter made something else of them.
    """
    lines = (json.dumps(_kept(row), ensure_ascii=False, separators=(",", ":")) for row in rows)
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), compresslevel=9, mtime=0)


def _kept(row: Row) -> dict[str, Any]:
    kept = {name: row[name] for name in (*_FIELDS, *row.get("metrics", ())) if name in row}
    kept["doc"] = {name: value for name, value in _fields_of(row["doc"]) if isinstance(value, int | float)}
    # Which requests ask the full list and which the control, as readers of lm-eval's files of our tasks tell it.
    kept["doc"] |= {
        name: value for name, value in _fields_of(row["doc"]) if name in _ANSWERS and isinstance(value, list)
    }
    kept["arguments"] = [
        [_short_hash(prompt), answer if isinstance(answer, str) else None]
        for prompt, answer, *_ in ((*asked, None) for asked in row["arguments"])
    ]
    kept["filtered_resps"] = [_shortest(response) for response in row["filtered_resps"]]
    if row["resps"] != [[answer] for answer in row["filtered_resps"]]:
        kept["resps"] = row["resps"]
    return kept


def _fields_of(doc: Any) -> Iterable[tuple[str, Any]]:
    return doc.items() if isinstance(doc, dict) else ()


def _shortest(response: Any) -> Any:
    """A log-likelihood that is a float32 in the fewest digits that tell it from other ones: half the file's size."""
    if not isinstance(response, list | tuple) or not response or not isinstance(response[0], float):
        return response
    narrow = np.float32(response[0])
    return [float(str(narrow)) if narrow == response[0] else response[0], *response[1:]]


def _short_hash(text: Any) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()[:12]


def keep_samples(
    run: Path, folder: Path, key: CheckpointKey, made: Sequence[Measurement], packed: Mapping[str, bytes]
) -> list[Measurement]:
    """Writes packed samples by task, each file whole or not at all, and notes it in its measurement's details.

    The same measurement always has the same file, and no other one has it: a sweep that was killed between a file and
    the store writes that file again.

    Args:
        run: the run's folder.
        folder: where in it.
        key: the checkpoint.
        made: measurements of tasks.
        packed: by task, what `pack` made.

    Raises:
        UserError: a file cannot be written.
    """
    noted = []
    for one in made:
        task = str(one.config["task"])
        which = digest({"identity": key.identity, "config": one.config, "versions": dict(versions())})
        file = run / folder / f"samples_{task.replace('/', '_')}_{which}.jsonl.gz"
        unfinished = file.with_suffix(".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(packed[task])
            os.replace(unfinished, file)
        except OSError as error:
            raise UserError(
                f"{file} cannot be written ({error.strerror}): is {run / 'lm_eval'} a folder, and is there room?"
            ) from error
        details = {**one.conditions.details, "samples": file.relative_to(run).as_posix()}
        noted.append(replace(one, conditions=replace(one.conditions, details=details)))
    return noted


def read_samples(run: str | Path, model: str, revision: str | None, task: str) -> pd.DataFrame:
    """What a model answered to each document of a task, as the run's current measurement kept it.

    Args:
        run: the run's folder.
        model: the model's name in the run.
        revision: its revision, None where it has none.
        task: the task's name.

    Returns:
        The columns of `read_samples_file`.

    Raises:
        UserError: there is no such run or measurement, or its file is missing or damaged.
    """
    with RunStore(run) as store:
        details = store.task_details(model, revision, task)
    name = " ".join((model, revision) if revision else (model,))
    if details is None:
        raise UserError(f"{run} holds no {task} of {name}: lm-probe sweep ... --tasks {task} --out {run}")
    if "samples" not in details:
        raise UserError(f"{run} kept no answers of {name} to {task}: sweep it with --tasks {task} into another --out")
    return read_samples_file(Path(run) / details["samples"])


def read_samples_file(file: str | Path) -> pd.DataFrame:
    """A samples file of a run, or one that lm-eval wrote with `--log_samples`; plain or gzipped.

    Returns:
        A row for each document (and filter, where there are several), with the columns

        - `doc_id`, `doc_hash` (of the document: equal where two models answered the same), `doc` (dictionary),
          `target` (text, or the number of the right answer), `filter`;
        - `prompts` and `answers`: for each request the number of its prompt within the document (a document of ours
          asks two) and the answer that was scored, None where the model generated one;
        - `responses`: for each request a pair of log-likelihood in nats and whether the answer is the greedy one, a
          single log-likelihood for a rolling one, or the text that the filter left;
        - one for each metric: the document's score.

    Raises:
        UserError: the file is missing, damaged, or holds something else.
    """
    path = Path(file)
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as opened:
            rows = [_read(json.loads(line)) for line in opened]
    except FileNotFoundError as error:
        raise UserError(f"no file {path}: copy the run with its lm_eval folder, or give another") from error
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{path} is no samples file of lm-eval, or is damaged ({reason}): copy it again") from error
    metrics = dict.fromkeys(name for row in rows for name in row if name not in _COLUMNS)
    return pd.DataFrame(rows, columns=[*_COLUMNS, *metrics])


def _read(row: Row) -> dict[str, Any]:
    asked = list(_pairs(row["arguments"]))
    order = list(dict.fromkeys(prompt for prompt, _ in asked))
    return {
        "doc_id": int(row["doc_id"]),
        "doc_hash": row.get("doc_hash"),
        "doc": row.get("doc", {}),
        "target": row["target"],
        "filter": row.get("filter", "none"),
        "prompts": [order.index(prompt) for prompt, _ in asked],
        "answers": [answer for _, answer in asked],
        "responses": [_response(response) for response in row["filtered_resps"]],
        **{name: row[name] for name in row.get("metrics", ()) if name in row},
    }


def _pairs(arguments: Any) -> Iterator[tuple[str, str | None]]:
    """Prompt and answer of each request; lm-eval writes its pairs as dictionaries of numbered keys."""
    requests: Iterable[Any] = arguments.values() if isinstance(arguments, dict) else arguments
    for request in requests:
        parts = list(request.values()) if isinstance(request, dict) else list(request)
        yield str(parts[0]), parts[1] if len(parts) > 1 and isinstance(parts[1], str) else None


def _response(response: Any) -> Any:
    """lm-eval writes the numbers of its own files as text."""
    if isinstance(response, list) and len(response) == 2:
        return float(response[0]), str(response[1]) == "True"
    return response
