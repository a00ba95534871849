"""Eigenvectors of symmetric matrices."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal
from scipy.linalg.lapack import dormqr, dsterf, dsytrd
from torch import Tensor

_COLUMNS = 32  # that LAPACK takes at a time


def eigh(matrix: Float[Tensor, "d d"]) -> tuple[Float[Tensor, " d"], Float[Tensor, "d d"]]:
    """Eigenvalues, smallest first, and eigenvectors as columns.

    Raises:
        ValueError: LAPACK finds none, as where squares overflow.
    """
    try:
        # MKL takes a tenth less time from this triangle than from the other.
        values, vectors = torch.linalg.eigh(matrix, UPLO="U")
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise ValueError(f"a matrix of shape {tuple(matrix.shape)} has no eigenvalues that can be found") from error
    return values, vectors


def leading(lower: Float[np.ndarray, "d d"], k: int) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d k"]]:
    """All eigenvalues, and the eigenvectors of the k largest (k at most d) as columns, largest first.

    Both come from one tridiagonal form, which takes most of the time: half of that of every eigenvector at a width of
    1024. O(d^3).

    Args:
        lower: the matrix, which has no negative eigenvalues, in Fortran's order; only what is on and below the diagonal
            is read, and nothing is changed.
        k: how many eigenvectors.

    Raises:
        ValueError: LAPACK finds none.
    """
    d = len(lower)
    if d == 1:
        return lower[0].copy(), np.ones((1, 1))
    # Below the diagonal, because of that form the reflections can be applied as those of a QR.
    matrix = np.array(lower, order="F")
    # By a power of two, so that squares neither overflow nor vanish.
    exponent = int(np.frexp(np.abs(matrix.diagonal()).max())[1])
    np.ldexp(matrix, -exponent, out=matrix)
    reflections, diagonal, beside, scales, failed = dsytrd(matrix, lower=1, lwork=_COLUMNS * d, overwrite_a=1)
    values, failed = dsterf(diagonal, beside)
    if failed:
        raise ValueError(f"a matrix of shape {lower.shape} has no eigenvalues that can be found")
    # The other driver makes room for all eigenvectors.
    _, vectors = eigh_tridiagonal(
        diagonal, beside, select="i", select_range=(d - min(k, d), d - 1), check_finite=False, lapack_driver="stebz"
    )
    below = np.asfortranarray(vectors[1:])
    vectors[1:] = dormqr("L", "N", reflections[1:, :-1], scales, below, _COLUMNS * below.shape[1])[0]
    return np.ldexp(values[::-1], exponent), vectors[:, ::-1]
