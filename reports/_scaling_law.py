"""The scaling law L = E + A/N^alpha + B/D^beta: predictions, allocation of compute, gaps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class ScalingLaw:
    r"""$L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$ in nats a token, N parameters, D tokens."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float
    free: tuple[str, ...] = ()
    """Which constants were fitted; the others were given."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95 % percentile intervals of the fitted constants, over resampled points."""
    objective: float = float("nan")
    """Sum of Huber losses of log residuals."""
    converged: bool = True

    def loss(self, parameters: Float[np.ndarray, " p"] | float, tokens: Float[np.ndarray, " p"] | float) -> np.ndarray:
        """Predicted loss."""
        sizes, seen = np.asarray(parameters, dtype=float), np.asarray(tokens, dtype=float)
        return np.asarray(self.E + self.A / sizes**self.alpha + self.B / seen**self.beta)

    def optimal(self, compute: float) -> tuple[float, float]:
        r"""Parameters and tokens of least loss at 6 N D = `compute` FLOPs.

        $N = G (C/6)^{\beta/(\alpha+\beta)}$, $D = C/(6N)$, $G = (\alpha A / \beta B)^{1/(\alpha+\beta)}$ (arXiv
        2203.15556, approach 3). Does not count what it costs to use the model.
        """
        total = self.alpha + self.beta
        best = (self.alpha * self.A / (self.beta * self.B)) ** (1 / total) * (compute / 6) ** (self.beta / total)
        return float(best), float(compute / 6 / best)

    def relative_gap(
        self,
        parameters: Sequence[float] | Float[np.ndarray, " p"],
        tokens: Sequence[float] | Float[np.ndarray, " p"],
        losses: Sequence[float] | Float[np.ndarray, " p"],
    ) -> Float[np.ndarray, " p"]:
        r"""$(L - \hat L)/\hat L$ of measured losses: positive where a model is worse than the law says.

        For models outside the range of the fit this is extrapolation: the gap then shows that one law does not cover
        both, not which of the two is at fault.
        """
        predicted = self.loss(np.asarray(parameters, dtype=float), np.asarray(tokens, dtype=float))
        return np.asarray((np.asarray(losses, dtype=float) - predicted) / predicted)


HOFFMANN_DATA_TERM: Mapping[str, float] = MappingProxyType({"B": 410.7, "beta": 0.28, "E": 1.69})
"""What arXiv 2404.07647 holds from arXiv 2203.15556, as printed there."""

GODEY_2024 = ScalingLaw(E=1.69, A=119.09, alpha=0.246, B=410.7, beta=0.28, free=("A", "alpha"))
"""The fit of arXiv 2404.07647 on Pythia models from 410M up; N with both embeddings."""
