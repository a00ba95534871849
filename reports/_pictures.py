"""Which figures a report has, with what their captions say."""

from collections.abc import Callable, Mapping, Sequence
from math import log
from typing import NamedTuple

from matplotlib.figure import Figure

from lm_probe.reports._data import Checkpoint, Profiles, RunData, Scores, Vectors
from lm_probe.reports._figure_layers import depth_curves, heat_map
from lm_probe.reports._figure_spectrum import spectra
from lm_probe.reports._figure_trend import has_lines, trend
from lm_probe.reports._layers import BEFORE_NORM, HOLLOW, depths_differ
from lm_probe.reports._markdown import number, sentences
from lm_probe.reports._numbers import Address
from lm_probe.reports._provenance import clustered, conditions, machine
from lm_probe.reports._thin import lines_of

_DEPTH_LINES = 6
_SPECTRUM_LINES = 16


class View(NamedTuple):
    """What a figure shows, for a page that draws it itself."""

    kind: str
    """`trend`, `profile`, `models`, `map`, `spectrum`, `arms` or `gap`."""
    probe: str
    metric: str
    label: str
    """Quantity and unit."""
    component: str | None = None
    """Of a counting figure the question."""
    late: bool = False
    """Whether it opens on the late part of training (see `late_from`)."""
    derived: Scores | None = None
    """Its values, where they are computed from stored ones and no run has them."""
    relative: bool = False
    """Whether it opens over relative depth."""

    @property
    def address(self) -> Address:
        """Which quantity it shows."""
        return Address(self.probe, self.metric, self.component)


class Picture(NamedTuple):
    """One figure."""

    name: str
    title: str
    draw: Callable[[], Figure]
    caption: str
    view: View | None = None
    """None where it is a drawing on every page."""
    drawing: str = ""
    """What the caption of the drawing says besides."""


def loss_picture(data: RunData) -> list[Picture]:
    """Loss over steps."""
    losses = data.scores("loss", "loss")
    if not losses:
        return []
    made = conditions(data, "loss", (score.n for score in losses.values()), "predicted tokens")
    errors = f"; {_band(losses)}{clustered(data, 'loss')}" if any(score.stderr for score in losses.values()) else ""
    caption = f"Mean next-token cross-entropy{errors}.{made}"
    name = "loss (nats per token)"
    return [
        Picture(
            "loss",
            _over("Loss", losses),
            lambda: trend(losses, data.checkpoints, name, {}),
            caption,
            View("trend", "loss", "loss", name),
            _zero(losses),
        )
    ]


def anisotropy_said(data: RunData) -> list[str]:
    """What all figures of the mean cosine show, and on how much of which text."""
    profiles = data.mean_cosines
    if not profiles:
        return []
    made = conditions(data, data.cosine_probe, sizes=(score.n for own in profiles.values() for score in own.values()))
    errors = clustered(data, data.cosine_probe).replace(", ", "; errors are ")
    return [f"Mean cosine over all ordered pairs of hidden states of a layer{errors}.{made}"]


def anisotropy_pictures(data: RunData) -> list[Picture]:
    """Heat map and curves of the mean cosine."""
    profiles = data.mean_cosines
    if not profiles:
        return []
    chosen = lines_of(data, profiles, _DEPTH_LINES)
    pictures = []
    if any(len([one for one in known if one in profiles]) > 1 for known in data.checkpoints.values()):
        empty = any(one not in profiles for known in data.checkpoints.values() for one in known)
        pictures.append(
            Picture(
                "anisotropy_heat_map",
                "Anisotropy by layer and step",
                lambda: heat_map(profiles, data.checkpoints),
                "A column is a checkpoint, so steps are not to scale.",
                View("map", data.cosine_probe, "mean_cosine", "mean cosine"),
                sentences("An empty column has no value." * empty, f"{BEFORE_NORM}, which follows them."),
            )
        )
    pictures.append(
        Picture(
            "anisotropy_depth",
            "Anisotropy over depth",
            lambda: depth_curves(profiles, chosen),
            "",
            View("profile", data.cosine_probe, "mean_cosine", "mean cosine", relative=depths_differ(profiles.values())),
            sentences(
                f"{BEFORE_NORM}; {HOLLOW}.",
                "Standard errors are in tables/anisotropy.csv.",
                _few(data, profiles, chosen),
                _emphasis(chosen),
            ),
        )
    )
    return pictures


def spectrum_pictures(data: RunData) -> list[Picture]:
    """Singular values, and singular entropy over steps."""
    sigmas = {one: sigma for one, sigma in data.vectors["singular_values"].items() if len(sigma) and sigma.max() > 0}
    entropies = data.scores("head_spectrum", "singular_entropy", "all_rows")
    made = machine(data, "head_spectrum", "Weights as stored: ")
    pictures = []
    if sigmas:
        chosen = lines_of(data, sigmas, _SPECTRUM_LINES)
        caption = f"Singular values of the output head (all rows, uncentred, float64) over the largest one.{made}"
        pictures.append(
            Picture(
                "head_spectrum",
                "Spectrum of the output head",
                lambda: spectra(sigmas, chosen),
                caption,
                View("spectrum", "head_spectrum", "singular_values", "σᵢ / σ₁", "all_rows"),
                sentences(_few(data, sigmas, chosen), _emphasis(chosen)),
            )
        )
    if entropies:
        widths = {one.model: len(sigma) for one, sigma in sigmas.items()}
        notes = {model: f" (ln d = {number(log(width), 3)})" for model, width in widths.items()}
        caption = (
            "Kullback-Leibler divergence of the squared, normalised singular values (power 2, all rows) from the "
            "uniform distribution: 0 for a flat spectrum, ln d (d the number of singular values) for rank one. It is a "
            f"function of the weights alone and has no sampling error.{made}"
        )
        name = "singular entropy (nats)"
        pictures.append(
            Picture(
                "singular_entropy",
                _over("Singular entropy", entropies),
                lambda: trend(entropies, data.checkpoints, name, notes),
                caption,
                View("trend", "head_spectrum", "singular_entropy", name, "all_rows"),
                _zero(entropies),
            )
        )
    return pictures


def _few(data: RunData, having: Profiles | Vectors, chosen: Mapping[str, Sequence[Checkpoint]]) -> str:
    for model, known in data.checkpoints.items():
        if len(chosen[model]) < len([one for one in known if one in having]):
            said = "Some of the checkpoints: the first, the last, the one with the lowest loss, and some between"
            return f"{said}{_steps(chosen)}."
    return ""


def _steps(chosen: Mapping[str, Sequence[Checkpoint]]) -> str:
    """The steps, where all models have the same."""
    sets = {tuple(one.step for one in own if one.step is not None) for own in chosen.values() if own}
    return f" (steps {', '.join(f'{step:,}' for step in sets.pop())})" if len(sets) == 1 and all(sets) else ""


def _emphasis(chosen: Mapping[str, Sequence[Checkpoint]]) -> str:
    if all(len(own) < 2 for own in chosen.values()):
        return ""
    return "The first checkpoint is dotted and the last one heavy."


def _over(name: str, scores: Mapping[Checkpoint, object]) -> str:
    return f"{name} over training" if has_lines(scores) else name


def _band(scores: Mapping[Checkpoint, object]) -> str:
    return f"the {'band is' if has_lines(scores) else 'bars are'} the 95 % interval"


def _zero(scores: Mapping[Checkpoint, object]) -> str:
    if not has_lines(scores) or not any(one.step == 0 for one in scores):
        return ""
    return "The axis is logarithmic, and step 0 stands at half of the first step after it."
