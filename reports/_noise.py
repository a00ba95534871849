"""How far checkpoints of one series scatter without a trend, and series drawn from that scatter."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2

from lm_probe.reports._unimodal import unimodal

CORRELATIONS = np.array([0.0, 0.5, 0.7, 0.85])
"""Correlations of neighbours that a series without per-document outcomes is tried against."""

LATE_CHECKPOINTS = 8


def late_from(steps: Float[np.ndarray, " t"]) -> int:
    """Index of the first checkpoint in the last nine tenths of training, but leaving at least eight (or all).

    Scatter and turns are read from there: in the first tenth a curve falls by more between two checkpoints than it
    scatters, and a task at chance does not scatter at all.
    """
    return max(0, min(int(np.searchsorted(steps, steps[-1] / 10)), len(steps) - LATE_CHECKPOINTS))


def time_axis(steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Logarithm of the step, on which training curves bend least; the step itself where there is a step 0."""
    return np.log(steps) if steps[0] > 0 else steps


def neighbour_contrasts(steps: Float[np.ndarray, " t"]) -> Float[np.ndarray, "r t"]:
    """Each late checkpoint less the line between its two neighbours, scaled to variance 1 under white noise.

    The pseudo-residuals of Gasser, Sroka and Jennen-Steinmetz (1986): what is straight cancels, what is left is
    scatter plus curvature, so that the scatter is rather over- than underrated.
    """
    start, count = late_from(steps), len(steps)
    x = time_axis(steps[start:])
    rows = np.zeros((max(0, count - start - 2), count))
    for row, i in zip(rows, range(1, count - start - 1), strict=True):
        share = (x[i + 1] - x[i]) / (x[i + 1] - x[i - 1])
        row[start + i - 1 : start + i + 2] = -share, 1, share - 1
        row /= np.linalg.norm(row)
    return rows


@dataclass(frozen=True)
class Noise:
    """Scatter of checkpoints about their trend: covariance `known` from documents plus jitter of one variance.

    `known` is the covariance of the checkpoints' means over documents, the diagonal of squared standard errors, or 0.
    The jitter, independent between checkpoints, is whatever roughness of the series `known` does not explain: no
    number of documents makes it smaller.
    """

    steps: Float[np.ndarray, " t"]
    values: Float[np.ndarray, " t"]
    known: Float[np.ndarray, "t t"]
    paired: bool
    """Whether `known` has the covariances too, from outcomes on the same documents."""

    @cached_property
    def contrasts(self) -> Float[np.ndarray, "r t"]:
        """`neighbour_contrasts` of this series."""
        return neighbour_contrasts(self.steps)

    @cached_property
    def jitter(self) -> float:
        """Variance of a checkpoint about the trend that documents do not explain."""
        return float(self.jitter_of(self.values[:, None])[0])

    @cached_property
    def _largest_jitter(self) -> float:
        """Upper 95 % bound of the jitter, from the chi-square of the roughness."""
        if not len(self.contrasts):
            return 0.0
        rough = np.square(self.contrasts @ self.values).mean()
        return float(
            max(0.0, rough * self.degrees_of_freedom / chi2.ppf(0.05, self.degrees_of_freedom) - self._explained)
        )

    @cached_property
    def _explained(self) -> float:
        """The part of the roughness that documents explain."""
        return float(np.einsum("rt,tu,ru->r", self.contrasts, self.known, self.contrasts).mean())

    @cached_property
    def covariance(self) -> Float[np.ndarray, "t t"]:
        """`known` and the jitter together."""
        return self.known + self.jitter * np.eye(len(self.steps))

    @cached_property
    def degrees_of_freedom(self) -> float:
        """Satterthwaite's, of the mean square of the neighbour contrasts."""
        gram = self.contrasts @ self.contrasts.T
        return float(np.trace(gram) ** 2 / np.square(gram).sum())

    def jitter_of(self, series: Float[np.ndarray, "t b"]) -> Float[np.ndarray, " b"]:
        """The jitter of other series over the same checkpoints."""
        if not len(self.contrasts):
            return np.zeros(series.shape[1])
        rough = np.square(self.contrasts @ series).mean(axis=0)
        # Rounding alone makes a series rough by this much.
        smallest = (1e-9 * np.abs(self.values[late_from(self.steps) :]).max()) ** 2
        return np.asarray(np.maximum(rough - self._explained, smallest))

    def trendless(self, draws: int, generator: np.random.Generator) -> list[Float[np.ndarray, "t b"]]:
        """Flat series with this scatter, one set for each thing that the data leave open; the least favourable counts.

        With outcomes or standard errors that is the jitter, tried at 0 and at its upper bound; with standard errors
        also the correlation of neighbours, tried at `CORRELATIONS`, which outcomes show. With neither there is one set,
        at the correlation that the residuals about a rise and fall show; the scale does not matter then.
        """
        count = len(self.steps)
        white = generator.standard_normal((2, count, draws))
        if self.paired:
            documents = [root(self.known) @ white[0]]
        elif self.known.any():
            errors = np.sqrt(np.diag(self.known))[:, None]
            documents = [errors * (_neighbours(count, r) @ white[0]) for r in CORRELATIONS]
        else:
            documents = []
        if documents:
            return [flat + np.sqrt(jitter) * white[1] for flat in documents for jitter in (0.0, self._largest_jitter)]
        correlation = self._correlation_of_residuals(white[0])
        return [np.sqrt(self.jitter) * (_neighbours(count, correlation) @ white[1])]

    def _correlation_of_residuals(self, white: Float[np.ndarray, "t b"]) -> float:
        """Neighbour correlation whose flat series leave, on average, the lag-1 correlation that these residuals have.

        Residuals about a fitted rise and fall are correlated by the fit alone, hence the comparison with series that
        went through the same fit.
        """
        trial = np.linspace(0, 0.9, 7)
        expected = np.array([self._lag_one(_neighbours(len(self.steps), r) @ white)[0].mean() for r in trial])
        left = self._lag_one(white)[1].mean()
        (seen,), (square,) = self._lag_one(self.values[:, None])
        # A steep series leaves less than white noise of its roughness would, and the correlation of that is chance.
        weight = min(1.0, float(square / (left * self.jitter))) if self.jitter else 0.0
        seen = expected[0] + weight * (seen - expected[0])
        return float(np.interp(seen, np.maximum.accumulate(expected), trial))

    def _lag_one(self, series: Float[np.ndarray, "t b"]) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """Lag-1 correlation and mean square of the late residuals about a rise and fall."""
        late = series[late_from(self.steps) :]
        rest = late - unimodal(late)
        square = np.square(rest).mean(axis=0)
        return (rest[1:] * rest[:-1]).mean(axis=0) / np.where(square > 0, square, 1), square


