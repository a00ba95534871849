"""Markdown: numbers, tables, and text from outside made harmless."""

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lm_probe.reports._data import Checkpoint, Score

MISSING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_PLACES = 6
"""Decimals beyond which a number gets an exponent instead."""
_LARGE = 1e6
_ENTITIES = {"|": "&#124;", "`": "&#96;", "$": "&#36;", "\\": "&#92;", "@": "&#64;"}


def plain(said: object, longest: int = 300) -> str:
    """One line of printable characters, cut where it is long."""
    characters = [" " if letter.isspace() else letter for letter in str(said)]
    # Control and format characters include the ones that turn the direction of writing around.
    visible = "".join(letter for letter in characters if unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Co"))
    line = " ".join(visible.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def escape(said: object, longest: int = 300) -> str:
    """Text from outside, so that markdown, its tables and HTML show it as it is."""
    safe = html.escape(plain(said, longest), quote=False)
    safe = re.sub(r"[|`$\\@]", lambda found: _ENTITIES[found[0]], safe)
    safe = re.sub(r"([*\[\]~])", r"\\\1", safe)
    safe = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", safe)  # inside a word an underscore is only itself
    return re.sub(
        r"(?i)\b(https?|ftp)://|\bwww\.", lambda found: found[0].replace(":", "&#58;").replace(".", "&#46;"), safe
    )


def number(value: float | None, digits: int = 4) -> str:
    """A number with fixed significant digits; exact integers and very large or small values in their own form."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    exponent = int(np.floor(np.log10(abs(float(f"{value:.{digits - 1}e}")))))
    if not -4 <= exponent < 6:
        return f"{value:.{digits - 1}e}".replace("-", _MINUS)
    return f"{value:,.{max(digits - 1 - exponent, 0)}f}".replace("-", _MINUS)


def with_error(score: Score | None, digits: int = 4) -> str:
    """A value ± its standard error, both to the same decimal place."""
    if score is None:
        return MISSING
    shown = number(score.value, digits)
    if score.stderr is None:
        return shown
    # An error smaller than the last place shown would read as ± 0.
    needed = int(-np.floor(np.log10(score.stderr))) if score.stderr else 0
    if score.stderr == 0 or "e" in shown or needed > _PLACES:
        return f"{shown} ± {number(score.stderr, 2)}"
    decimals = max(len(shown.partition(".")[2]), needed)
    return f"{_fixed(score.value, decimals)} ± {_fixed(score.stderr, decimals)}"


def with_interval(value: float | None, ends: tuple[float, float] | None) -> str:
    """A value with its 95 % interval in brackets, all three to the place of the second digit of the interval's width.

    An interval of no width is none.
    """
    if value is None or ends is None or ends[0] >= ends[1]:
        return number(value, 3)
    width = ends[1] - ends[0]
    decimals = max(1 - int(np.floor(np.log10(float(f"{width:.1e}")))), 0)
    if decimals > _PLACES or max(map(abs, ends)) >= _LARGE:
        return f"{number(value, 3)} [{number(ends[0], 2)}, {number(ends[1], 2)}]"
    low, high = (_fixed(end, decimals) if end else "0" for end in ends)
    return f"{_fixed(value, decimals) if value else '0'} [{low}, {high}]"


def _fixed(value: float, decimals: int) -> str:
    rounded = round(value, decimals) + 0.0  # no -0.00
    return f"{rounded:,.{decimals}f}".replace("-", _MINUS)


def count(value: int) -> str:
    """A whole number with thousands separated."""
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    """A whole number with its noun."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1, *, remark: bool = False) -> str:
    """A table; its first columns are text (with `remark` its last one too), the others stand to the right.

    Cells must be escaped already.
    """
    texts = {*range(text_columns), len(header) - 1 if remark else 0}
    rule = ["---" if place in texts else "---:" for place in range(len(header))]
    lines = [header, rule, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Fold(NamedTuple):
    """Markdown that is shown when its title is clicked."""

    title: str
    body: str


def fold(title: str, body: str) -> str:
    """A block that is folded up."""
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def reading(*paragraphs: str) -> str:
    """How a table is read, for who wants to know: folded up, so that the table stands below its heading."""
    return fold("How to read it", "\n\n".join(filter(None, paragraphs)))


def unfold(block: str) -> Fold | None:
    """The parts of a block that `fold` made; None for any other."""
    found = re.fullmatch(r"<details><summary>(.*?)</summary>\n\n(.*)\n\n</details>", block, re.DOTALL)
    return None if found is None else Fold(*found.groups())


def listed(words: Sequence[str]) -> str:
    """Words as one phrase."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else MISSING


def few(names: Sequence[str], most: int = 10) -> str:
    """The first of them as one phrase, and how many more there are."""
    return listed(names if len(names) <= most else [*names[:most], f"{len(names) - most} more"])


def sentences(*said: str) -> str:
    """Those that say something, one after the other."""
    return " ".join(filter(None, said))


def setting(value: object) -> str:
    """A setting as one types it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def settings(given: Mapping[str, object]) -> str:
    """Settings by name: `num_docs = 20, seed = 1`."""
    return ", ".join(f"{name} = {setting(given[name])}" for name in sorted(given))


def step_cell(one: Checkpoint) -> str:
    """A checkpoint in a table of its model."""
    return count(one.step) if one.step is not None else escape(one.when)
