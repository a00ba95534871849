"""How everything was measured, and what about that deserves a warning."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from lm_probe.reports._data import Checkpoint, Made, RunData
from lm_probe.reports._markdown import MISSING, count, counted, escape, listed, number
from lm_probe.sweeps import UNSEEN, short_identity

_FILES = 4
_TASKS = 3
"""Named in a caption."""


class Cost(NamedTuple):
    """Identity and cost of one checkpoint."""

    checkpoint: Checkpoint
    identity: str
    seconds: float
    peak_memory: int


def conditions(data: RunData, probe: str, sizes: Iterable[int | None] = (), unit: str = "tokens") -> str:
    """A sentence for captions of what read a text, after a space: over how much of which, context, dtype and device.

    Empty where nothing of it is known, as of numbers from a file that does not say.

    Args:
        data: what the runs hold.
        probe: the one that measured.
        sizes: over how many of `unit` each value is; where no value says so, the tokens of the sample are told.
        unit: what a value is over.
    """
    made = [row for row in data.made if row.probe == probe]
    parts = []
    tokens, contexts, clusters = (_details(made, name) for name in ("tokens", "context", "clusters"))
    known = sorted({size for size in sizes if size is not None})
    if known or tokens:
        kinds = _several(made, lambda row: row.details.get("cluster_unit"))
        said = f"{_span(known)} {unit}" if known else f"{_span(tokens)} tokens"
        grouped = clusters and all("clusters" in row.details for row in made)
        parts.append(f"n = {said}" + (f" in {_span(clusters)} {kinds}s" if grouped else ""))
    if tokens:
        parts.append(f"text: {_several(made, lambda row: row.details.get('text'))}")
    if prompts := sorted({task for row in made if "prompts" in row.config for task in row.config.get("tasks", ())}):
        shown = [*prompts[:_TASKS], f"{len(prompts) - _TASKS} more"] if len(prompts) > _TASKS + 1 else prompts
        parts.append(f"text: the prompts of {listed([escape(one) for one in shown])}")
    if contexts:
        parts.append(f"context {_span(contexts)}")
    return f" {', '.join([*parts, *_machine(made)])}." if parts else machine(data, probe)


def machine(data: RunData, probe: str, before: str = "Measured in ") -> str:
    """A sentence for captions of what read no text, after a space: dtype and device; empty where they are not known."""
    said = _machine([row for row in data.made if row.probe == probe])
    return f" {before}{said[0]}." if said else ""


def _machine(made: Sequence[Made]) -> list[str]:
    where: dict[str, Callable[[Made], object]] = {"": lambda row: row.dtype, "on ": lambda row: row.device}
    told = [f"{how}{said}" for how, of in where.items() if (said := _several(made, of)) != MISSING]
    return [" ".join(told)] * bool(told)


def clustered(data: RunData, probe: str) -> str:
    """What the errors of a probe are clustered by, where that is known."""
    made = [row for row in data.made if row.probe == probe]
    return ", clustered by piece of text" if made and all("clusters" in row.details for row in made) else ""


def _details(made: Iterable[Made], key: str) -> list[int]:
    return sorted({int(row.details[key]) for row in made if isinstance(row.details.get(key), int)})


def _span(numbers: Sequence[int]) -> str:
    return count(numbers[0]) if len(numbers) == 1 else f"{count(numbers[0])} to {count(numbers[-1])}"


def _several(made: Iterable[Made], of: Callable[[Made], object]) -> str:
    found = sorted({str(of(row)) for row in made if of(row) not in ("", None)})
    return listed([escape(one) for one in found])


def common(data: RunData) -> list[tuple[str, str]]:
    """What holds for the whole run, as (name, values); several values where it does not."""
    packages = dict.fromkeys(package for row in data.made for package in row.versions)
    texts = [row for row in data.made if row.details.get("text")]
    notes = {str(row.details["text_note"]) for row in texts if row.details.get("text_note")}
    seeded = [row for row in data.made if "imported" not in row.details or row.details.get("seeded")]
    rows = [
        ("imported from", _files(data.made)),
        ("versions", ", ".join(f"{escape(name)} {_several(data.made, _version(name))}" for name in packages)),
        ("dtype", _by_probe(data, lambda row: row.dtype)),
        ("device", _by_probe(data, lambda row: row.device)),
        ("attention implementation", _several(data.made, lambda row: row.attention)),
        ("seed", _several(seeded, lambda row: row.seed)),
        ("batch size", _several(data.made, lambda row: row.details.get("batch_size"))),
    ]
    if texts:
        rows += [
            ("text", _several(texts, lambda row: row.details["text"])),
            ("note on the text", listed([escape(note) for note in sorted(notes)])),
            ("token sample (digest)", _several(texts, lambda row: row.details.get("sample"))),
            (
                "tokens, context",
                f"{_span(_details(texts, 'tokens'))}, {_several(texts, lambda r: r.details.get('context'))}",
            ),
            (
                "clusters of the standard errors",
                f"{_span(_details(texts, 'clusters') or [0])} "
                f"({_several(texts, lambda row: row.details.get('cluster_unit'))})",
            ),
            ("windows start with BOS", _several(texts, lambda row: _yes(row.details.get("starts_with_bos")))),
        ]
    return [(name, said) for name, said in rows if said and said != MISSING]


def _files(made: Iterable[Made]) -> str:
    """The files that scores were read from, not measured here."""
    origins = {
        (row.details["imported"]["file"], row.details["imported"]["sha256"])
        for row in made
        if "imported" in row.details
    }
    shown = [f"{escape(name)} (sha256 {short_identity(sha256)})" for name, sha256 in sorted(origins)]
    return listed([*shown[:_FILES], f"{len(shown) - _FILES} more"] if len(shown) > _FILES + 1 else shown)


def _version(package: str) -> Callable[[Made], object]:
    return lambda row: row.versions.get(package, "")


def _yes(value: Any) -> str:
    return "" if value is None else "yes" if value else "no"


def _by_probe(data: RunData, of: Callable[[Made], object]) -> str:
    if len({of(row) for row in data.made}) == 1:
        return _several(data.made, of)
    probes = dict.fromkeys(row.probe for row in data.made)
    return ", ".join(f"{_several([r for r in data.made if r.probe == p], of)} ({escape(p)})" for p in probes)


def per_checkpoint(data: RunData) -> list[Cost]:
    """Every checkpoint that was measured."""
    by_checkpoint: dict[Checkpoint, list[Made]] = {one: [] for known in data.checkpoints.values() for one in known}
    for row in data.made:
        by_checkpoint[row.checkpoint].append(row)
    return [
        Cost(
            one,
            ", ".join(dict.fromkeys(short_identity(row.identity) for row in made)),
            _seconds(made),
            max(row.peak_memory for row in made),
        )
        for one, made in by_checkpoint.items()
        if made
    ]


def _seconds(made: Sequence[Made]) -> float:
    """Probes of one forward pass, and tasks that ran together, carry the same time each: it counts once."""
    forward = {row.seconds for row in made if "sample" in row.details}
    tasks = {row.seconds for row in made if "tasks_together" in row.details}
    alone = [row.seconds for row in made if not {"sample", "tasks_together"} & set(row.details)]
    return sum(sorted(forward)) + sum(sorted(tasks)) + sum(alone)


def warnings(data: RunData) -> list[str]:
    """Lines on what makes numbers of this run not comparable, or not independent."""
    found = [*_same_weights(data)]
    for odd in data.left_out:
        steps = listed([escape(one.when) for one in odd.checkpoints])
        part = f" ({escape(listed(odd.components))})" if odd.components else ""
        do = "give all checkpoints the same tokenizer" if part else "measure all checkpoints with the same settings"
        found.append(
            f"{escape(odd.checkpoints[0].model)}: {escape(odd.probe)}{part} at {steps} was measured with "
            f"{escape(odd.how)} and is left out of this report, because a curve through both would show the settings: "
            f"{do} to see them together."
        )
    for model in data.models:
        found += _mixed(model, [row for row in data.made if row.checkpoint.model == model])
    return found + _between_models(data) + [f"{escape(line)}." for line in data.samples.unread]


def _same_weights(data: RunData) -> Iterator[str]:
    """Copies within a model, which no curve is read with, and weights that several models hold."""
    copies: dict[Checkpoint, list[Checkpoint]] = {}
    for one, first in data.copies.items():
        copies.setdefault(first, []).append(one)
    for first, others in copies.items():
        names = listed([escape(f"{one.model} {one.when}") for one in (first, *others)])
        yield (
            f"{names} are the same weights: take them for one checkpoint. Verdicts, associations and laws are read "
            "with the first of them alone."
        )
    holders: dict[str, dict[str, None]] = {}
    for row in data.made:
        if row.identity != UNSEEN:
            holders.setdefault(row.identity, {})[row.checkpoint.model] = None
    for models, shared in Counter(tuple(models) for models in holders.values() if len(models) > 1).items():
        names = listed([escape(model) for model in models])
        yield f"{names} hold the same weights at {counted(shared, 'checkpoint')}: they are no two models there."


def _between_models(data: RunData) -> list[str]:
    """Models of one run that were asked different things share figures, and compare only in part."""
    found = []
    for probe in dict.fromkeys(row.probe for row in data.made if "sample" in row.details):
        made = [row for row in data.made if row.probe == probe]
        names = [
            name
            for name in ("text", "tokens", "context", "seed", "dtype")
            if len({str(row.config.get(name)) for row in made}) > 1
        ]
        if names:
            found.append(
                f"{escape(probe)}: models were measured with different settings ({listed(names)}), so their curves "
                "differ in more than the model; sweep them with the same flags to compare them."
            )
    samples = {row.details.get("sample") for row in data.made if row.probe == "loss"}
    if len(samples) > 1 and not found:
        found.append(
            f"Loss was measured on {len(samples)} different token samples, because the tokenizers differ: nats a token "
            "do not compare across them; bits per byte do."
        )
    return found


def _mixed(model: str, made: Sequence[Made]) -> list[str]:
    found = []
    kinds: tuple[tuple[str, Callable[[Made], object]], ...] = (
        ("dtypes", lambda row: row.dtype),
        ("attention implementations", lambda row: row.attention),
    )
    for what, of in kinds:
        for probe in dict.fromkeys(row.probe for row in made):
            several = {of(row) for row in made if row.probe == probe} - {""}  # imported scores do not say
            if len(several) > 1:
                found.append(
                    f"{escape(model)}: {escape(probe)} was measured with {len(several)} {what} "
                    f"({listed(sorted(escape(one) for one in several))}), so its checkpoints differ in more than "
                    "training."
                )
    return found


def memory(size: int) -> str:
    """Bytes as MiB or GiB."""
    if not size:
        return MISSING
    return f"{number(size / 2**30, 3)} GiB" if size >= 2**30 else f"{number(size / 2**20, 3)} MiB"


def duration(seconds: float) -> str:
    """Seconds with a unit."""
    return f"{number(seconds, 3)} s" if seconds < 600 else counted(round(seconds / 60), "minute")
