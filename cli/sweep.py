"""`lm-probe sweep`: the main job."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from lm_probe.cli._sources import add_source_arguments
from lm_probe.cli.report import render
from lm_probe.model_adapters import UserError, counted, say_on_stderr, say_on_stdout, say_on_terminal

if TYPE_CHECKING:
    from lm_probe.sweeps import Finding, Planned, Spread, Summary, SweepConfig

NAME = "sweep"
HELP = "measure every checkpoint: loss, probes and tasks; resumable; then write the report"
EXAMPLE = "lm-probe sweep EleutherAI/pythia-70m EleutherAI/pythia-160m --revisions log2 --out runs/pythia"
RESUMES = True

DEFAULT_PROBES = "loss,anisotropy,head_spectrum"  # written out: the registry would bring torch into `--help`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's flags."""
    add_source_arguments(parser, None, "all of a local series, main of a Hub repository")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="RUN", help="folder of the run; resumed if it exists"
    )
    add_measuring_arguments(parser, Defaults())
    _add_spreading_arguments(parser)
    parser.add_argument(
        "--cache-gb",
        type=float,
        metavar="N",
        help="delete finished checkpoints that this run downloaded where they take more than N GB of the Hub cache; 0 "
        "keeps only the one at hand and the next (default: keep all)",
    )
    parser.add_argument("--no-report", action="store_true", help="measure only")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be measured and fetched, from listings and headers alone"
    )


class Defaults(NamedTuple):
    """What is measured where nothing is said, and how the help says it."""

    text: str = "the built-in text"
    tokens: int = 50_000
    context: int | None = None
    task_documents: int | None = None


def add_measuring_arguments(parser: argparse.ArgumentParser, defaults: Defaults) -> None:
    """Adds the flags that say what is measured, which `demo` shares."""
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--probes",
        metavar="NAMES",
        help=f"comma-separated, or none (default: {DEFAULT_PROBES})",
    )
    what.add_argument(
        "--controls",
        default="none",
        metavar="NAMES",
        help="of anisotropy and geometry: random (weights), gaussian (norm-matched), shuffled (tokens), curve (over n)",
    )
    what.add_argument(
        "--reference", metavar="REVISION", help="checkpoint of each series that geometry compares with (linear CKA)"
    )
    what.add_argument(
        "--tasks",
        metavar="NAMES",
        help="comma-separated lm-eval tasks or groups, ours or lm-eval's, or none (default: none where --probes names "
        "any, else word_counting_small, where the tokenizer has the words)",
    )
    what.add_argument(
        "--task-documents",
        type=int,
        metavar="N",
        default=defaults.task_documents,
        help=f"documents a task (default: {defaults.task_documents or 'the own number of the task, 200 for ours'})",
    )
    what.add_argument(
        "--metadata",
        type=_options,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help='options of our tasks, as for lm-eval: separator=comma, or {"separator": "comma"} (see docs/tasks.md)',
    )
    what.add_argument(
        "--text", help=f"a .txt, .jsonl or .jsonl.zst file, a folder, or a Hub dataset (default: {defaults.text})"
    )
    what.add_argument(
        "--tokens", type=int, default=defaults.tokens, metavar="N", help="size of the text sample (%(default)s)"
    )
    what.add_argument(
        "--context",
        type=int,
        metavar="N",
        default=defaults.context,
        help=f"longest window of text ({defaults.context or '512, or what the model takes'})",
    )
    what.add_argument("--seed", type=int, default=1234, help="of the text sample and the tasks (%(default)s)")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--batch-size",
        type=int,
        default=8,
        metavar="N",
        help="rows in a forward pass at most (%(default)s); on a CPU long ones go by fewer",
    )
    how.add_argument("--device", help="cpu, cuda, cuda:1, or auto to spread a model over all (default: a GPU if any)")
    how.add_argument("--dtype", default="float32", help="float32, bfloat16, float16, float64 or stored (%(default)s)")
    how.add_argument("--no-audit", action="store_true", help="do not look first whether checkpoints are what they seem")
    how.add_argument("--trust-remote-code", action="store_true", help="run model code that a checkpoint carries")


def _add_spreading_arguments(parser: argparse.ArgumentParser) -> None:
    spread = parser.add_argument_group("several checkpoints at a time (see docs/clusters.md)")
    spread.add_argument(
        "--ray",
        nargs="?",
        const="local",
        metavar="ADDRESS",
        help="spread over a Ray cluster: auto, host:6379 or ray://host:10001; without ADDRESS over this machine",
    )
    spread.add_argument(
        "--gpus-per-task",
        type=float,
        metavar="X",
        help="GPUs for a checkpoint, 0.5 for two a GPU (default: 1 where there are any)",
    )
    spread.add_argument(
        "--cpus-per-task", type=int, metavar="N", help="CPUs, and threads, for a checkpoint (default: 1)"
    )
    spread.add_argument(
        "--tries",
        type=int,
        metavar="K",
        help="workers that may die at a checkpoint before it is given up (default: 3)",
    )


def run(args: argparse.Namespace) -> int:
    """Sweeps and reports, or only says what it would do."""
    config, spread = config_of(args, tuple(args.sources), args.revisions), _spread(args)
    begin(args, config, spread)
    if args.dry_run:
        return _show_plan(config, spread)
    return sweep_and_report(args, config, args.no_report, spread)