def _neighbours(count: int, correlation: float) -> Float[np.ndarray, "t t"]:
    """Root of the covariance $r^{|i-j|}$."""
    places = np.arange(count)
    return np.asarray(np.linalg.cholesky(correlation ** np.abs(places[:, None] - places)))


def root(covariance: Float[np.ndarray, "t t"]) -> Float[np.ndarray, "t t"]:
    """Symmetric root; a covariance over few documents is singular, which `cholesky` refuses."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T)


def noise_of(
    steps: Float[np.ndarray, " t"],
    values: Float[np.ndarray, " t"],
    stderr: Float[np.ndarray, " t"] | None,
    outcomes: Float[np.ndarray, "t n"] | None,
) -> Noise:
    """The scatter of a series, from outcomes where there are any, else standard errors, else its roughness alone."""
    if outcomes is not None:
        return Noise(steps, values, np.atleast_2d(np.cov(outcomes)) / outcomes.shape[1], paired=True)
    if stderr is None or not stderr.any():
        return Noise(steps, values, np.zeros((len(steps),) * 2), paired=False)
    # A score of exactly 0 or 1 has a formal error of 0; it is as uncertain as its neighbours, not certain.
    filled = np.where(stderr > 0, stderr, np.median(stderr[stderr > 0]))
    return Noise(steps, values, np.diag(filled**2), paired=False)


def checked(name: str, numbers: Sequence[float] | Float[np.ndarray, "..."], shape: tuple[int, ...]) -> np.ndarray:
    """An array of finite float64 of this shape; a -1 stands for any length."""
    found = np.asarray(numbers, dtype=np.float64)
    if found.ndim != len(shape) or any(want not in (-1, have) for want, have in zip(shape, found.shape, strict=True)):
        wanted = " x ".join("any" if size < 0 else str(size) for size in shape)
        raise ValueError(f"{name} has shape {found.shape}, expected {wanted}: give one entry for each step")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds NaN or infinite entries: leave those checkpoints out and call again")
    return found
