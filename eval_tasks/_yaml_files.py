"""Writes the YAML files under `tasks/` from the grid of cells: `python -m lm_probe.eval_tasks._yaml_files`.

lm-eval finds tasks by their files, so there is one per cell, checked in. The file that the cells of a kind share has no
`.yaml` at its end: lm-eval would take it for a task of its own.
"""

from collections.abc import Sequence
from pathlib import Path

from lm_probe.eval_tasks import _metrics
from lm_probe.eval_tasks._cells import CELLS, GROUPS, KINDS, Cell
from lm_probe.eval_tasks._kind import GENERATOR_VERSION

TASKS = Path(__file__).parent / "tasks"
_FOLDER = "word_counting"
_HEADER = "# Written by `python -m lm_probe.eval_tasks._yaml_files`: change that, not this.\n"
_PACKAGE = "lm_probe.eval_tasks"
# An answer at once ends with its line; after reasoning only the beginning of another question ends it.
_UNTIL = {"gen": '["\\n"]', "gen_cot": '["\\nQuestion:", "\\nTask:", "\\nNow answer this question."]'}


def metrics_of(cell: Cell) -> Sequence[_metrics.Metric]:
    """What the cell's tasks report."""
    if cell.style:
        return _metrics.GENERATED_COUNTS if KINDS[cell.kind].counts else _metrics.GENERATED_WORDS
    return _metrics.COUNTS if KINDS[cell.kind].counts else _metrics.WORDS


def yaml_files() -> dict[str, str]:
    """The text of every file, by its path below `tasks/`."""
    files = {f"_{cell.base}": _base_file(cell) for cell in CELLS}
    files |= {f"{cell.name}.yaml": _cell_file(cell) for cell in CELLS}
    files |= {f"{group}.yaml": _group_file(group, cells) for group, cells in GROUPS.items()}
    return {f"{_FOLDER}/{name}": _HEADER + text for name, text in files.items()}


def write(folder: Path = TASKS) -> None:
    """Write the files, and remove those of cells that are no more."""
    files = yaml_files()
    for old in (folder / _FOLDER).glob("*"):
        if old.relative_to(folder).as_posix() not in files:
            old.unlink()
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _base_file(cell: Cell) -> str:
    """What the cells of a kind and style share."""
    module = "_generation_scores" if cell.style else "_scores"
    function = "score_counts" if KINDS[cell.kind].counts else "score_words"
    answers = (
        f"output_type: generate_until\ngeneration_kwargs:\n  do_sample: false\n  until: {_UNTIL[cell.style]}\n"
        "doc_to_target: target\n"
        if cell.style
        else "output_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: gold\n"
    )
    return f"""\
class: !function {_PACKAGE}._paired_task.PairedTask
custom_dataset: !function {_PACKAGE}._documents.build
process_results: !function {_PACKAGE}.{module}.{function}
test_split: test
fewshot_split: train
{answers}doc_to_text: full_prompt
target_delimiter: " "
metric_list:
{"".join(map(_metric, metrics_of(cell)))}metadata:
  version: {GENERATOR_VERSION}.0
"""


def _metric(metric: _metrics.Metric) -> str:
    how = metric.aggregation if metric.aggregation == "mean" else f"!function {_PACKAGE}._metrics.{metric.aggregation}"
    better = "null" if metric.higher_is_better is None else str(metric.higher_is_better).lower()
    return f"  - metric: {metric.name}\n    aggregation: {how}\n    higher_is_better: {better}\n"


def _cell_file(cell: Cell) -> str:
    return f"include: _{cell.base}\ntask: {cell.name}\ndataset_kwargs:\n  cell: {cell.name}\n"


def _group_file(group: str, cells: tuple[Cell, ...]) -> str:
    members = "".join(f"  - {cell.name}\n" for cell in cells)
    return f"group: {group}\ntask:\n{members}metadata:\n  version: {GENERATOR_VERSION}.0\n"


if __name__ == "__main__":
    write()
