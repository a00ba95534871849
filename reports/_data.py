"""What one or several runs hold, indexed for statistics and figures; no text and no picture is made here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from lm_probe.reports._audit import Audited
from lm_probe.reports._numbers import Address, Checkpoint, Numbers, Place, Profiles, Score, Scores, by_step
from lm_probe.reports._outcomes import Samples
from lm_probe.reports._sizes import Size, size_in_name
from lm_probe.sweeps import UNSEEN

__all__ = [
    "Checkpoint",
    "Failed",
    "HeatMap",
    "LeftOut",
    "Made",
    "NotAsked",
    "Place",
    "Profiles",
    "RunData",
    "Score",
    "Scores",
    "Vectors",
]


class Made(NamedTuple):
    """How one measurement was made."""

    checkpoint: Checkpoint
    probe: str
    identity: str
    dtype: str
    device: str
    attention: str
    seed: int
    seconds: float
    peak_memory: int
    versions: dict[str, str]
    config: dict[str, Any]
    details: dict[str, Any]
    config_hash: str
    id: int
    """Row of the table `measurements` in the run's `run.db`."""
    run: str
    """Which run, as briefly as tells several apart."""


class Failed(NamedTuple):
    """What went wrong; `probe` is '' where the checkpoint did not open."""

    checkpoint: Checkpoint
    probe: str
    error: str
    measurements: int = 1
    """How many failed with it."""


class LeftOut(NamedTuple):
    """Checkpoints of a model where a probe or task ran under other settings than on most of its checkpoints."""

    checkpoints: Sequence[Checkpoint]
    probe: str
    how: str
    components: Sequence[str] = ()
    """Of which alone this holds, for want of the tokenizer that the others have; () for all that was measured."""


class NotAsked(NamedTuple):
    """Tasks that the last sweep over a model left out of itself, at these checkpoints and for one reason."""

    checkpoints: Sequence[Checkpoint]
    tasks: Sequence[str]
    why: str


class HeatMap(NamedTuple):
    """Cosines between neurons of one projection, in sorted order."""

    checkpoint: Checkpoint
    layer: int
    role: str
    cosines: Float[np.ndarray, " pairs"]
    """The upper triangle, row by row."""


Vectors = dict[Checkpoint, Float[np.ndarray, " k"]]


