"""Which measurements of a series may stand on one curve: those that were asked the same."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from lm_probe.reports._markdown import setting

Row = Mapping[str, Any]
"""A row of `RunStore.measurements()`."""


def left_out(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Measurements under other settings than most of their series, each with one under the usual settings.

    A curve through two token samples, two dtypes or two sets of questions shows the settings where it bends. Where no
    settings have the most checkpoints, those of the later checkpoints count.
    """
    found = []
    for _, group in groupby(sorted(rows, key=_series), key=_series):
        series = list(group)
        counts = Counter(map(_asked, series))
        usual = max(reversed(series), key=lambda row: counts[_asked(row)])
        found += [(row, usual) for row in series if _asked(row) != _asked(usual)]
    return found


def beside(held: Iterable[Row], shown: Iterable[Row], usual: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Measurements that the run holds and does not show, on other prompts, each with one of its series that it does."""
    known = {row["id"] for row in shown}
    standing = {_series(row): row for row in usual}
    return [(row, standing[_series(row)]) for row in held if row["id"] not in known and _series(row) in standing]


def asked(row: Row) -> dict[str, Any]:
    """What decides whether two measurements compare.

    Not the tokenizer's files, which differ between checkpoints for reasons that change no token, but what they came
    to: the token sample, or the number of rows in the head that stand for tokens.
    """
    config = {name: value for name, value in row["config"].items() if name != "tokenizer"}
    return config | {name: row["details"][name] for name in ("sample", "token_rows") if name in row["details"]}


def _asked(row: Row) -> str:
    return json.dumps(asked(row), sort_keys=True)


def _series(row: Row) -> tuple[str, str, str]:
    return row["model"], row["probe"], row["config"].get("task", "")


def differences(row: Row, usual: Row) -> str:
    """What was asked otherwise: `tokens 600 instead of 500`; in words where only hashes differ."""
    this, usually = _single(asked(row)), _single(asked(usual))
    names = [name for name in sorted({*this, *usually}) if this.get(name) != usually.get(name)]
    if _DECIDE_THE_SAMPLE & {*names}:
        names = [name for name in names if name != "sample"]
    if len(names) > 1:
        names = [name for name in names if name != "asks"]  # options are part of what a task asks
    return ", ".join(
        _IN_WORDS[name](row, usual)
        if name in _IN_WORDS
        else f"{name} {_short(this.get(name))} instead of {_short(usually.get(name))}"
        for name in names
    )


def _text(row: Row, usual: Row) -> str:
    this, usually = row["details"].get("text"), usual["details"].get("text")
    return f"the text {this} instead of {usually}" if this != usually else f"other documents in the text {this}"


def _sample(row: Row, usual: Row) -> str:
    """The same text, tokens and seed were asked for: what is left is the default context, or what makes tokens."""
    this, usually = row["details"].get("context"), usual["details"].get("context")
    if this != usually:
        return f"a context of {this} instead of {usually} tokens (none was set: the model's limit decides)"
    return "another tokenizer, which makes other tokens of the same text"


_DECIDE_THE_SAMPLE = {"text", "tokens", "context", "seed"}
_IN_WORDS: Mapping[str, Callable[[Row, Row], str]] = {
    "text": _text,
    "sample": _sample,
    "asks": lambda *_: "other questions (documents, their number or seed, or the task's own prompt)",
    "first": lambda *_: "another first checkpoint to compare with",
    "reference": lambda *_: "another reference to compare with",
}


def _single(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings one by one, also those that were given together as options of a task."""
    single: dict[str, Any] = {}
    for name, value in config.items():
        single |= value if isinstance(value, Mapping) else {name: value}
    return single


def _short(value: object) -> str:
    said = "the default" if value is None else setting(value)
    return said if len(said) <= 16 else f"{said[:8]}…"


def lines(pairs: Sequence[tuple[Row, Row]]) -> list[tuple[str, str, list[Row], str]]:
    """The same, told together: model, probe or task, its rows, and how they differ."""

    def key(pair: tuple[Row, Row]) -> tuple[str, str, str]:
        row, usual = pair
        return row["model"], row["config"].get("task", row["probe"]), differences(row, usual)

    return [
        (model, name, [row for row, _ in group], how)
        for (model, name, how), group in groupby(sorted(pairs, key=key), key=key)
    ]
