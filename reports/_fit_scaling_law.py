"""Fit of the scaling law to measured losses."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import least_squares, nnls

from lm_probe.reports._noise import checked
from lm_probe.reports._scaling_law import ScalingLaw

NAMES = ("E", "A", "alpha", "B", "beta")
POINTS = 8
EXPONENTS = np.linspace(0.05, 1.0, 20)
STARTS = 4
ABSENT = 1e-6
"""Nats a token that no measured loss resolves."""
TOGETHER = 0.99
"""Correlation of log N and log D from which both terms are one curve, as for a fixed number of tokens per parameter."""


class NoFitError(ValueError):
    """A law that these points do not show: why, and what a caller can do."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(f"{reason}: {advice}")
        self.reason = reason


def fit_scaling_law(
    parameters: Sequence[float] | Float[np.ndarray, " p"],
    tokens: Sequence[float] | Float[np.ndarray, " p"],
    losses: Sequence[float] | Float[np.ndarray, " p"],
    *,
    held: Mapping[str, float] | None = None,
    delta: float = 1e-3,
    bootstrap: int = 200,
    seed: int = 0,
) -> ScalingLaw:
    r"""Constants that minimise $\sum_i \mathrm{Huber}_\delta(\ln \hat L(N_i, D_i) - \ln L_i)$.

    Starts by variable projection: for fixed exponents the law is linear in E, A and B, so a grid over the exponents
    with non-negative least squares finds the basins; the best are polished by a trust-region method on the sum of
    Huber losses, with tolerances at rounding. The loss is summed: divided by the number of points, its gradients near
    the optimum fall below an optimiser's usual tolerance and it stops at wrong constants (arXiv 2404.10102 found this
    in a published fit). Cost O(points) for each of 400 grid cells, a few milliseconds, and for each resample.

    A and alpha (B and beta) are strongly correlated: compare predicted curves before constants. Does not show that the
    law holds, least of all outside the fitted range.

    Args:
        parameters: N of each model; state which ones are counted.
        tokens: D that each had seen.
        losses: Its loss in nats a token, all on one text.
        held: Constants that are not fitted, by name, e.g. `HOFFMANN_DATA_TERM`.
        delta: Where the Huber loss turns linear, in log loss.
        bootstrap: Resamples of the points behind the intervals; 0 for none.
        seed: Of the private generator.

    Raises:
        ValueError: The data cannot identify a constant that is to be fitted; the message says which and why.
    """
    sizes = checked("parameters", parameters, (-1,))
    seen = checked("tokens", tokens, sizes.shape)
    measured = checked("losses", losses, sizes.shape)
    given = dict(held or {})
    _refuse(sizes, seen, measured, given)
    free = tuple(name for name in NAMES if name not in given)
    points = np.column_stack([np.log(sizes), np.log(seen), np.log(measured)])
    starts = _starts(points, given)
    fits = [_polish(points, given, free, start, delta) for start in starts]
    values, objective, converged, jacobian = min(fits, key=lambda fit: fit[1])
    absent = [name for name, term in _terms(values, *points.T[:2]).items() if name in free and term.max() < ABSENT]
    if absent:
        raise NoFitError(
            f"the losses show no {', '.join(absent)} term", f"hold it, e.g. held={{'{absent[0]}': 0.0, ...}}"
        )
    for axis, exponent, name in ((points[:, 0], "alpha", "N"), (points[:, 1], "beta", "D")):
        if exponent in free and values[exponent] * np.ptp(axis) < ABSENT:
            raise NoFitError(f"the losses do not fall with {name}", "check them, or hold the term at 0")
    spread = np.linalg.svd(jacobian / np.maximum(np.linalg.norm(jacobian, axis=0), 1e-300), compute_uv=False)
    if not converged or spread[-1] < 1e-7 * spread[0]:
        raise NoFitError(
            f"these points do not tell {', '.join(free)} apart (a term is next to 0, or two are one curve)",
            "vary D at the same N, or hold constants, e.g. held=HOFFMANN_DATA_TERM",
        )
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(bootstrap):
        sample = points[generator.integers(len(points), size=len(points))]
        if _identifies(sample, given):
            drawn.append([_polish(sample, given, free, values, delta)[0][name] for name in free])
    intervals = {}
    if len(drawn) >= 20:
        ends = np.quantile(drawn, [0.025, 0.975], axis=0).T
        intervals = {name: (float(low), float(high)) for name, (low, high) in zip(free, ends, strict=True)}
    return ScalingLaw(**values, free=free, intervals=intervals, objective=objective, converged=converged)


