"""`lm-probe eval`: lm-eval's own command line, with our tasks and our model type known to it."""

import argparse
import contextlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

NAME = "eval"
HELP = "run lm-eval with our tasks and the model type hf-probe known to it; every argument is lm-eval's"
EXAMPLE = "lm-probe eval --model hf-probe --model_args pretrained=EleutherAI/pythia-14m --tasks word_counting_small"
PASS_THROUGH = True  # the arguments reach `run` unread, so that --help says lm-eval's too

_COMMANDS = ("run", "ls", "validate")
_NO_TASKS = "Tasks not found: "
_NO_MODEL = "Attempted to load model '"
_MISTAKES = (
    _NO_TASKS,
    _NO_MODEL,
    "Need to specify task",
    "Specify --output_path",
    "If --samples is not None",
)
_OURS = f"""\
usage: lm-probe eval --model MODEL --tasks TASK [TASK ...] --model_args ARG=VALUE [ARG=VALUE ...] [options of lm-eval]

{HELP}

lm-probe's own:
  --tasks                word_counting, word_counting_small and every task that `lm-probe tasks` lists
  --model hf-probe       lm-eval's hf with the same numbers; computes the head only where an answer is scored
  --model_args pretrained=NAME[,revision=step1000][,probes=anisotropy+geometry]
                         probes: hidden states measured in the passes that log-likelihood tasks make; the values are
                         config.lm_probe in the result file

example:
  {EXAMPLE}

what lm-eval says of its options, where `lm-eval run` is `lm-probe eval`:

"""
_MODEL, _MODEL_CLASS = "hf-probe", "lm_probe.sweeps.hf_probe:HFProbe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments: whatever comes."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to `lm_eval run`")


def run(args: argparse.Namespace) -> int:
    """Hand the arguments to lm-eval; `run` is understood where no command of lm-eval's is named.

    Raises:
        UserError: lm-eval refused the arguments.
    """
    arguments: list[str] = args.arguments
    if not arguments or arguments[0] not in _COMMANDS:
        arguments = ["run", *arguments]
    if arguments == ["run"] or (arguments[0] == "run" and {"-h", "--help"} & {*arguments}):
        print(_OURS, end="", flush=True)  # the rest is lm-eval's to say, which takes seconds to import
    import lm_eval.models  # noqa: F401 (lm-eval registers its own by itself only where nobody has registered any)
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import model_registry

    from lm_probe.sweeps import bars_as_lines

    if _MODEL not in model_registry:  # lm-eval 0.4.13 does not read the entry point that we declare
        model_registry.register(_MODEL, target=_MODEL_CLASS)
    before = sys.argv
    sys.argv = ["lm-eval", *arguments]  # lm-eval's parser reads nothing else
    try:
        with _our_tasks_known() as known, _our_options_checked(), bars_as_lines():
            cli_evaluate()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except ValueError as error:
        from lm_probe.eval_tasks import TaskError
        from lm_probe.model_adapters import UserError  # brings torch

        if isinstance(error, TaskError):
            raise UserError(str(error)) from error
        if str(error).startswith(_MISTAKES):
            raise UserError(f"lm-eval: {_mistake(str(error), known, model_registry.keys())}") from error
        if str(error).startswith("Sample larger than population"):
            raise UserError(
                "--num_fewshot asks for more examples than a task has, or for less than none: give 0 to 16 for ours"
            ) from error
        raise
    finally:
        sys.argv = before
    return 0


def _mistake(said: str, tasks: Iterable[str], models: Iterable[str]) -> str:
    """lm-eval's words, with the names that are near to one that it does not know."""
    from lm_probe.model_adapters import near_names

    lists = "`lm-probe tasks` and `lm-probe eval ls tasks` list the tasks"
    if said.startswith(_NO_TASKS):
        names, every = said.removeprefix(_NO_TASKS).split(", "), list(tasks)
        return f"{_NO_TASKS}{', '.join(name + near_names(name, every) for name in names)}; {lists}"
    if said.startswith(_NO_MODEL):
        name, known = said.removeprefix(_NO_MODEL).partition("'")[0], sorted(models)
        return f"no model type is called {name}{near_names(name, known)}: --model takes {', '.join(known)}"
    return f"{said}; {lists}"


@contextlib.contextmanager
def _our_tasks_known() -> Iterator[list[str]]:
    """Put our folder before the user's in every task manager: lm-eval has no entry point for tasks.

    Yields:
        The names of the tasks of the managers that are made, to be filled.
    """
    from lm_eval.tasks import TaskManager

    from lm_probe.eval_tasks import tasks_path

    original = TaskManager.__init__
    signature = inspect.signature(original)

    def with_ours(*args: Any, **kwargs: Any) -> None:
        bound = signature.bind(*args, **kwargs)
        theirs = bound.arguments.get("include_path") or []
        paths = list(theirs) if isinstance(theirs, list | tuple) else [theirs]
        bound.arguments["include_path"] = [tasks_path(), *paths]
        original(*bound.args, **bound.kwargs)
        known.extend(bound.arguments["self"].all_tasks)

    known: list[str] = []
    TaskManager.__init__ = with_ours
    try:
        yield known
    finally:
        TaskManager.__init__ = original


@contextlib.contextmanager
def _our_options_checked() -> Iterator[None]:
    """Refuse what `--metadata` sets for nobody.

    Here alone is it known: the generators of tasks are given the model's arguments among it.
    """
    from lm_eval.config.evaluate_config import EvaluatorConfig

    original = EvaluatorConfig.process_tasks

    def with_check(config: Any, *args: Any, **kwargs: Any) -> Any:
        manager = original(config, *args, **kwargs)  # names the tasks that patterns mean
        _refuse_unknown(config.tasks, config.metadata or {}, config.model_args or {})
        return manager

    EvaluatorConfig.process_tasks = with_check
    try:
        yield
    finally:
        EvaluatorConfig.process_tasks = original


def _refuse_unknown(tasks: Sequence[Any], metadata: Mapping[str, Any], model_args: Mapping[str, Any]) -> None:
    from lm_probe.eval_tasks import TOKENIZER_KEYS, group_names, refuse_unknown, task_names

    ours = [task in (*task_names(), *group_names()) for task in tasks]  # somebody else's may be no name but a mapping
    if any(ours):
        given = [key for key in metadata if key not in model_args and key not in TOKENIZER_KEYS]
        refuse_unknown(given, mistyped_only=not all(ours))
