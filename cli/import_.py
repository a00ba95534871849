"""`lm-probe import`: scores that were measured elsewhere, into a run."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from lm_probe.model_adapters import counted, say_on_stderr, say_on_stdout

NAME = "import"
HELP = "take existing lm-eval result files (0.3 to 0.4), folders of them, or a tidy table of scores into a run"
EXAMPLE = "lm-probe import results/EleutherAI__pythia-70m evals.csv.gz --out runs/published"
_NAMED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="result file of lm-eval, folder of such files, or a table (.csv) with the columns model, step, task, "
        "metric, value and, if known, stderr, shots, suite, variant; either may be .gz",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="RUN", help="folder of the run; what it holds already stays"
    )


def run(args: argparse.Namespace) -> int:
    """Imports; what was refused is said line by line, and the rest goes in."""
    from lm_probe.sweeps import import_scores

    done = import_scores(args.files, args.out, say=lambda line: say_on_stderr(f"lm-probe import: {line}"))
    if not done.files:
        say_on_stderr(f"lm-probe import: nothing was imported, so {args.out} is as it was")
        return 1
    before = ""
    if done.there_before:
        was = "was" if done.there_before == 1 else "were"
        before = (
            f" ({counted(done.there_before, 'measurement')} {was} in the run already: from the same file, a newer one "
            f"or a sweep)"
        )
    samples = f" and {counted(done.samples, 'file')} of samples" if done.samples else ""
    say_on_stdout(
        f"{counted(done.scores, 'value')} from {counted(done.files, 'file')}{samples}{before}"
        f"{_recognised(done.recognised)}; lm-probe report {args.out} shows what the run holds"
    )
    return 1 if done.problems else 0


def _recognised(names: Mapping[str, str]) -> str:
    """Which checkpoints go by the run's names."""
    told = [f"{own} is {known}" for own, known in names.items()]
    more = f" and {counted(len(told) - _NAMED, 'more checkpoint')}" if len(told) > _NAMED else ""
    return f"; by the weights {', '.join(told[:_NAMED])}{more}" if told else ""