def _refuse(
    sizes: Float[np.ndarray, " p"],
    seen: Float[np.ndarray, " p"],
    losses: Float[np.ndarray, " p"],
    held: Mapping[str, float],
) -> None:
    unknown = sorted(set(held) - set(NAMES))
    if unknown:
        raise ValueError(f"held names {', '.join(unknown)}: the law has {', '.join(NAMES)}")
    if len(set(NAMES) - set(held)) == 0:
        raise ValueError("every constant is held, nothing is left to fit: use ScalingLaw(...) itself")
    if min(sizes.min(initial=1), seen.min(initial=1), losses.min(initial=1)) <= 0:
        raise NoFitError("parameters, tokens and losses must be above 0", "leave untrained checkpoints out")
    free = [name for name in NAMES if name not in held]
    if len(free) == len(NAMES) and len(sizes) < POINTS:
        raise NoFitError(f"{len(sizes)} points for five constants", f"give at least {POINTS}, or hold some (held=...)")
    if len(sizes) < len(free) + 2:
        raise NoFitError(f"{len(sizes)} points for {len(free)} constants", f"give at least {len(free) + 2}")
    for name, axis, terms in (("N", sizes, ("A", "alpha")), ("D", seen, ("B", "beta"))):
        wanted = _needed(terms, held)
        distinct = len(np.unique(axis))
        if distinct < wanted:
            raise NoFitError(
                f"{distinct} different {name} cannot identify {', '.join(t for t in terms if t not in held)}",
                f"give at least {wanted}, or hold them, e.g. held={{'{terms[0]}': ..., '{terms[1]}': ...}}",
            )
    both = {"A", "alpha"} - set(held) and {"B", "beta"} - set(held)
    if both and np.corrcoef(np.log(sizes), np.log(seen))[0, 1] > TOGETHER:
        raise NoFitError(
            "N and D rise together, so their terms cannot be told apart",
            "vary D at the same N, or hold one term, e.g. held=HOFFMANN_DATA_TERM",
        )


def _needed(terms: tuple[str, str], held: Mapping[str, float]) -> int:
    """Different abscissae for a term: one each for its free constants, and one for E."""
    unknown = sum(name not in held for name in terms)
    return unknown + ("E" not in held) if unknown else 1


def _identifies(points: Float[np.ndarray, "p 3"], held: Mapping[str, float]) -> bool:
    sizes, seen = len(np.unique(points[:, 0])), len(np.unique(points[:, 1]))
    return sizes >= _needed(("A", "alpha"), held) and seen >= _needed(("B", "beta"), held)


