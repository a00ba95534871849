"""`lm-probe demo`: the built-in series, made, swept and reported."""

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from lm_probe.cli.sweep import Defaults, add_measuring_arguments, begin, config_of, sweep_and_report

if TYPE_CHECKING:
    from lm_probe.sweeps import Progress

NAME = "demo"
HELP = "train two tiny series on the built-in text, sweep them and write the report; needs no network"
EXAMPLE = "lm-probe demo --out demo-run"
RESUMES = True

# Small enough for minutes on two cores; the context is the one that the series was trained with.
DEFAULTS = Defaults("the part of the built-in text that the series was not trained on", 20_000, 256, 20)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument("--out", type=Path, default=Path("demo-run"), metavar="RUN", help="default: %(default)s")
    add_measuring_arguments(parser, DEFAULTS)


def run(args: argparse.Namespace) -> int:
    """Trains what is not there yet, sweeps and reports."""
    _refuse_others(args.out)
    begin(args, config_of(args, (), None))  # not after minutes of training
    from lm_probe.eval_tasks import vocabulary
    from lm_probe.studies.demo_series import split_documents, train_demo_series
    from lm_probe.sweeps import make_folder
    from lm_probe.sweeps.builtin_text import builtin_documents

    documents = builtin_documents()
    # One token a word, as in the vocabularies of full-size models: the tasks are about counting, not about spelling.
    words = [f" {word}" for word in vocabulary()]
    folder = make_folder(args.out / "series")
    with _Trainings() as trainings:
        series = train_demo_series(documents, folder, extra_tokens_text=words, progress=trainings.show)
    if args.text is None:
        # Loss on text that the models were trained on would say little.
        held_out = folder / "held_out.jsonl"
        lines = (json.dumps({"text": text}) for text in split_documents(documents).held_out)
        held_out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        args.text = str(held_out)
    return sweep_and_report(args, config_of(args, tuple(map(str, series)), None), no_report=False)


def _refuse_others(out: Path) -> None:
    """A folder with something else in it is not filled with two series, and no run of another sweep is mixed with them.

    Raises:
        UserError: it is there, is not empty, and no demo has begun in it.
    """
    from lm_probe.sweeps import UserError

    try:
        found = sorted(path.name for path in out.iterdir()) if out.exists() else []
        series = sorted(path.name for path in (out / "series").iterdir()) if "series" in found else []
    except OSError as error:
        raise UserError(f"{out} is no folder that can be read ({error.strerror}): choose another --out") from error
    begun = "series" in found and all(name.startswith("demo-w") or name == "held_out.jsonl" for name in series)
    if found and not begun:
        raise UserError(
            f"{out} holds something else ({found[0]}) and no demo: choose another --out, e.g. {out / 'demo'}"
        )


class _Trainings:
    """The progress of each model that is trained; none where there is nothing to train."""

    def __init__(self) -> None:
        self._shown: dict[str, Progress] = {}
        self._stack = ExitStack()

    def show(self, model: str, step: int, last: int) -> None:
        """Moves a model's progress to a step."""
        from lm_probe.sweeps import Progress

        if model not in self._shown:
            self._shown[model] = self._stack.enter_context(Progress(last, unit="step"))
            self._shown[model].now(model, "training")
        if step:  # the first is where training begins
            self._shown[model].done()
        if step == last:
            self._shown[model].leave(f"{model} · training")

    def __enter__(self) -> "_Trainings":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
