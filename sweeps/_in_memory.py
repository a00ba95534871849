"""The weights of a model in memory, as weight probes read them."""

from jaxtyping import Float
from torch import Tensor

from lm_probe.model_adapters import Architecture, Role
from lm_probe.probes import statistics_device


class WeightsInMemory:
    """The matrices of a model by role (`WeightsByRole`), as they are at the time they are read.

    Where the model is, or on the CPU where that has no float64.
    """

    def __init__(self, architecture: Architecture) -> None:
        """Reads nothing yet."""
        self._architecture = architecture

    def head(self) -> Float[Tensor, "V d"]:
        """The output head."""
        return _with_float64(self._architecture.head_weight)

    def embedding(self) -> Float[Tensor, "V e"]:
        """The input embedding."""
        return _with_float64(self._architecture.embedding_weight)

    def projection(self, role: Role, block: int) -> Float[Tensor, "out in"]:
        """One projection of a block (counted from 0)."""
        return _with_float64(self._architecture.projection(role, block))

    @property
    def tied(self) -> bool:
        """Whether the output head is the input embedding."""
        return self._architecture.tied

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self._architecture.blocks)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles for which `projection` has an answer."""
        return self._architecture.roles

    @property
    def head_size(self) -> int:
        """Rows of one attention head in query, key and value."""
        return self._architecture.head_size


def _with_float64(weight: Tensor) -> Tensor:
    return weight.to(statistics_device(weight.device))
