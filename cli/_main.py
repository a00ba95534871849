"""`lm-probe`: finds the command, runs it, and turns a user's mistake into one line."""

import argparse
import errno
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from lm_probe.cli import audit, demo, eval, export, import_, report, sweep, tasks
from lm_probe.cli._stop import StopSignals
from lm_probe.model_adapters import UserError, printable, say_on_stderr

_COMMANDS: tuple[ModuleType, ...] = (sweep, demo, report, audit, eval, tasks, import_, export)

_EXAMPLE = """\
examples:
  lm-probe demo                                   train two tiny series, sweep them, write the report
  lm-probe sweep EleutherAI/pythia-70m --revisions log2 --out runs/70m
  lm-probe COMMAND --help                         what a command takes, with an example
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `lm-probe`.

    Returns:
        0 when all went well; 1 when something was recorded as failed; 2 for a mistake that the user can mend.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    passed_on = next((command for command in _COMMANDS if getattr(command, "PASS_THROUGH", False)), None)
    if passed_on is not None and arguments[:1] == [passed_on.NAME]:
        return _run(passed_on, argparse.Namespace(arguments=arguments[1:], debug=False))
    args = _parser().parse_args(arguments)
    return _run(args.command, args)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the rest is told, in place of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, printable(f"{self.prog}: {message}; see {self.prog} --help") + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lm-probe",
        description="Loss, task scores, hidden-state geometry and head spectrum of every checkpoint, on one timeline.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="show this and the versions that measurements depend on")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        sub = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.HELP,
            epilog=f"example:\n  {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        sub.set_defaults(command=command)
    return parser


class _Version(argparse.Action):
    """argparse's own would have the versions looked up for every command."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from lm_probe.sweeps import recorded_versions

        own, *others = (f"{name} {version}" for name, version in recorded_versions().items())
        print(f"{own} ({', '.join(others)})")
        parser.exit()


def _run(command: ModuleType, args: argparse.Namespace) -> int:
    with StopSignals() as stop:
        try:
            return int(command.run(args))
        except KeyboardInterrupt:
            kept = "; what was finished is stored: run the same command again to go on"
            print(f"\nstopped{kept if getattr(command, 'RESUMES', False) else ''}", file=sys.stderr)
            return 128 + stop.number
        except BrokenPipeError:
            return 1
        except Exception as error:
            if args.debug or not _is_users(error):
                raise
            say_on_stderr(f"lm-probe {command.NAME}: {error}")
            return 2


def _is_users(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True  # a disk that is full
    return isinstance(error, UserError)
