"""The report's first paragraphs: what was measured, what stands out, what cannot be told."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from lm_probe.reports._analysis import ALPHA, Analysis, Verdict
from lm_probe.reports._counting import TASKS, counting_task, task_metrics
from lm_probe.reports._counting_findings import Counted, counted_questions
from lm_probe.reports._data import Checkpoint, Made, RunData
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import count, counted, escape, listed, number
from lm_probe.reports._numbers import Place
from lm_probe.reports._origins import origins
from lm_probe.sweeps import failed_words

_NAMED = 4
_LISTED = 10
_SAID = {
    "saturated": "{models} {are} worse at the end than before (saturated)",
    "not worse": (
        "{models} {are} not worse at the end than before: a worsening by a tenth of the late gain or more is ruled out "
        "(95 % confidence)"
    ),
    "cannot tell": "whether {models} {are} worse at the end than before, these data do not decide",
}
_TOGETHER = " Quantities that change at the same steps are associated, which is no sign that one causes the other."
_ON_TEXT = {"loss": {"loss"}, "hidden states": {"anisotropy", "geometry"}}
"""What is measured on text, and by which probes."""
_OVER_SIZE = {"jump": "alike at first and then higher by a jump"}
_SITES = {"embedding": "at the embedding", "final_norm": "after the final norm", "head_input": "before the head"}


def opening(data: RunData, analysis: Analysis) -> str:
    """The first paragraphs: what was measured, what stands out (a line each), what cannot be told."""
    if not data.models:
        return "This run holds no values yet."
    outstanding = "\n".join(f"- {line}" for line in _stands_out(data, analysis))
    parts = [" ".join(_measured(data)), outstanding, " ".join(_cannot(data, analysis))]
    return "\n\n".join(filter(None, parts))


def _measured(data: RunData) -> Iterator[str]:
    found = origins(data)
    total = sum(map(len, data.checkpoints.values()))
    empty = f", {count(len(found.failed))} without any value" if found.failed else ""
    said = {model: _range(known) for model, known in data.checkpoints.items()}
    models = _alike(said) if len(said) > _NAMED else [f"{escape(model)} ({known})" for model, known in said.items()]
    yield f"{counted(total, 'checkpoint')} of {counted(len(data.models), 'model')}{empty}: {'; '.join(models)}."
    if found.imported and not found.measured:
        read = "values" if _on_prompts(data) else "scores"
        yield f"None of them was seen here: all {read} were read from files."
    elif found.imported:
        yield f"Of {_which(found.imported)} all scores were read from files."
    if found.partly_imported:
        yield f"Some scores of {_which(found.partly_imported)} were read from files."
    if found.unlike:
        yield f"{_which(found.unlike)} was measured otherwise and is left out, see [Warnings](#warnings)."
    if found.copied:
        yield (
            f"Not measured, but carried over from another checkpoint that is byte for byte the same: "
            f"{_which(found.copied)}."
        )
    yield from _on_text(data)
    if data.failed:
        nothing = f"; nothing is known of {_which(found.failed)}" if found.failed else ""
        whole = [row.measurements for row in data.failed if not row.probe]
        words = failed_words(sum(row.measurements for row in data.failed), sum(whole), len(whole))
        yield f"**{words}**{nothing}, see [Failures](#failures)."


def _on_text(data: RunData) -> Iterator[str]:
    """What was measured on how much of which text."""
    yield from _on_sample(data)
    if asked := _on_prompts(data):
        models = sorted({row.checkpoint.model for row in asked})
        whose = listed([escape(model) for model in models]) if len(models) <= _NAMED else counted(len(models), "model")
        yield (
            f"Hidden states of {whose} were measured on prompts of tasks: they do not compare with those of other text."
        )


def _on_prompts(data: RunData) -> list[Made]:
    return [row for row in data.made if "prompts" in row.config]


def _on_sample(data: RunData) -> Iterator[str]:
    read = [row for row in data.made if row.details.get("text") and "tokens" in row.details]
    if not read:
        return
    probes = {row.probe for row in read}
    what = [name for name, own in _ON_TEXT.items() if own & probes]
    what += [escape(probe) for probe in sorted(probes.difference(*_ON_TEXT.values()))] if not what else []
    tokens = sorted({row.details["tokens"] for row in read})
    size = count(tokens[0]) if len(tokens) == 1 else f"{count(tokens[0])} to {count(tokens[-1])}"
    where = listed([escape(text) for text in sorted({str(row.details["text"]) for row in read})])
    said = f"{listed(what)} {'was' if what in (['loss'], [escape(one) for one in probes]) else 'were'} measured"
    yield f"{said[0].upper()}{said[1:]} on {size} tokens of text (sampled from {where})."


def _alike(ranges: Mapping[str, str]) -> list[str]:
    """Models of one range together, by name where they are not too many; of many ranges those of most models."""
    alike: dict[str, list[str]] = {}
    for model, known in ranges.items():
        alike.setdefault(known, []).append(model)
    by_size = sorted(alike.items(), key=lambda group: -len(group[1]))
    said = [
        f"{', '.join(map(escape, models)) if len(models) <= _LISTED else counted(len(models), 'model')} "
        f"({'each ' * (len(models) > 1)}{known})"
        for known, models in by_size[:_NAMED]
    ]
    rest = sum(len(models) for _, models in by_size[_NAMED:])
    return [*said, f"{counted(rest, 'more model')} (see [Provenance](#provenance))"] if rest else said


def _unasked(data: RunData) -> list[str]:
    """Models of which the last sweep left counting tasks out and that have no score of any."""
    counting = {
        one.model
        for task, metric in task_metrics(data)
        if counting_task(task)
        for one in data.scores(TASKS, metric, task)
    }
    return [
        escape(model)
        for model in dict.fromkeys(one.checkpoints[0].model for one in data.not_asked)
        if model not in counting
    ]


def _which(some: Sequence[Checkpoint]) -> str:
    """Checkpoints by model: each by name where they are few, else how many and from where to where."""
    models: dict[str, list[Checkpoint]] = {}
    for one in some:
        models.setdefault(one.model, []).append(one)
    if len(models) > _NAMED:
        return f"{counted(len(some), 'checkpoint')} of {len(models)} models"
    return listed(
        [
            f"{escape(model)} "
            + (f"({_range(own)})" if len(own) > _NAMED else listed([escape(one.when) for one in own]))
            for model, own in models.items()
        ]
    )


def _range(known: Sequence[Checkpoint]) -> str:
    steps = [one.step for one in known if one.step is not None]
    if not steps:  # an unnamed training step, or nothing that opened
        return counted(len(known), "checkpoint")
    where = f"step {count(steps[0])}" if len(steps) == 1 else f"steps {count(steps[0])} to {count(steps[-1])}"
    return f"{counted(len(known), 'checkpoint')}, {where}"


def _stands_out(data: RunData, analysis: Analysis) -> Iterator[str]:
    for name in dict.fromkeys(_kind(one) for one in analysis.headline):
        verdicts = [one for one in analysis.headline if _kind(one) == name]
        parts = []
        for verdict, said in _SAID.items():
            models = [escape(one.series.model) for one in verdicts if one.found.verdict == verdict]
            if models:
                parts.append(said.format(models=_few(models, "model"), are="is" if len(models) == 1 else "are"))
        yield f"Judged by {name}, {'; '.join(parts)}."
    fallen = sum(one.saturated for one in analysis.tasks)
    if fallen:
        looked_at = count(sum(one.tests > 0 for one in analysis.tasks))
        yield f"Single scores of tasks that end worse than before, adjusted in each model: {fallen} of {looked_at}."
    yield from _anisotropy(data)
    yield from _counting(counted_questions(data))
    together = [one for one in analysis.moving if one.p_adjusted <= ALPHA]
    if together:
        pairs = [f"{one.measure} ({escape(one.model)})" for one in together]
        yield f"Changing at the checkpoints at which the loss changes, or near: {_few(pairs, 'measure')}."
    for label in ("emergent", "jump", "inverse", "U-shaped"):
        found = [one for one in analysis.curves if one.shape == label]
        names = [escape(f"{one.measure.name} ({one.family})") for one in found]
        if names:
            yield f"Over model size {_OVER_SIZE.get(label, label)}: {_few(names, 'score')}."


def _few(names: Sequence[str], noun: str) -> str:
    return listed(names) if len(names) <= _NAMED else counted(len(names), noun)


def _kind(one: Verdict) -> str:
    """The measure up to what differs between models."""
    if one.series.tasks:
        _, _, setting = (one.series.measure.task or "").partition(" (")
        return "the mean over tasks" + f" ({setting}" * bool(setting)
    name = escape(one.series.measure.name)
    return f"the {name}" if one.series.measure.task is None else name


def _anisotropy(data: RunData) -> Iterator[str]:
    """Where the hidden states of each model point most alike, over all of its checkpoints and layers."""
    peaks: dict[str, tuple[float, Checkpoint, Place, int]] = {}
    for one, profile in data.mean_cosines.items():
        depth = final_place(profile).layer
        for place, score in profile.items():
            if one.model not in peaks or score.value > peaks[one.model][0]:
                peaks[one.model] = score.value, one, place, depth
    by_height = sorted(peaks.items(), key=lambda peak: -peak[1][0])[:_NAMED]
    said = [
        f"{escape(model)} {_place(place, depth)} at {escape(one.when)} ({number(value, 3)})"
        for model, (value, one, place, depth) in by_height
    ]
    if said:
        more = f", of {len(peaks)} models" if len(peaks) > len(said) else ""
        apart = {odd.probe for odd in data.left_out if odd.checkpoints[0].model in peaks}
        alike = ", among those measured alike" if data.cosine_probe in apart else ""
        yield (
            f"Hidden states point most alike (highest mean cosine{more}; 1 is one direction){alike}: {'; '.join(said)}."
        )


def _place(place: Place, depth: int) -> str:
    return _SITES.get(place.site) or f"after block {place.layer} of {depth}"


def _counting(questions: Iterable[Counted]) -> Iterator[str]:
    """Who counts in lists of two words, and whether more different words of the same number are harder."""
    models: dict[str, list[Counted]] = {}
    for one in questions:
        models.setdefault(one.model, []).append(one)
    able = {model: own for model, all_ in models.items() if (own := [one for one in all_ if one.counts])}
    if able:
        said = [f"{escape(model)} ({listed([_name(one) for one in own])})" for model, own in able.items()]
        yield f"Counting in lists of two words, better than a blind answer: {_few(said, 'model')}."
        harder = [escape(model) for model, own in able.items() if any(one.harder for one in own)]
        if harder:
            yield f"As many words, but more different ones, are harder for {_few(harder, 'model')}."
    unable = [escape(model) for model in models if model not in able]
    if unable:
        yield f"Not seen to count, not even in lists of two words: {_few(unable, 'model')}."


def _name(one: Counted) -> str:
    return one.kind.replace("_", " ")


def _cannot(data: RunData, analysis: Analysis) -> Iterator[str]:
    series = data.checkpoints.items()
    together = _TOGETHER if any(len(own) > 1 for _, own in series) else ""
    yield (
        "**What this cannot tell.** Standard errors cover the choice of text or of questions, not training again with "
        f"another seed; each model is one training run.{together}"
    )
    unordered = [escape(model) for model, own in series if len(own) > 1 and all(one.step is None for one in own)]
    if unordered:
        yield f"The checkpoints of {listed(unordered)} have no training step, so that nothing over training is said."
    unasked = _unasked(data)
    if unasked:
        yield f"Whether {_few(unasked, 'model')} can count was not asked, see [Counting](#counting)."
    short = [one for one in analysis.headline if one.series.measure.task is None and not one.tests]
    if short:
        names = listed([escape(one.series.model) for one in short])
        yield f"{names}: too few checkpoints to tell a fall from scatter."
