"""How many floating-point operations a measurement takes, from the shapes of a checkpoint's tensors."""

from typing import NamedTuple

from lm_probe.model_adapters import Weights


class Shape(NamedTuple):
    """The matrices of a model, from headers alone."""

    layers: int
    width: int
    """Of what attention adds up."""
    head: tuple[int, ...]
    embedding: tuple[int, ...]
    projections: tuple[tuple[int, ...], ...]
    """Of all blocks."""


def shape_of(weights: Weights) -> Shape:
    """Reads headers.

    Raises:
        UserError: no adapter covers the architecture, or the files are damaged.
    """
    listed = weights.listed()
    projections = (one.shape for name, one in listed.items() if weights.block_of(name) >= 0 and len(one.shape) == 2)
    head, embedding = (listed[name].shape for name in (weights.head_name(), weights.embedding_name()))
    width = max(listed[weights.projection_name("attention_output", 0)].shape)
    return Shape(weights.layers, width, head, embedding, tuple(projections))


def pass_flops(shape: Shape, tokens: int, context: int, *, logits: bool) -> float:
    """One forward pass: 2 per weight and token, and 4 per token, layer, width and position that it attends to.

    Normalisations, activations and what probes do with the hidden states are left out.
    """
    weights = sum(rows * columns for rows, columns in shape.projections)
    head = shape.head[0] * shape.head[1] if logits else 0
    return tokens * (2.0 * (weights + head) + 4.0 * shape.layers * shape.width * context)


def spectrum_flops(rows: int, columns: int) -> float:
    """All singular values: the product W'W, and 9 d^3 for the eigenvalues of what comes of it."""
    long, short = max(rows, columns), min(rows, columns)
    return 2.0 * long * short**2 + 9.0 * short**3
