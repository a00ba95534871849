"""What the numbers show, in plain words, and what they cannot tell."""

from collections.abc import Sequence
from math import log

from lm_probe.reports._data import Checkpoint, RunData, Scores
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import count, counted, escape, listed, number, with_error
from lm_probe.reports._statistics import extreme, final, loss_difference, of_model


def opening(data: RunData) -> str:
    """What was measured."""
    if not data.models:
        return "This run holds no values yet."
    measured = {made.checkpoint for made in data.made}
    ranges = {model: [one for one in known if one in measured] for model, known in data.checkpoints.items()}
    total = sum(map(len, ranges.values()))
    said = [f"{counted(total, 'checkpoint')} of {counted(len(data.models), 'model')}: "]
    said.append("; ".join(f"{escape(model)} ({_range(known)})" for model, known in ranges.items()) + ".")
    tokens = sorted({made.details["tokens"] for made in data.made if "tokens" in made.details})
    texts = sorted({str(made.details["text"]) for made in data.made if made.details.get("text")})
    if tokens and texts:
        size = count(tokens[0]) if len(tokens) == 1 else f"{count(tokens[0])} to {count(tokens[-1])}"
        said.append(f" Loss and hidden states were measured on {size} tokens of {listed(list(map(escape, texts)))}.")
    if data.failed:
        said.append(f" **{counted(len(data.failed), 'measurement')} failed**, see [Failures](#failures).")
    return "".join(said)


def _range(known: Sequence[Checkpoint]) -> str:
    steps = [one.step for one in known if one.step is not None]
    if not steps:  # an unnamed training step, or nothing that opened
        return counted(len(known), "checkpoint")
    where = f"step {count(steps[0])}" if len(steps) == 1 else f"steps {count(steps[0])} to {count(steps[-1])}"
    return f"{counted(len(known), 'checkpoint')}, {where}"


def findings(data: RunData) -> list[str]:
    """For each model one paragraph of what stands out."""
    found = []
    for model, known in data.checkpoints.items():
        sentences = [*_loss(data, known), *_anisotropy(data, known), *_entropy(data, known)]
        if sentences:
            found.append(f"**{escape(model)}.** {' '.join(sentences)}")
    return found


def _loss(data: RunData, known: Sequence[Checkpoint]) -> list[str]:
    losses = of_model(data.scores("loss", "loss"), known)
    if not losses:
        return []
    if len(losses) == 1:
        (one,) = losses
        return [f"Loss is {with_error(losses[one])} nats a token ({_when(one)})."]
    best, last = extreme(losses, min), final(losses)
    said = f"Of {len(losses)} checkpoints the loss is lowest at {_when(best)}: {with_error(losses[best])} nats a token"
    if best == last:
        return [f"{said}, the last one measured."]
    gap = loss_difference(data, last, best)
    difference = number(gap.value, 3)
    said += f". At the last, {_when(last)}, it is {with_error(losses[last])}, higher by {difference}"
    if gap.stderr is None:
        return [f"{said}; no standard error of that difference is available."]
    how = (
        f"± {number(gap.stderr, 2)}, paired over {gap.clusters} pieces of text"
        if gap.paired
        else f"± {number(gap.stderr, 2)}, the two taken as independent"
    )
    sign = "more" if gap.value > 2 * gap.stderr else "not more"
    return [f"{said} ({how}): {sign} than two standard errors."]


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


def limits(data: RunData) -> str:
    """What cannot be told from these numbers."""
    said = ["**What this cannot tell.**"]
    losses = data.scores("loss", "loss")
    if any(len(of_model(losses, known)) > 1 for known in data.checkpoints.values()):
        said.append(
            "The lowest of many losses is picked because it is low, so a rise from it to the last checkpoint is "
            "overstated by that choice; a rise of two standard errors is no test of saturation."
        )
    said.append(
        "Standard errors cover the choice of text or of questions, not training again with another seed; each model is "
        "one training run. Quantities that change at the same steps are associated, which is no sign that one causes "
        "the other."
    )
    return " ".join(said)