def begin(args: argparse.Namespace, config: "SweepConfig", spread: "Spread | None" = None) -> None:
    """Refuses what can be refused at once, and says that what comes next takes seconds.

    Raises:
        UserError: see `refuse_early`.
    """
    from lm_probe.sweeps import refuse_early

    refuse_early(config, spread)
    say_on_terminal(f"lm-probe {args.command.NAME}: loading torch and transformers, then reading the text ...")


def sweep_and_report(
    args: argparse.Namespace, config: "SweepConfig", no_report: bool, spread: "Spread | None" = None
) -> int:
    """Sweeps with the settings of the command line, writes the report, and says what came of it."""
    from lm_probe.sweeps import sweep

    summary = sweep(config, spread=spread)
    say_on_stdout(
        f"{counted(summary.checkpoints, 'checkpoint')}: {counted(summary.measured, 'measurement')} made, "
        f"{summary.finished_before:,} finished before, "
        f"{f'{summary.copied:,} copied from the same weights, ' if summary.copied else ''}"
        f"{summary.unmade:,} failed{_audited(summary.findings)}"
    )
    if not no_report:
        render([args.out])
    if summary.failures:
        say_on_stderr(
            f"lm-probe {args.command.NAME}: {_failed(summary)}, see above and the report; the same command tries them "
            f"again"
        )
    return 1 if summary.failures else 0


def _failed(summary: "Summary") -> str:
    from lm_probe.sweeps import failed_words

    whole = sum(not failure.probe for failure in summary.failures)
    return failed_words(summary.unmade, summary.unmade - len(summary.failures) + whole, whole)


def _audited(findings: "list[Finding]") -> str:
    return f"; the audit found {counted(len(findings), 'thing')}, see the report" if findings else ""


def config_of(args: argparse.Namespace, sources: tuple[str, ...], revisions: str | None) -> "SweepConfig":
    """The settings of the command line.

    Raises:
        UserError: no checkpoint could be measured with them.
    """
    from lm_probe.sweeps import SweepConfig

    return SweepConfig(
        sources=sources,
        out=args.out,
        revisions=revisions,
        probes=None if args.probes is None else _names(args.probes),
        controls=_names(args.controls),
        reference=args.reference,
        tasks=None if args.tasks is None else _names(args.tasks),
        text=args.text,
        tokens=args.tokens,
        context=args.context,
        batch_size=args.batch_size,
        device=args.device,
        dtype=args.dtype,
        seed=args.seed,
        task_documents=args.task_documents,
        metadata={key: value for options in args.metadata for key, value in options.items()},
        audit=not args.no_audit,
        trust_remote_code=args.trust_remote_code,
        cache_gb=getattr(args, "cache_gb", None),  # `demo` downloads nothing
        debug=args.debug,
    )


def _spread(args: argparse.Namespace) -> "Spread | None":
    asked = {"cpus": args.cpus_per_task, "gpus": args.gpus_per_task, "tries": args.tries}
    given = {name: value for name, value in asked.items() if value is not None}
    if args.ray is None:
        if given:
            flags = {"cpus": "--cpus-per-task", "gpus": "--gpus-per-task", "tries": "--tries"}
            raise UserError(
                f"{flags[next(iter(given))]} is of workers of --ray, which is not given: add --ray, or leave it out"
            )
        return None
    from lm_probe.sweeps import Spread

    return Spread(args.ray, **given)


def _show_plan(config: "SweepConfig", spread: "Spread | None") -> int:
    from lm_probe.sweeps import dry_run, lines_of, summarised

    planned: list[Planned] = []
    held: list[str] = []  # what is told last comes after the checkpoints, of which equal ones are one line
    looked = dry_run(config, spread, say=lambda line: held.append(line) if planned else say_on_stdout(line))
    # Of a repository each is asked for; a file gets no bar.
    for one in tqdm(
        looked, leave=False, disable=None, delay=0.5, bar_format="{n_fmt} checkpoints looked at [{elapsed}]"
    ):
        planned.append(one)
    *lines, last = summarised(planned, spread)
    for line in (*lines_of(planned), *held, *lines, f"{last}; nothing was started"):
        say_on_stdout(line)
    return 1 if any(one.problem or one.unmeasurable for one in planned) else 0


def _names(given: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    return () if names == ("none",) else names


def _options(given: str) -> dict[str, Any]:
    """`key=value,key=value`, or a JSON object."""
    example = 'give e.g. separator=comma, or \'{"separator": "comma"}\''
    if not given.lstrip().startswith(("{", "[")):
        pairs = [part.partition("=") for part in given.split(",")]
        if not all(key and equals for key, equals, _ in pairs):
            raise argparse.ArgumentTypeError(f"{given!r} is no option with its value: {example}")
        return {key.strip(): _value(value.strip()) for key, _, value in pairs}
    try:
        options = json.loads(given)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not valid JSON ({error}): {example}") from error
    if not isinstance(options, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {example}")
    return options


def _value(given: str) -> Any:
    """A number or a truth value where it is one, else the text itself."""
    try:
        return json.loads(given)
    except ValueError:
        return given
