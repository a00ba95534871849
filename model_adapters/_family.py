"""What an adapter says about a family of models: where the parts are and what the files call them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor, nn
from transformers import PretrainedConfig

from lm_probe.model_adapters._errors import UserError

Role = Literal["query", "key", "value", "attention_output", "mlp_in", "mlp_gate", "mlp_out"]


class Projection(NamedTuple):
    """Where a projection is stored, and how: enough to read it from a model and from a file."""

    parameter: str
    """Path of the parameter in a block."""
    cut: Callable[[Tensor, int], Tensor]
    """Takes the projection (out x in) from the parameter as stored; is told the size of an attention head."""


@dataclass(frozen=True)
class Family:
    """One family of causal language models, as data: paths are attribute paths from the causal model.

    A path may lead to None where a member of the family lacks the part (OPT-350m has no final norm).
    """

    name: str
    """Name of the family."""
    model_types: tuple[str, ...]
    """The values of `model_type` in `config.json` that it covers."""
    blocks: str
    """Path of the list of blocks."""
    final_norm: str
    """Path of the norm after the last block."""
    projections: Mapping[Role, Projection]
    """For each role, where its weight is."""
    head_keys: tuple[str, ...]
    """Names of an untied output head in weight files."""
    embedding_keys: tuple[str, ...]
    """Names of the input embedding in weight files: the head of a tied model."""
    head_projection: str | None = None
    """Path of what stands between the final norm and the head (OPT's `project_out`)."""

    def projection(self, role: Role) -> Projection:
        """Where one projection is stored.

        Raises:
            UserError: the family has none of this role.
        """
        if role not in self.projections:
            raise UserError(f"{self.name} has no projection {role!r}: its roles are {', '.join(self.projections)}")
        return self.projections[role]


def weight_at(path: str) -> Projection:
    """The weight of the `nn.Linear` at `path` in a block, which is stored out x in."""
    return Projection(f"{path}.weight", lambda weight, _: weight)


def head_size_of(config: PretrainedConfig) -> int:
    """Rows of one attention head in query, key and value."""
    given = getattr(config, "head_dim", None)
    return int(given or config.hidden_size // config.num_attention_heads)


def max_context_of(config: PretrainedConfig) -> int | None:
    """The longest sequence that a model's positions cover, where the config says so.

    Raises:
        UserError: it says that there is no position.
    """
    length = getattr(config, "max_position_embeddings", None)
    if isinstance(length, int) and length < 1:
        raise UserError(f"config.json says max_position_embeddings {length}: copy the checkpoint again")
    return length if isinstance(length, int) else None


def resolve(module: nn.Module, path: str) -> nn.Module | None:
    """Follows an attribute path; None where the path ends in None."""
    found: object = module
    for name in path.split("."):
        found = getattr(found, name)
    if found is not None and not isinstance(found, nn.Module):
        raise TypeError(f"{path} is a {type(found).__name__}, not a module")
    return found