def _starts(points: Float[np.ndarray, "p 3"], held: Mapping[str, float]) -> list[dict[str, float]]:
    """The best cells of a grid over the exponents, E, A and B projected out by non-negative least squares.

    Weighted with 1/L, because a residual of the log is a relative one.
    """
    sizes, seen, losses = points.T
    weight = np.exp(-losses)
    found = []
    for alpha in [held["alpha"]] if "alpha" in held else EXPONENTS:
        for beta in [held["beta"]] if "beta" in held else EXPONENTS:
            columns = {"E": weight, "A": weight * np.exp(-alpha * sizes), "B": weight * np.exp(-beta * seen)}
            rest = 1 - sum((held[name] * columns[name] for name in columns if name in held), np.zeros(len(points)))
            linear = [name for name in columns if name not in held]
            fitted, error = np.zeros(0), float(np.linalg.norm(rest))
            if linear:
                matrix = np.column_stack([columns[name] for name in linear])
                scale = np.linalg.norm(matrix, axis=0)
                fitted, error = nnls(matrix / scale, rest)
                fitted = np.maximum(fitted, 1e-6) / scale
            found.append(
                (
                    error,
                    dict(held)
                    | dict(zip(linear, map(float, fitted), strict=True))
                    | {"alpha": float(alpha), "beta": float(beta)},
                )
            )
    return [start for _, start in sorted(found, key=lambda one: one[0])[:STARTS]]


def _polish(
    points: Float[np.ndarray, "p 3"],
    held: Mapping[str, float],
    free: tuple[str, ...],
    start: Mapping[str, float],
    delta: float,
) -> tuple[dict[str, float], float, bool, Float[np.ndarray, "p k"]]:
    """Constants, summed Huber loss, whether it converged, and the Jacobian there.

    Works on the logs of E, of the N term at the mean N and of the D term at the mean D: at the means a term's size
    and its exponent are nearly uncorrelated, in A and alpha they are not.
    """
    sizes, seen, losses = points.T
    middle = {"alpha": sizes.mean(), "beta": seen.mean()}
    partner = {"A": "alpha", "B": "beta"}

    def inner(values: Mapping[str, float]) -> Float[np.ndarray, " k"]:
        logs: dict[str, float] = {name: np.log(values[name]) for name in ("E", "A", "B") if name in free}
        logs |= {
            name: logs[name] - values[partner[name]] * middle[partner[name]] for name in ("A", "B") if name in free
        }
        return np.array([logs.get(name, values[name]) for name in free])

    def outer(vector: Float[np.ndarray, " k"]) -> dict[str, float]:
        values = dict(held) | dict(zip(free, map(float, vector), strict=True))
        for name in ("A", "B"):
            if name in free:
                values[name] = float(np.exp(values[name] + values[partner[name]] * middle[partner[name]]))
        if "E" in free:
            values["E"] = float(np.exp(values["E"]))
        return values

    def residuals(vector: Float[np.ndarray, " k"]) -> Float[np.ndarray, " p"]:
        return np.asarray(np.log(sum(_terms(outer(vector), sizes, seen).values())) - losses)

    def jacobian(vector: Float[np.ndarray, " k"]) -> Float[np.ndarray, "p k"]:
        values = outer(vector)
        terms = _terms(values, sizes, seen)
        total = sum(terms.values())
        slopes = dict(terms)
        for name, exponent, axis in (("A", "alpha", sizes), ("B", "beta", seen)):
            centre = middle[exponent] if name in free else 0.0
            slopes[exponent] = -terms[name] * (axis - centre)
        return np.column_stack([slopes[name] / total for name in free])

    # Far outside what losses can be, and near enough that no trial step overflows.
    low = np.array([0.0 if name in middle else -30.0 for name in free])
    high = np.array([5.0 if name in middle else 10.0 for name in free])
    found = least_squares(
        residuals,
        np.clip(inner(start), low + 1e-6, high - 1e-6),
        bounds=(low, high),
        jac=jacobian,
        loss="huber",
        f_scale=delta,
        x_scale="jac",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        max_nfev=2000,
    )
    return outer(found.x), float(found.cost), bool(found.status > 0), jacobian(found.x)


def _terms(
    values: Mapping[str, float], sizes: Float[np.ndarray, " p"], seen: Float[np.ndarray, " p"]
) -> dict[str, Float[np.ndarray, " p"]]:
    return {
        "E": np.full(len(sizes), values["E"]),
        "A": values["A"] * np.exp(-values["alpha"] * sizes),
        "B": values["B"] * np.exp(-values["beta"] * seen),
    }
