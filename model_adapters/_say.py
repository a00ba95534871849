"""Where notices go."""

import sys
from collections.abc import Callable

Say = Callable[[str], None]


def say_on_stderr(line: str) -> None:
    """Where notices go unless somebody else takes them."""
    print(line, file=sys.stderr)
