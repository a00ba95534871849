"""What the numbers show, in plain words, and what they cannot tell."""

from collections.abc import Iterator, Sequence
from math import log

from lm_probe.reports._analysis import ALPHA, Analysis, Verdict
from lm_probe.reports._data import Checkpoint, RunData, Scores
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import count, counted, escape, listed, number, with_error
from lm_probe.reports._statistics import extreme, final, of_model

_NAMED = 4
_SAID = {
    "saturated": "{models} {are} worse at the end than before (saturated)",
    "not saturated": "{models} {are} not saturated",
    "cannot tell": "for {models} it cannot be told",
}


def opening(data: RunData, analysis: Analysis) -> str:
    """The first paragraph: what was measured, what stands out, what cannot be told."""
    if not data.models:
        return "This run holds no values yet."
    return " ".join([*_measured(data), *_stands_out(analysis), *_cannot(data, analysis)])


def _measured(data: RunData) -> Iterator[str]:
    measured = {made.checkpoint for made in data.made}
    ranges = {model: [one for one in known if one in measured] for model, known in data.checkpoints.items()}
    total = sum(map(len, ranges.values()))
    said = {model: _range(known) for model, known in ranges.items()}
    if len(said) > _NAMED and len(set(said.values())) == 1:
        models = f"{', '.join(map(escape, said))} (each {next(iter(said.values()))})"
    else:
        models = "; ".join(f"{escape(model)} ({known})" for model, known in said.items())
    yield f"{counted(total, 'checkpoint')} of {counted(len(data.models), 'model')}: {models}."
    tokens = sorted({made.details["tokens"] for made in data.made if "tokens" in made.details})
    texts = sorted({str(made.details["text"]) for made in data.made if made.details.get("text")})
    if tokens and texts:
        size = count(tokens[0]) if len(tokens) == 1 else f"{count(tokens[0])} to {count(tokens[-1])}"
        yield f"Loss and hidden states were measured on {size} tokens of {listed(list(map(escape, texts)))}."
    if data.failed:
        yield f"**{counted(len(data.failed), 'measurement')} failed**, see [Failures](#failures)."


def _range(known: Sequence[Checkpoint]) -> str:
    steps = [one.step for one in known if one.step is not None]
    if not steps:  # an unnamed training step, or nothing that opened
        return counted(len(known), "checkpoint")
    where = f"step {count(steps[0])}" if len(steps) == 1 else f"steps {count(steps[0])} to {count(steps[-1])}"
    return f"{counted(len(known), 'checkpoint')}, {where}"


def _stands_out(analysis: Analysis) -> Iterator[str]:
    for name in dict.fromkeys(_kind(one) for one in analysis.headline):
        verdicts = [one for one in analysis.headline if _kind(one) == name]
        parts = []
        for verdict, said in _SAID.items():
            models = [escape(one.series.model) for one in verdicts if one.found.verdict == verdict]
            if models:
                shown = listed(models) if len(models) <= _NAMED else f"{len(models)} models"
                parts.append(said.format(models=shown, are="is" if len(models) == 1 else "are"))
        yield f"Judged by {name}, {'; '.join(parts)}."
    fallen = sum(one.saturated for one in analysis.tasks)
    if fallen:
        yield f"Single scores of tasks that end worse than before: {fallen} of {len(analysis.tasks)}."
    together = [one for one in analysis.moving if one.p_adjusted <= ALPHA]
    if together:
        pairs = [f"{one.measure} ({escape(one.model)})" for one in together]
        shown = listed(pairs) if len(pairs) <= _NAMED else f"{len(pairs)} measures"
        yield f"Changing at the checkpoints at which the loss changes, or near: {shown}."
    for label in ("emergent", "inverse", "U-shaped"):
        found = [one for one in analysis.curves if one.found.label == label]
        names = [escape(one.measure.name + f" ({one.family})" * bool(one.family)) for one in found]
        if names:
            yield f"Over model size {label}: {listed(names) if len(names) <= _NAMED else f'{len(names)} scores'}."


def _kind(one: Verdict) -> str:
    """The measure up to what differs between models."""
    if one.series.tasks:
        return "the mean over tasks"
    return (
        f"the {escape(one.series.measure.name)}" if one.series.measure.task is None else escape(one.series.measure.name)
    )


def _cannot(data: RunData, analysis: Analysis) -> Iterator[str]:
    yield (
        "**What this cannot tell.** Standard errors cover the choice of text or of questions, not training again with "
        "another seed; each model is one training run. Quantities that change at the same steps are associated, which "
        "is no sign that one causes the other."
    )
    series = data.checkpoints.items()
    unordered = [escape(model) for model, own in series if len(own) > 1 and all(one.step is None for one in own)]
    if unordered:
        yield f"The checkpoints of {listed(unordered)} have no training step, so that nothing over training is said."
    short = [one for one in analysis.headline if one.series.measure.task is None and not one.tests]
    if short:
        names = listed([escape(one.series.model) for one in short])
        yield f"{names}: too few checkpoints to tell a fall from scatter."


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
        said += f", higher by {_rise(verdict)}" if verdict else ""
    return [f"{said}. **{verdict.found.verdict.capitalize()}**: {verdict.found.reason}." if verdict else f"{said}."]


def _rise(verdict: Verdict) -> str:
    low, high = (number(end, 2) for end in verdict.found.interval)
    outcomes = verdict.series.outcomes
    how = "not paired" if outcomes is None else f"paired over {outcomes.shape[1]} pieces of text"
    return (
        f"{number(verdict.found.difference, 3)} [{low}, {high}], what picking the lowest adds being taken off ({how})"
    )


def _anisotropy(data: RunData, known: Sequence[Checkpoint]) -> list[str]:
    profiles = data.profiles("anisotropy", "mean_cosine")
    scores = {one: profiles[one][final_place(profiles[one])] for one in known if one in profiles}
    sites = {final_place(profiles[one]).site.replace("_", " ") for one in scores}
    return _extremes(f"Mean cosine at the last site ({', '.join(sorted(sites))})", scores, "")


def _entropy(data: RunData, known: Sequence[Checkpoint]) -> list[str]:
    scores = of_model(data.scores("head_spectrum", "singular_entropy", "all_rows"), known)
    widths = {len(sigma) for one, sigma in data.vectors["singular_values"].items() if one in scores}
    bound = (
        f" (0 is flat; {number(log(min(widths)), 3)}, which is ln {min(widths)}, is rank one)"
        if len(widths) == 1
        else ""
    )
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
