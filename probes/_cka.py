"""Linear CKA: how alike two sets of hidden states of the same tokens are, up to rotation."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_probe.probes._covariance import identical
from lm_probe.probes._jackknife import spread_of_left_out


def linear_cka(x: Float[Tensor, "m p"], y: Float[Tensor, "m q"], *, debiased: bool = True) -> float:
    r"""Linear centred kernel alignment of two representations of the same m tokens.

    $\mathrm{HSIC}(K, L) / \sqrt{\mathrm{HSIC}(K, K)\,\mathrm{HSIC}(L, L)}$ with $K = XX^\top$, $L = YY^\top$; plain,
    that is $\|Y^\top X\|_F^2 / (\|X^\top X\|_F \|Y^\top Y\|_F)$ of centred X, Y. Plain CKA is in [0, 1] and goes to 1
    for any two representations when m is below the width; debiased, by the unbiased HSIC of Song et al., unrelated
    ones give 0 on average (it can be slightly negative). 1 for equal ones. Invariant to rotation, shift and one scale
    of each; not to other linear maps. O(m^2 (p + q)). A few directions of large variance decide it; a high value does
    not say that the same function is computed.
    Source: Kornblith et al. 2019 (arXiv 1905.00414); Song et al. 2012 (JMLR 13).

    Raises:
        ValueError: fewer than four tokens, or a representation that is the same for all tokens, but for rounding.
    """
    if identical(x) or identical(y):
        raise ValueError("CKA needs representations that differ between tokens: one is the same but for rounding")
    first, second = _gram(x), _gram(y)
    return _alignment(first, second, _hsic if debiased else _plain_hsic)


def cka_error(x: Float[Tensor, "m p"], y: Float[Tensor, "m q"], groups: Int[Tensor, " m"]) -> float | None:
    """Delete-a-group jackknife error of debiased `linear_cka`; None where a part without a group has no value."""
    first, second = _gram(x), _gram(y)
    left_out = []
    for group in groups.unique():
        keep = groups != group
        try:
            left_out.append(_alignment(first[keep][:, keep], second[keep][:, keep], _hsic))
        except ValueError:
            return None
    if len(left_out) < 2:
        return None
    return spread_of_left_out(torch.tensor(left_out, dtype=torch.float64)[:, None])[0]


def _alignment(
    first: Float[Tensor, "m m"], second: Float[Tensor, "m m"], hsic: Callable[[Tensor, Tensor], Tensor]
) -> float:
    if len(first) < 4:
        raise ValueError(f"CKA needs four tokens or more: found {len(first)}")
    own = float(hsic(first, first)), float(hsic(second, second))
    if min(own) <= 0:
        raise ValueError("CKA needs representations that differ between tokens: one is the same for all")
    return float(hsic(first, second)) / math.sqrt(own[0] * own[1])


def _gram(rows: Float[Tensor, "m d"]) -> Float[Tensor, "m m"]:
    # HSIC does not change with a shift; taking the mean away keeps digits.
    centred = rows.double() - rows.double().mean(0)
    return centred @ centred.T


def _plain_hsic(first: Float[Tensor, "m m"], second: Float[Tensor, "m m"]) -> Float[Tensor, ""]:
    return (first * second).sum()


def _hsic(first: Float[Tensor, "m m"], second: Float[Tensor, "m m"]) -> Float[Tensor, ""]:
    """Unbiased HSIC up to the factor m (m - 3), which cancels (Song et al. 2012, eq. 5)."""
    m = len(first)
    first = first - torch.diag(first.diagonal())
    second = second - torch.diag(second.diagonal())
    rows, columns = first.sum(1), second.sum(1)
    return (first * second).sum() + rows.sum() * columns.sum() / ((m - 1) * (m - 2)) - 2 / (m - 2) * (rows @ columns)
