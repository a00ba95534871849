"""Measures of a covariance's eigenvalues, with errors that need no covariance for each group of documents."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.probes._clustered import Proxies, clustered_error
from lm_probe.probes._dimension import regression_of_logs, spectral_exponent
from lm_probe.probes._isotropy import isoscore, participation_ratio, shrink
from lm_probe.probes._jackknife import Estimate
from lm_probe.probes._spectrum import Spectrum, effective_rank, stable_rank, top_share

# Beside a diagonal of 1: dimensions that say the same share a weight.
_RIDGE = 1e-6


class SpectralMeasure(NamedTuple):
    """A function of eigenvalues (largest first) and its gradient."""

    value: Callable[[Spectrum], float]
    gradient: Callable[[Spectrum], Spectrum]


def spectral_measures(shrinkage: float) -> dict[str, SpectralMeasure]:
    """The measures by name; `shrinkage` is the weight of the identity in `isoscore_shrunk`, taken as fixed."""

    def shrunk_gradient(values: Spectrum) -> Spectrum:
        gradient = _isoscore_gradient(shrink(values, shrinkage))
        return np.asarray((1 - shrinkage) * gradient + shrinkage * gradient.mean())

    return {
        "effective_rank": SpectralMeasure(lambda v: effective_rank(np.sqrt(v)), lambda v: _rank_gradient(v, 0.5)),
        "effective_rank_power2": SpectralMeasure(effective_rank, lambda v: _rank_gradient(v, 1.0)),
        "participation_ratio": SpectralMeasure(participation_ratio, _participation_gradient),
        "stable_rank": SpectralMeasure(
            lambda v: stable_rank(np.sqrt(v)), lambda v: -_share_gradient(v) * (v.sum() / v[0]) ** 2
        ),
        "top_component_share": SpectralMeasure(lambda v: top_share(np.sqrt(v)), _share_gradient),
        "spectral_exponent": SpectralMeasure(spectral_exponent, _exponent_gradient),
        "isoscore": SpectralMeasure(isoscore, _isoscore_gradient),
        "isoscore_shrunk": SpectralMeasure(lambda v: isoscore(shrink(v, shrinkage)), shrunk_gradient),
    }


def spectral_values(
    covariance: Float[Tensor, "d d"],
    eigenvalues: Spectrum,
    axes: Float[Tensor, "d d"],
    shrinkage: float,
    centred: Float[Tensor, "m d"],
    groups: Int[Tensor, " m"],
    strata: Int[Tensor, " m"],
    sizes: Float[Tensor, "g s"],
    squares: Float[Tensor, "g d"],
) -> dict[str, Estimate]:
    r"""The measures with linearised standard errors.

    An eigenvalue moves with the covariance by $v_i^\top\,dC\,v_i$, so one vector x moves a measure T by
    $\sum_i \partial T/\partial\lambda_i\,((v_i \cdot (x - \bar x))^2 - \lambda_i)$ over n: the infinitesimal jackknife
    (Jaeckel 1972; Shao and Tu 1995, section 2.1). It is a square form of x, taken on the bounded sample, so no group
    needs a covariance of its own; the proxy that `clustered_error` wants is the sum of squares of single dimensions,
    whose sums are known for every group, that follows the form best. A measure that is not defined on the spectrum is
    left out.

    Args:
        covariance: of the whole pass; overwritten.
        eigenvalues: of it, largest first.
        axes: their eigenvectors.
        shrinkage: see `spectral_measures`.
        centred: sampled vectors less the mean.
        groups: see `clustered_error`.
        strata: see `clustered_error`.
        sizes: see `clustered_error`.
        squares: sums over each group of the squares of each dimension, less its mean.
    """
    found: dict[str, float] = {}
    gradients = []
    for name, measure in spectral_measures(shrinkage).items():
        try:
            found[name] = measure.value(eigenvalues)
        except ValueError:
            continue
        gradients.append(measure.gradient(eigenvalues))
    if not found:
        return {}
    slopes, spectrum = torch.from_numpy(np.stack(gradients, 1)), torch.from_numpy(eigenvalues)
    influences = (centred.to(axes.dtype) @ axes).double().square() @ slopes - spectrum @ slopes
    weights = closest_squares(covariance, axes.double().square() @ (spectrum.square()[:, None] * slopes))
    proxies = Proxies(centred.double().square() @ weights, squares @ weights)
    n = int(sizes.sum())
    errors = clustered_error(influences, groups, strata, sizes, proxies)
    return {name: Estimate(value, error, n) for (name, value), error in zip(found.items(), errors, strict=True)}


def closest_squares(covariance: Float[Tensor, "d d"], products: Float[Tensor, "d k"]) -> Float[Tensor, "d k"]:
    r"""Weights w for which $\sum_j w_j x_j^2$ is the least-squares fit of $x^\top M x$, x Gaussian with covariance C.

    $\mathrm{cov}(x_j^2, x_k^2) = 2 C_{jk}^2$ and $\mathrm{cov}(x^\top M x, x_j^2) = 2 (CMC)_{jj}$ (Isserlis 1918), so
    $w = (C \circ C)^{-1} \mathrm{diag}(CMC)$. M's own diagonal sees mostly what varies most: of a measure of the
    middle of the spectrum that is nothing. O(d^3), a small part of the eigenvectors' time.

    Args:
        covariance: C; overwritten.
        products: diag(CMC) of each of k forms.
    """
    variance = covariance.diagonal().clone()
    variance[variance <= 0] = 1.0  # a dimension that never varies
    normal = covariance.mul_(variance.rsqrt()).mul_(variance.rsqrt()[:, None]).square_()
    normal.diagonal().add_(_RIDGE)
    weights: Tensor = torch.cholesky_solve(products / variance[:, None], torch.linalg.cholesky(normal))
    return weights / variance[:, None]


def _rank_gradient(values: Spectrum, power: float) -> Spectrum:
    weights = (values / values.max()) ** power
    p = weights / weights.sum()
    logs = np.log(np.where(p > 0, p, 1.0))
    entropy = -(p * logs).sum()
    slopes = np.exp(entropy) * power * p * (-logs - entropy)
    return np.asarray(np.divide(slopes, values, out=np.zeros_like(values), where=values > 0))


def _participation_gradient(values: Spectrum) -> Spectrum:
    total, square = values.sum(), np.square(values).sum()
    return np.asarray(2 * total / square - 2 * total**2 * values / square**2)


def _isoscore_gradient(values: Spectrum) -> Spectrum:
    return _participation_gradient(values) / (len(values) - 1)


def _share_gradient(values: Spectrum) -> Spectrum:
    total = values.sum()
    gradient = np.full_like(values, -values[0] / total**2)
    gradient[0] += 1 / total
    return gradient


def _exponent_gradient(values: Spectrum) -> Spectrum:
    part, weights = regression_of_logs(values)
    gradient = np.zeros_like(values)
    gradient[part] = -weights / values[part]
    return gradient
