"""What stands out of each model, in plain words."""

from collections.abc import Sequence
from math import log

from lm_probe.reports._analysis import Analysis, Verdict
from lm_probe.reports._data import Checkpoint, RunData, Scores
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import count, escape, number, with_error
from lm_probe.reports._statistics import extreme, final, of_model


def findings(data: RunData, analysis: Analysis) -> list[str]:
    """For each model one paragraph of what stands out."""
    found = []
    for model, known in data.checkpoints.items():
        sentences = [*_loss(data, analysis, model), *_anisotropy(data, known), *_entropy(data, known)]
        if sentences:
            found.append(f"**{escape(model)}.** {' '.join(sentences)}")
    return found


def _loss(data: RunData, analysis: Analysis, model: str) -> list[str]:
    losses = of_model(data.scores("loss", "loss"), data.checkpoints[model])
    if not losses:
        return []
    if len(losses) == 1:
        (one,) = losses
        return [f"Loss is {with_error(losses[one])} nats a token ({_when(one)})."]
    best, last = extreme(losses, min), final(losses)
    said = f"Of {len(losses)} checkpoints the loss is lowest at {_when(best)}: {with_error(losses[best])} nats a token"
    verdict = analysis.loss(model)
    if best == last:
        said += ", the last one measured"
    else:
        said += f". At the last, {_when(last)}, it is {with_error(losses[last])}"
        said += _rise(verdict) if verdict and verdict.found.interval else ""
    return [f"{said}. **{verdict.found.verdict.capitalize()}**: {verdict.found.reason}." if verdict else f"{said}."]


def _rise(verdict: Verdict) -> str:
    """The rise as observed, and what is left of it when the lowest of many is not taken for lower than it is."""
    ends = [number(end, 2) for end in verdict.found.interval or ()]
    outcomes = verdict.series.outcomes
    how = "not paired" if outcomes is None else f"paired over {outcomes.shape[1]} pieces of text"
    found = verdict.found.difference
    left = f"the rise is {number(found, 3)}" if found else "nothing of the rise is left"
    return (
        f", higher by {number(verdict.found.final_minus_best, 3)}; corrected for the choice of the lowest of many, "
        f"{left} (95 % interval {' to '.join(ends)}, {how})"
    )


def _anisotropy(data: RunData, known: Sequence[Checkpoint]) -> list[str]:
    profiles = data.profiles("anisotropy", "mean_cosine")
    scores = {one: profiles[one][final_place(profiles[one])] for one in known if one in profiles}
    sites = {final_place(profiles[one]).site.replace("_", " ") for one in scores}
    return _extremes(f"Mean cosine at the last site ({', '.join(sorted(sites))})", scores, "")


def _entropy(data: RunData, known: Sequence[Checkpoint]) -> list[str]:
    scores = of_model(data.scores("head_spectrum", "singular_entropy", "all_rows"), known)
    widths = {len(sigma) for one, sigma in data.vectors["singular_values"].items() if one in scores}
    bound = f"; 0 is flat, {number(log(min(widths)), 3)} (ln {min(widths)}) is rank one" if len(widths) == 1 else ""
    return _extremes("Singular entropy of the head", scores, bound)


def _extremes(name: str, scores: Scores, remark: str) -> list[str]:
    if not scores:
        return []
    last = final(scores)
    if len(scores) == 1:
        return [f"{name} is {number(scores[last].value, 3)}{remark}."]
    low, high = extreme(scores, min), extreme(scores, max)
    if number(scores[low].value, 3) == number(scores[high].value, 3):
        return [f"{name} is {number(scores[last].value, 3)} throughout{remark}."]
    said = (
        f"{name} lies between {number(scores[low].value, 3)} ({_when(low)}) and {number(scores[high].value, 3)} "
        f"({_when(high)})"
    )
    if last not in (low, high):
        said += f", and is {number(scores[last].value, 3)} at the last"
    return [f"{said}{remark}."]


def _when(one: Checkpoint) -> str:
    return f"step {count(one.step)}" if one.step is not None else escape(one.when)
