"""The lowest and the last value of each model's main measures, a line a model."""

from collections.abc import Sequence
from math import log
from typing import NamedTuple

from lm_probe.reports._analysis import Analysis, Verdict
from lm_probe.reports._data import Checkpoint, RunData, Scores
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import counted, escape, listed, number, sentences, with_error, with_interval
from lm_probe.reports._statistics import extreme, final, of_model


class _Main(NamedTuple):
    """The main measures of one model; without scores where it has none."""

    model: str
    checkpoints: Sequence[Checkpoint]
    loss: Scores
    verdict: Verdict | None
    """On the loss."""
    cosine: Scores
    sites: set[str]
    """Which its last site is."""
    entropy: Scores
    width: int | None
    """Singular values of its head, where all its checkpoints have as many."""


def findings(data: RunData, analysis: Analysis) -> list[str]:
    """A list with a line for each model, below what holds for all of them; empty where no model has such values."""
    shown = [one for one in _main(data, analysis) if one.loss or one.cosine or one.entropy]
    return [_explained(shown), "\n".join(f"- {_line(one)}" for one in shown)] if shown else []


def _main(data: RunData, analysis: Analysis) -> list[_Main]:
    profiles = data.mean_cosines
    losses, entropies = data.scores("loss", "loss"), data.scores("head_spectrum", "singular_entropy", "all_rows")
    found = []
    for model, known in data.checkpoints.items():
        last = {one: final_place(profiles[one]) for one in known if one in profiles}
        entropy = of_model(entropies, known)
        widths = {len(sigma) for one, sigma in data.vectors["singular_values"].items() if one in entropy}
        found.append(
            _Main(
                model,
                known,
                of_model(losses, known),
                analysis.loss(model),
                {one: profiles[one][place] for one, place in last.items()},
                {place.site for place in last.values()},
                entropy,
                widths.pop() if len(widths) == 1 else None,
            )
        )
    return found


def _explained(shown: Sequence[_Main]) -> str:
    sites = sorted({site.replace("_", " ") for one in shown for site in one.sites})
    risen = any(one.verdict and one.verdict.found.interval for one in shown)
    return sentences(
        "Loss is in nats a token." if any(one.loss for one in shown) else "",
        "Its rise to the last checkpoint has taken off what picking the lowest of many adds; brackets are the 95 % "
        "interval."
        if risen
        else "",
        "What a verdict rests on stands under [Saturation](#saturation)." if any(one.verdict for one in shown) else "",
        f"Mean cosine is that of the last site ({listed(sites)})." if sites else "",
        "Singular entropy is that of the head: 0 is flat, ln d is rank one."
        if any(one.entropy for one in shown)
        else "",
    )


def _line(one: _Main) -> str:
    said = [*_loss(one), *_range("mean cosine", one.cosine), *_range("singular entropy", one.entropy, _rank_one(one))]
    return f"**{escape(one.model)}** ({counted(len(one.checkpoints), 'checkpoint')}): {'; '.join(said)}."


def _loss(one: _Main) -> list[str]:
    if not one.loss:
        return []
    best, last = extreme(one.loss, min), final(one.loss)
    said = f"loss {with_error(one.loss[best])}"
    if len(one.loss) > 1:
        said = f"loss lowest at {escape(best.when)}, {with_error(one.loss[best])}"
        said += ", the last" if best == last else f", and at {escape(last.when)} {with_error(one.loss[last])}"
    if one.verdict and one.verdict.found.interval:
        found = one.verdict.found
        paired = "not paired" if one.verdict.series.outcomes is None else "paired by document"
        higher = f"higher by {with_interval(found.difference, found.interval)}"
        said += f", {higher if found.difference else 'nothing of the rise left'} ({paired})"
    return [f"{said}: **{one.verdict.found.verdict}**" if one.verdict else said]


def _rank_one(one: _Main) -> str:
    return "" if one.width is None else f" (ln {one.width} is {number(log(one.width), 3)})"


def _range(name: str, scores: Scores, remark: str = "") -> list[str]:
    if not scores:
        return []
    low, high, last = extreme(scores, min), extreme(scores, max), final(scores)
    ends = [number(scores[one].value, 3) for one in (low, high)]
    if ends[0] == ends[1]:
        return [f"{name} {ends[0]}{' throughout' * (len(scores) > 1)}{remark}"]
    said = f"{name} {ends[0]} (at {escape(low.when)}) to {ends[1]} (at {escape(high.when)})"
    if last not in (low, high):
        said += f", {number(scores[last].value, 3)} at the last"
    return [said + remark]
