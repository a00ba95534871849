"""Keeps lm-eval's samples, a line a document, where a report looks for them."""

import gzip
from collections.abc import Sequence
from pathlib import Path

from lm_probe.model_adapters import UserError
from lm_probe.sweeps._records import CheckpointKey, Measurement


def keep_samples(results: Path, run: Path, checkpoint: CheckpointKey, measurements: Sequence[Measurement]) -> int:
    """Copies what `--log_samples` wrote beside a result file, compressed, into the run's `lm_eval/`.

    Args:
        results: `results_<time>.json` of lm-eval.
        run: the run's folder.
        checkpoint: whose samples they are.
        measurements: the tasks whose samples are kept, where there are any. Shots are part of the new name, as they are
            of the component.

    Returns:
        How many files were kept.

    Raises:
        UserError: a file cannot be read or written.
    """
    name = results.name.removesuffix(".gz")
    time = name.removeprefix("results_").removesuffix(".json")
    folder = run / "lm_eval" / checkpoint.model.replace("/", "__") / (checkpoint.revision or "checkpoint")
    if not folder.resolve().is_relative_to((run / "lm_eval").resolve()):
        raise UserError(f"names a checkpoint that is no folder ({checkpoint.model} {checkpoint.revision})")
    kept = 0
    for measurement in measurements if name != time else ():
        task = measurement.config.get("task", "/")  # of a probe there are none
        if "/" in task:
            continue
        asked = task.removesuffix(f" ({measurement.config.get('num_fewshot')}-shot)")
        for source in (results.with_name(f"samples_{asked}_{time}.jsonl{end}") for end in ("", ".gz")):
            if source.is_file():
                try:
                    data = source.read_bytes()
                    folder.mkdir(parents=True, exist_ok=True)
                    packed = data if source.suffix == ".gz" else gzip.compress(data, mtime=0)
                    (folder / f"samples_{task}_{time}.jsonl.gz").write_bytes(packed)
                except OSError as error:
                    raise UserError(f"its samples {source.name} cannot be kept ({error.strerror})") from error
                kept += 1
    return kept
