"""Power laws of Kaplan et al. (arXiv 2001.08361), and a fit of their form."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import linregress

from lm_probe.reports._noise import checked


class PowerLaw(NamedTuple):
    r"""$L(x) = (x_c / x)^{\alpha}$ in nats a token."""

    scale: float
    exponent: float
    exponent_error: float = float("nan")

    def loss(self, x: Float[np.ndarray, " p"] | float) -> np.ndarray:
        """Predicted loss."""
        return np.asarray((self.scale / np.asarray(x, dtype=float)) ** self.exponent)


KAPLAN_PARAMETERS = PowerLaw(8.8e13, 0.076)
"""Loss over parameters without embeddings, data and compute being no limit."""
KAPLAN_TOKENS = PowerLaw(5.4e13, 0.095)
"""Loss over tokens, parameters being no limit."""


def kaplan_loss(
    parameters: Float[np.ndarray, " p"] | float,
    tokens: Float[np.ndarray, " p"] | float,
    over_parameters: PowerLaw = KAPLAN_PARAMETERS,
    over_tokens: PowerLaw = KAPLAN_TOKENS,
) -> np.ndarray:
    r"""$L(N, D) = [(N_c/N)^{\alpha_N/\alpha_D} + D_c/D]^{\alpha_D}$, N without embeddings.

    Tends to either power law where the other quantity is no limit. Has no irreducible term, so it reaches 0 for
    infinite N and D, which no text allows: not for extrapolation.
    """
    sizes = over_parameters.scale / np.asarray(parameters, dtype=float)
    seen = over_tokens.scale / np.asarray(tokens, dtype=float)
    return np.asarray((sizes ** (over_parameters.exponent / over_tokens.exponent) + seen) ** over_tokens.exponent)


def fit_power_law(
    x: Sequence[float] | Float[np.ndarray, " p"], losses: Sequence[float] | Float[np.ndarray, " p"]
) -> PowerLaw:
    """Least squares of log loss on log x: a straight line, so no start and no iteration.

    The error of the exponent is the line's. Does not show that there is no irreducible loss; if there is one, the
    exponent depends on the range of x.
    """
    at = checked("x", x, (-1,))
    measured = checked("losses", losses, at.shape)
    if len(np.unique(at)) < 3 or min(at.min(), measured.min()) <= 0:
        raise ValueError(f"{len(np.unique(at))} different x: give at least three, and x and losses above 0")
    line = linregress(np.log(at), np.log(measured))
    return PowerLaw(float(np.exp(-line.intercept / line.slope)), float(-line.slope), float(line.stderr))
