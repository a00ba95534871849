"""Which measurements of a series may stand on one curve: those that were asked the same."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby, takewhile
from typing import Any

from lm_probe.reports._markdown import listed, setting

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


def other_rows(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Measurements of which a part is over other rows of a matrix than in most of their series, each with a usual one.

    That part is `of_token_rows`; the rest of them compares.
    """
    found = []
    for _, group in groupby(sorted(rows, key=_series), key=_series):
        series = [row for row in group if of_token_rows(row)]
        counts = Counter(row["details"].get("token_rows") for row in series)
        usual = max(reversed(series), key=lambda row: counts[row["details"].get("token_rows")], default=None)
        if usual is not None:
            common = usual["details"].get("token_rows")
            found += [(row, usual) for row in series if row["details"].get("token_rows") != common]
    return found


def of_token_rows(row: Row) -> frozenset[str]:
    """Its components whose values depend on how many rows stand for tokens."""
    known = "token_rows" in row["details"]
    components = _OF_TOKEN_ROWS.get(row["probe"], frozenset()) if known else frozenset()
    return components if row["details"].get("token_rows") is not None else components - {"token_rows"}


_OF_TOKEN_ROWS: Mapping[str, frozenset[str]] = {
    "head_spectrum": frozenset({"token_rows"}),  # without a tokenizer there is none
    "embedding_spectrum": frozenset(),
    "condensation": frozenset({"embedding"}),
    "weight_spectra": frozenset(),
}


def beside(held: Iterable[Row], shown: Iterable[Row], usual: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Measurements that the run holds and does not show, on other prompts, each with one of its series that it does."""
    known = {row["id"] for row in shown}
    standing = {_series(row): row for row in usual}
    return [(row, standing[_series(row)]) for row in held if row["id"] not in known and _series(row) in standing]


def asked(row: Row) -> dict[str, Any]:
    """What decides whether two measurements compare.

    Not the tokenizer's files, which differ between checkpoints for reasons that change no token, but what they came
    to: the token sample, or the number of rows in the head that stand for tokens where a probe of another package may
    use it for all of its values (of ours see `other_rows`).
    """
    config = {name: value for name, value in row["config"].items() if name != "tokenizer"}
    names = ("sample",) if row["probe"] in _OF_TOKEN_ROWS else ("sample", "token_rows")
    return config | {name: row["details"][name] for name in names if name in row["details"]}


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
        _IN_WORDS[name](row, usual) if name in _IN_WORDS else f"{name} {_unlike(this.get(name), usually.get(name))}"
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


def rows_for_tokens(row: Row, usual: Row) -> str:
    """How the rows that stand for tokens differ."""
    this, usually = row["details"].get("token_rows"), usual["details"].get("token_rows")
    if this is None:
        return f"no tokenizer, so over all rows instead of the {usually} that stand for tokens"
    if usually is None:
        return f"a tokenizer, so over the {this} rows that stand for tokens, instead of with none and over all rows"
    return f"{this} rows that stand for tokens (the length of the tokenizer) instead of {usually}"


_DECIDE_THE_SAMPLE = {"text", "tokens", "context", "seed"}
_IN_WORDS: Mapping[str, Callable[[Row, Row], str]] = {
    "text": _text,
    "sample": _sample,
    "token_rows": rows_for_tokens,
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


def _unlike(this: object, usually: object) -> str:
    """`600 instead of 500`; of two lists what only one of them holds, of long texts the place where they part."""
    if isinstance(this, list) and isinstance(usually, list):
        more, less = [one for one in this if one not in usually], [one for one in usually if one not in this]
        if more and less:
            return f"{_few(more)} instead of {_few(less)}"
        if more or less:
            return f"that add {_few(more)}" if more else f"that lack {_few(less)}"
    texts = ["the default" if one is None else setting(one) for one in (this, usually)]
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(*texts, strict=False))
    parting = len(list(alike)) if all(len(text) > _LONG for text in texts) else 0
    return " instead of ".join(_short(text, parting) for text in texts)


_LONG, _NAMED = 16, 3


def _few(items: Sequence[object]) -> str:
    shown = [setting(one) for one in items]
    return listed(shown if len(shown) <= _NAMED + 1 else [*shown[:_NAMED], f"{len(shown) - _NAMED} more"])


def _short(text: str, place: int) -> str:
    begin = max(0, place - _LONG // 2)
    shown = text[begin : begin + _LONG]
    return "…" * (begin > 0) + shown + "…" * (begin + _LONG < len(text))


def lines(
    pairs: Sequence[tuple[Row, Row]], how: Callable[[Row, Row], str] = differences
) -> list[tuple[str, str, list[Row], str]]:
    """The same, told together: model, probe or task, its rows, and how they differ."""

    def key(pair: tuple[Row, Row]) -> tuple[str, str, str]:
        row, usual = pair
        return row["model"], row["config"].get("task", row["probe"]), how(row, usual)

    return [
        (model, name, [row for row, _ in group], said)
        for (model, name, said), group in groupby(sorted(pairs, key=key), key=key)
    ]
