"""What people read: where notices go, and outside text made safe for a terminal."""

import sys
import unicodedata
from collections.abc import Callable

Say = Callable[[str], None]


def say_on_stderr(line: str) -> None:
    """Where notices go unless somebody else takes them."""
    print(printable(line), file=sys.stderr)


def say_on_stdout(line: str) -> None:
    """Where a command's answer to a person goes."""
    print(printable(line), flush=True)


def say_on_terminal(line: str) -> None:
    """Where a word to whoever waits goes; none where stderr is no terminal, as no log is better for it."""
    if sys.stderr.isatty():
        say_on_stderr(line)


def counted(number: int, noun: str) -> str:
    """A whole number with its noun, as in `1 checkpoint` and `3,000 tokens`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def install_words(extra: str) -> str:
    """What to type for an extra of this package that is not installed."""
    return f"pip install 'lm-probe[{extra}]', or in the folder of its source pip install -e '.[{extra}]'"


def printable(text: str) -> str:
    r"""The text with every character that commands written out (`\x1b`).

    Names, configs and errors come from strangers, and a terminal obeys what it is sent: sequences that rewrite lines
    above, set titles or turn the direction of writing. What stays beside visible characters: spaces of every width,
    tabs, line breaks, and the joiners of Persian, Hindi and emoji.
    """
    return "".join(one if _is_text(one) else ascii(one)[1:-1] for one in text.replace("\r\n", "\n"))


def _is_text(one: str) -> bool:
    return one.isprintable() or unicodedata.category(one) == "Zs" or one in "\n\t\u200c\u200d"
