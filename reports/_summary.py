"""One row a checkpoint: the numbers that are looked at first."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lm_probe.reports._counting import TASKS, shown_size
from lm_probe.reports._data import Checkpoint, RunData, Score, Scores
from lm_probe.reports._intervals import interval
from lm_probe.reports._layers import final_place, last_block
from lm_probe.reports._markdown import listed, sentences, with_error, with_interval

_LAST_SITE = "The last site is the final norm, or in a model without one what the head multiplies."
_HEAD = {
    "singular_entropy": "singular entropy (of the squared singular values)",
    "effective_rank": "effective rank (of the plain singular values, so not the exponential of that entropy)",
}
_COUNTING = "Counting is accuracy on the full list and on its binary control, with 95 % intervals."


class Column(NamedTuple):
    """One quantity over all checkpoints."""

    key: str
    """Name in tables/summary.csv."""
    title: str
    """Head of the column in the report."""
    scores: Scores
    metric: str = ""
    """What decides the interval, where a standard error would mislead: a share of 0 has none."""

    def shown(self, one: Checkpoint) -> str:
        """The value with its standard error, or its interval."""
        score = self.scores.get(one)
        if self.metric and score:
            return with_interval(score.value, interval(self.metric, score))
        return with_error(score)


def columns(data: RunData) -> list[Column]:
    """The quantities that at least one checkpoint has."""
    profiles = data.mean_cosines
    last = {one: profile[final_place(profile)] for one, profile in profiles.items() if final_place(profile) in profile}
    blocks = {one: score for one, profile in profiles.items() if (score := last_block(profile)) is not None}
    found = [
        Column("loss", "loss (nats/token)", data.scores("loss", "loss")),
        Column("bits_per_byte", "bits per byte", data.scores("loss", "bits_per_byte")),
        Column("mean_cosine_last_site", "mean cosine, last site", last),
        Column("mean_cosine_last_block", "mean cosine, block L", blocks),
        Column(
            "singular_entropy", "singular entropy (nats)", data.scores("head_spectrum", "singular_entropy", "all_rows")
        ),
        Column("effective_rank", "effective rank", data.scores("head_spectrum", "effective_rank", "all_rows")),
    ]
    m = shown_size(data)
    if m is not None:
        task = f"count_query_m{m}"
        found += [
            Column(f"{task}_acc", f"counting m={m}, full", data.scores(TASKS, "acc", task), "acc"),
            Column(
                f"{task}_acc_binary", f"counting m={m}, binary", data.scores(TASKS, "acc_binary", task), "acc_binary"
            ),
        ]
    return [column for column in found if column.scores]


def explained(shown: Sequence[Column], data: RunData) -> str:
    """What the columns of the summary are."""
    keys = {column.key for column in shown}
    plain = [score for column in shown if not column.metric for score in column.scores.values()]
    series = any(len(known) > 1 for known in data.checkpoints.values())
    head = [_HEAD[key] for key in ("singular_entropy", "effective_rank") if key in keys]
    return sentences(
        "Values are ± their standard error." * any(score.stderr is not None for score in plain),
        "The checkpoint with the lowest loss is bold." * ("loss" in keys and series),
        _LAST_SITE * ("mean_cosine_last_site" in keys),
        f"{_listed(head)} over all rows of the head." * bool(head),
        _COUNTING * any(column.metric for column in shown),
        "The full table is [tables/summary.csv](tables/summary.csv).",
    )


def _listed(head: Sequence[str]) -> str:
    said = listed(head)
    return f"{said[0].upper()}{said[1:]} {'is' if len(head) == 1 else 'are'}" if head else ""


def csv_header(shown: Sequence[Column]) -> list[str]:
    """Head of tables/summary.csv."""
    header = ["model", "revision", "step"]
    for column in shown:
        header += [column.key, f"{column.key}_stderr"]
    return header


def csv_rows(shown: Sequence[Column], checkpoints: Mapping[str, Sequence[Checkpoint]]) -> list[list[object]]:
    """Every checkpoint, at full precision; empty where there is no value."""
    rows = []
    for known in checkpoints.values():
        for one in known:
            row: list[object] = [one.model, one.revision, one.step]
            for column in shown:
                score: Score | None = column.scores.get(one)
                row += [None, None] if score is None else [score.value, score.stderr]
            rows.append(row)
    return rows
