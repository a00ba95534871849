"""What people read: where notices go, and outside text made safe for a terminal."""

import sys
from collections.abc import Callable

Say = Callable[[str], None]


def say_on_stderr(line: str) -> None:
    """Where notices go unless somebody else takes them."""
    print(printable(line), file=sys.stderr)


def say_on_stdout(line: str) -> None:
    """Where a command's answer to a person goes."""
    print(printable(line), flush=True)


def printable(text: str) -> str:
    r"""The text with whatever is no visible character written out (`\x1b`), save spaces, tabs and line breaks.

    Names, configs and errors come from strangers, and a terminal obeys what it is sent: sequences that rewrite lines
    above, set titles or turn the direction of writing.
    """
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)