@dataclass(frozen=True)
class RunData:
    """Everything a report reads."""

    indexed: Numbers
    vectors: Mapping[str, Vectors]
    """By metric; of several components the one over all rows."""
    made: Sequence[Made]
    failed: Sequence[Failed]
    failed_earlier: Sequence[Failed] = ()
    """What the last sweep over its model did not ask for again."""
    not_asked: Sequence[NotAsked] = ()
    heat_maps: Sequence[HeatMap] = ()
    """Of the first and the last checkpoint of each model: all of a long series would be hundreds of megabytes."""
    left_out: Sequence[LeftOut] = ()
    """Measurements that no figure or table shows beside the others, because they were asked otherwise."""
    audits: Sequence[Audited] = ()
    """By model, what the audit in front of the sweep looked at and found."""
    samples: Samples = field(default_factory=lambda: Samples({}))
    """What was answered to each document, by checkpoint and task."""
    twins: Sequence[tuple[Checkpoint, Checkpoint]] = ()
    """The same model at the same step in two of the runs, earlier run first."""

    def by_document(self, checkpoint: Checkpoint, task: str, metric: str) -> Float[np.ndarray, " n"] | None:
        """A task's score on each document; None where there is no log, or one of another measurement."""
        logged = self.samples.get((checkpoint, task))
        if logged is None or metric not in logged.scores:
            return None
        score = self.scores("lm_eval", metric, task).get(checkpoint)
        if score is None:
            return None
        found = logged.scores[metric]
        return found if np.isclose(found.mean(), score.value, rtol=1e-4, atol=1e-9) else None

    def declared_lower(self, task: str, metric: str) -> bool | None:
        """Whether lm-eval calls a metric of a task better where it is low; None where no result says so."""
        return self._declared.get((task, metric.partition(",")[0]))

    @cached_property
    def _declared(self) -> dict[tuple[str, str], bool]:
        return {
            (row.config.get("task", ""), metric): not higher
            for row in self.made
            for metric, higher in row.details.get("higher_is_better", {}).items()
        }

    def scores(self, probe: str, metric: str, component: str | None = None) -> Scores:
        """The values of a metric that has no layer."""
        profiles = self.indexed.get(Address(probe, metric, component), {})
        return {checkpoint: next(iter(places.values())) for checkpoint, places in profiles.items()}

    def profiles(self, probe: str, metric: str) -> Profiles:
        """The values of a metric at every layer and site."""
        return self.indexed.get(Address(probe, metric, None), {})

    @cached_property
    def cosine_probe(self) -> str:
        """Which probe the mean cosine is of: `geometry` has it too, for runs that left `anisotropy` out."""
        return "anisotropy" if self.profiles("anisotropy", "mean_cosine") else "geometry"

    @property
    def mean_cosines(self) -> Profiles:
        """The mean cosine at every layer and site."""
        return self.profiles(self.cosine_probe, "mean_cosine")

    @cached_property
    def checkpoints(self) -> dict[str, list[Checkpoint]]:
        """The checkpoints of each model by step, also those that failed; narrow models first, then small ones."""
        seen = {made.checkpoint for made in self.made} | {failed.checkpoint for failed in self.failed}
        seen |= set(self.indexed.checkpoints)
        width = {checkpoint.model: len(sigma) for checkpoint, sigma in self.vectors["singular_values"].items()}
        found: dict[str, list[Checkpoint]] = {}
        for checkpoint in sorted(seen, key=by_step):
            found.setdefault(checkpoint.model, []).append(checkpoint)
        size = {model: self._size(model) for model in found}

        def order(model: str) -> tuple[int, float, str]:
            known = size[model]
            return width.get(model, 0), known.parameters if known else 0.0, model

        return {model: found[model] for model in sorted(found, key=order)}

    @cached_property
    def copies(self) -> dict[Checkpoint, Checkpoint]:
        """Checkpoints that hold the same as an earlier one of their model, with that one.

        By the audit, by a measurement that was carried over, or by an equal identity. One of them has the other's
        values at a step that is not its own, so a curve is read without it.
        """
        found: dict[Checkpoint, Checkpoint] = {}
        order = {one: place for known in self.checkpoints.values() for place, one in enumerate(known)}
        for pair in self._equal:
            if set(pair) <= order.keys() and pair[0] != pair[1]:
                first, later = sorted(pair, key=order.__getitem__)
                first = found.get(first, first)
                found[later] = min(first, found.get(later, first), key=order.__getitem__)
        return found

    def curve(self, model: str) -> list[Checkpoint]:
        """A model's checkpoints by step, without copies of earlier ones."""
        return [one for one in self.checkpoints[model] if one not in self.copies]

    @property
    def _equal(self) -> Iterator[tuple[Checkpoint, Checkpoint]]:
        """Pairs of checkpoints of one model that hold the same; either may be one that this report does not show."""
        named = {(one.model, one.revision): one for known in self.checkpoints.values() for one in known}
        first: dict[tuple[str, str], Checkpoint] = {}
        for row in self.made:
            one = row.checkpoint
            if row.identity != UNSEEN:
                yield first.setdefault((one.model, row.identity), one), one
            if "copied_from" in row.details:
                yield named.get((one.model, row.details["copied_from"]), one), one
        for audit in self.audits:
            for finding in audit.findings:
                both = [named.get((audit.model, at)) for at in (finding.twin, finding.revision)]
                if finding.kind == "copy" and both[0] and both[1]:
                    yield both[0], both[1]

    @cached_property
    def sizes(self) -> dict[str, Size]:
        """The models whose size is known, smallest first: counted when they were measured, else as named."""
        known = {model: size for model in self.models if (size := self._size(model))}
        return dict(sorted(known.items(), key=lambda one: one[1].parameters))

    def _size(self, model: str) -> Size | None:
        count = self._parameters.get(model)
        return size_in_name(model) if count is None else Size(float(count), counted=True)

    @cached_property
    def _parameters(self) -> dict[str, int]:
        return {made.checkpoint.model: made.details["parameters"] for made in self.made if "parameters" in made.details}

    def sample(self, checkpoint: Checkpoint) -> str | None:
        """Digest of the tokens on which a checkpoint's loss was measured."""
        return self._samples.get(checkpoint)

    @cached_property
    def _samples(self) -> dict[Checkpoint, str | None]:
        return {made.checkpoint: made.details.get("sample") for made in self.made if made.probe == "loss"}

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return list(self.checkpoints)
