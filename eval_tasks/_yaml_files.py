"""Writes the YAML files under `tasks/` from the grid of cells: `python -m lm_probe.eval_tasks._yaml_files`.

lm-eval finds tasks by their files, so there is one per cell, checked in. The file that the cells of a kind share has no
`.yaml` at its end: lm-eval would take it for a task of its own.
"""

from pathlib import Path

from lm_probe.eval_tasks._cells import CELLS, GROUPS, KINDS, Cell
from lm_probe.eval_tasks._kind import GENERATOR_VERSION, Kind

TASKS = Path(__file__).parent / "tasks"
_FOLDER = "word_counting"
_HEADER = "# Written by `python -m lm_probe.eval_tasks._yaml_files`: change that, not this.\n"


def yaml_files() -> dict[str, str]:
    """The text of every file, by its path below `tasks/`."""
    files = {f"_{name}": _kind_file(name, kind) for name, kind in KINDS.items()}
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


def _kind_file(name: str, kind: Kind) -> str:
    metrics = "".join(
        f"  - metric: {metric}\n    aggregation: mean\n    higher_is_better: {str(better).lower()}\n"
        for metric, better in kind.higher_is_better.items()
    )
    return f"""\
class: !function lm_probe.eval_tasks._paired_task.PairedTask
custom_dataset: !function lm_probe.eval_tasks._documents.build
process_results: !function lm_probe.eval_tasks._{name}.score
test_split: test
num_fewshot: 0
output_type: multiple_choice
doc_to_text: full_prompt
doc_to_choice: choices
doc_to_target: gold
target_delimiter: " "
metric_list:
{metrics}metadata:
  version: {GENERATOR_VERSION}.0
"""


def _cell_file(cell: Cell) -> str:
    return f"""\
include: _{cell.kind}
task: {cell.name}
dataset_kwargs:
  kind: {cell.kind}
  m: {cell.m}
  n: {cell.n}
"""


def _group_file(group: str, cells: tuple[Cell, ...]) -> str:
    members = "".join(f"  - {cell.name}\n" for cell in cells)
    return f"group: {group}\ntask:\n{members}metadata:\n  version: {GENERATOR_VERSION}.0\n"


if __name__ == "__main__":
    write()
