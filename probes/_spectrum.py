"""Singular values of a tall matrix, and what they say: pure functions."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigvalsh, svdvals
from scipy.linalg.lapack import dtpqrt
from torch import Tensor

from lm_probe.probes._eigen import leading
from lm_probe.probes._gram import Gram

Spectrum = Float[np.ndarray, " d"]
Directions = Float[np.ndarray, "d k"]

# The Gram matrix squares the singular values: below this ratio to the largest they lose digits that QR keeps.
_GRAM_RESOLVES = 1e-4
# Below this size their squares vanish.
_GRAM_SEES = 1e-140
# LAPACK goes through the whole triangle for every block: fewer rows would cost time in proportion.
_QR_ROWS = 1024


def singular_values(weight: Float[Tensor, "m n"]) -> Float[Tensor, " k"]:
    """All singular values, in float64, descending.

    Computed from the float64 Gram matrix by row blocks, so that only min(m, n)^2 numbers and a block of rows are held
    beside the weight; where the smallest value is below 1e-4 of the largest, by QR by row blocks instead (four to
    five times the time). Relative error below 1e-10 for condition numbers to 1e3 and below 1e-7 to 1e6;
    values below `resolution` are rounding noise. O(m n^2) for m >= n.

    Args:
        weight: m x n, any floating dtype.

    Returns:
        min(m, n) values, on the CPU.

    Raises:
        ValueError: the matrix is empty or holds NaN or infinite values.
    """
    tall = tall_of(weight)
    gram = Gram(tall.shape[1])
    gram.update(tall)
    return torch.from_numpy(spectrum_from(gram, tall))


def tall_of(weight: Float[Tensor, "m n"]) -> Float[Tensor, "k l"]:
    """The matrix or its transpose, whichever has at least as many rows as columns.

    Raises:
        ValueError: it is empty.
    """
    if weight.numel() == 0:
        raise ValueError(f"an empty matrix of shape {tuple(weight.shape)} has no singular values")
    return weight.detach() if weight.shape[0] >= weight.shape[1] else weight.detach().T


def spectrum_from(gram: Gram, tall: Float[Tensor, "m n"]) -> Spectrum:
    """Singular values of the matrix whose Gram matrix is given, descending.

    Args:
        gram: of all rows; its numbers are overwritten.
        tall: the matrix, for where the Gram matrix does not resolve it.

    Raises:
        ValueError: the matrix holds NaN or infinite values.
    """
    _refuse_infinite(gram, tall)
    driver = "evd" if tall.shape[1] > 1 else "ev"  # scipy before 1.12 gives evd too little room for a 1 x 1 matrix
    squares = eigvalsh(gram.lower(), lower=True, overwrite_a=True, check_finite=False, driver=driver)[::-1]
    return _resolved(squares, tall)


def spectrum_and_directions(
    gram: Gram, tall: Float[Tensor, "m n"], k: int
) -> tuple[Float[np.ndarray, " s"], Directions]:
    """The same with the k leading right singular vectors (k at most n) as columns; the Gram matrix stays as it is.

    Raises:
        ValueError: the matrix holds NaN or infinite values.
    """
    _refuse_infinite(gram, tall)
    squares, directions = leading(gram.lower(), k)
    return _resolved(squares, tall), directions


def _refuse_infinite(gram: Gram, tall: Float[Tensor, "m n"]) -> None:
    if not gram.is_finite():
        if bool(torch.isfinite(tall).all()):
            raise ValueError("the squares of the matrix overflow float64")
        raise ValueError("the matrix holds NaN or infinite values")


def _resolved(squares: Float[np.ndarray, " n"], tall: Float[Tensor, "m n"]) -> Float[np.ndarray, " s"]:
    """Singular values from their squares, or by QR where the squares have lost too many digits."""
    sigma = np.sqrt(squares.clip(min=0.0))
    if sigma[-1] < max(_GRAM_RESOLVES * sigma[0], _GRAM_SEES):
        sigma = svdvals(_triangle(tall), overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(sigma[: min(tall.shape)])


def _triangle(tall: Float[Tensor, "m n"]) -> Float[np.ndarray, "n n"]:
    """R of a QR decomposition, taking in one row block after the other (backward stable, Demmel et al. 2012).

    LAPACK's `tpqrt` decomposes a triangle with a block below it, in place of both, if both are in Fortran's order.
    """
    width = tall.shape[1]
    triangle = np.zeros((width, width), order="F")
    buffer = torch.empty(width * min(_QR_ROWS, len(tall)), dtype=torch.float64)
    for rows in tall.detach().split(_QR_ROWS):
        block = buffer[: rows.numel()].view(width, len(rows)).copy_(rows.T).numpy().T
        triangle, _, _, failed = dtpqrt(0, min(32, width), triangle, block, overwrite_a=1, overwrite_b=1)
        assert not failed
    return triangle


def resolution(sigma: Tensor | Spectrum, rows: int) -> float:
    r"""The size below which a computed singular value is rounding noise: $\max(m, n)\, \epsilon\, \sigma_1$.

    The usual bound of backward stability (Golub and Van Loan, section 5.5.8) with the epsilon of float64, 2.2e-16.
    For `rows` x len(sigma) matrices. It is the floor of the arithmetic, not of the weights: numbers stored in
    bfloat16 are themselves uncertain by 2e-3.
    """
    values = np.asarray(sigma, dtype=np.float64)
    return float(max(rows, values.size) * np.finfo(np.float64).eps * values.max())


def _checked(sigma: Tensor | Spectrum) -> Spectrum:
    values = np.asarray(sigma, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected a vector of singular values, got shape {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("singular values must be finite and not negative")
    if values.max() == 0:
        raise ValueError("all singular values are zero: a zero matrix has no spectrum")
    return values


def _probabilities(sigma: Tensor | Spectrum, power: int | float) -> Spectrum:
    values = _checked(sigma)
    weights = (values / values.max()) ** power
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _plogp(p: Spectrum) -> float:
    positive = p[p > 0]
    return float((positive * np.log(positive)).sum())


def singular_entropy(sigma: Tensor | Spectrum, power: int | float = 2) -> float:
    r"""KL divergence in nats of the normalised spectrum from the uniform one.

    $p_i = \sigma_i^k / \sum_j \sigma_j^k$, $\mathrm{KL} = \sum_i p_i \ln(p_i d)$ with d the number of singular values.
    Range [0, ln d]: 0 for a flat spectrum, ln d for rank one. Invariant to scale and rotation. With power 2 it is the
    curve that Godey et al. 2024 (arXiv 2404.07647) plot in figure 5; with power 1 it is ln d - ln effective rank.
    It says how spiked a spectrum is, not whether the spike serves or harms prediction. O(d) time.

    Args:
        sigma: (d,) singular values, in any order.
        power: k.

    Raises:
        ValueError: values are negative, not finite, or all zero.
    """
    p = _probabilities(sigma, power)
    return max(0.0, _plogp(p) + float(np.log(p.size)))


def effective_rank(sigma: Tensor | Spectrum) -> float:
    r"""$\exp H(\sigma / \sum\sigma)$ (Roy and Vetterli 2007). Range [1, d]; invariant to scale and rotation.

    Small directions count nearly as much as large ones, so a floor of noise makes it large; it does not say which
    directions are used. O(d) time.

    Raises:
        ValueError: values are negative, not finite, or all zero.
    """
    return float(np.exp(-_plogp(_probabilities(sigma, 1))))


def stable_rank(sigma: Tensor | Spectrum) -> float:
    r"""$\sum\sigma^2 / \sigma_1^2$ (Rudelson and Vershynin 2007). Range [1, d]; ruled by the largest value alone.

    Invariant to scale and rotation; it does not show how the other values are spread. O(d) time.

    Raises:
        ValueError: values are negative, not finite, or all zero.
    """
    return 1.0 / top_share(sigma)


def top_share(sigma: Tensor | Spectrum) -> float:
    r"""Share of the largest direction, $\sigma_1^2 / \sum\sigma^2$. Range [1/d, 1].

    The inverse of `stable_rank`, with its invariances and what it does not show; of a covariance, the "anisotropy" of
    Razzhigaev et al. 2024 (arXiv 2311.05928). O(d) time.

    Raises:
        ValueError: values are negative, not finite, or all zero.
    """
    return float(_probabilities(sigma, 2).max())


def top_ratio(sigma: Tensor | Spectrum) -> float:
    r"""$\sigma_1 / \sigma_2$: how far the first direction stands out. Range [1, inf); invariant to scale and rotation.

    Infinite for rank one. It is blind to everything behind the second value. O(d log d) time. A reading of the spectra
    in Godey et al. 2024 (arXiv 2404.07647), figure 4.

    Raises:
        ValueError: values are negative, not finite, or all zero.
    """
    values = np.sort(_checked(sigma))[::-1]
    return float(values[0] / values[1]) if values.size > 1 and values[1] > 0 else float("inf")


def w_error(sigma: Tensor | Spectrum) -> Float[np.ndarray, " ranks"]:
    r"""What the best approximation of each rank r = 0..d leaves of the matrix.

    $\sqrt{\sum_{i>r}\sigma_i^2 / \sum_i\sigma_i^2}$, the relative Frobenius error (Eckart and Young 1936; "W-error" in
    Godey et al. 2024, arXiv 2404.07647, section 5.2). Falls from 1 to 0; invariant to scale and rotation. It says
    nothing of the loss that the approximation would have: that also depends on which hidden states occur. O(d log d).

    Raises:
        ValueError: values are negative, not finite, or all zero.
    """
    shares = np.sort(_probabilities(sigma, 2))
    # Summed from the smallest up, so that small remainders keep their digits.
    left = np.concatenate([[0.0], np.cumsum(shares)])[::-1]
    return np.asarray(np.sqrt(left / left[0]))
