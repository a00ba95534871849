"""A model's modules by role, and where its hidden states can be seen."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm_probe.model_adapters._adapted import inner_model, is_adapted
from lm_probe.model_adapters._family import Family, Role, head_size_of, max_context_of, resolve
from lm_probe.model_adapters._head_product import HeadProduct, capped
from lm_probe.model_adapters._offload import fetched_to_cpu, values_of
from lm_probe.model_adapters._table import family_of

SiteName = Literal["embedding", "block", "final_norm", "head_input"]


class Site(NamedTuple):
    """A place where hidden states are read.

    `embedding` is layer 0: what enters the first block. `block` is what block `layer` (1..L) hands on, before any
    final norm. `final_norm` is layer L after the final norm. `head_input` is what the head multiplies, where that
    differs from both (OPT's `project_out`).
    """

    layer: int
    site: SiteName


class Architecture:
    """One model's parts, named by role and in one orientation. Made by `architecture_of`."""

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        self._model = model
        self._family = family
        blocks = resolve(model, family.blocks)
        assert isinstance(blocks, nn.ModuleList)
        self._blocks = blocks
        self._final_norm = resolve(model, family.final_norm)
        self._head_projection = resolve(model, family.head_projection) if family.head_projection else None

    @property
    def family(self) -> str:
        """Name of the family: `gpt2`, `gpt_neox`, `opt` or `llama`."""
        return self._family.name

    @property
    def model(self) -> PreTrainedModel:
        """The model that this is a view of: inside a model of peft the one with the adapters in its layers."""
        return self._model

    @property
    def blocks(self) -> nn.ModuleList:
        """The L blocks. Block i (counted from 0) hands on layer i + 1."""
        return self._blocks

    @property
    def final_norm(self) -> nn.Module | None:
        """The norm after the last block; None in OPT-350m."""
        return self._final_norm

    @property
    def head_projection(self) -> nn.Module | None:
        """What stands between the last block (or final norm) and the head: OPT-350m's `project_out`; mostly None."""
        return self._head_projection

    @property
    def head(self) -> nn.Module:
        """The output head, V x width of its input."""
        head = self._model.get_output_embeddings()
        assert isinstance(head, nn.Module)
        return head

    @property
    def head_weight(self) -> Float[Tensor, "V d"]:
        """The weight of the head, V x d."""
        return values_of(self.head, "weight")

    @property
    def embedding_weight(self) -> Float[Tensor, "V e"]:
        """The weight of the input embedding, V x its width (which differs from d in OPT-350m)."""
        return values_of(self._model.get_input_embeddings(), "weight")

    @property
    def tied(self) -> bool:
        """Whether the output head is the input embedding."""
        embedding = self._model.get_input_embeddings()
        adapted = is_adapted(self.head) or is_adapted(embedding)
        return not adapted and self.head.weight is embedding.weight

    @property
    def head_size(self) -> int:
        """Rows of one attention head in query, key and value."""
        return head_size_of(self._model.config)

    @property
    def sites(self) -> list[Site]:
        """Every site at which hidden states can be read, from the embedding up."""
        last = len(self._blocks)
        found = [Site(0, "embedding"), *(Site(layer, "block") for layer in range(1, last + 1))]
        if self._final_norm is not None:
            found.append(Site(last, "final_norm"))
        if self._head_projection is not None:
            found.append(Site(last, "head_input"))
        return found

    @property
    def max_context(self) -> int | None:
        """The longest sequence that the model's positions cover, where the config says so."""
        return max_context_of(self._model.config)

    def projection(self, role: Role, block: int) -> Float[Tensor, "out in"]:
        """The weight of one projection of a block (counted from 0), out x in.

        With grouped queries, key and value have fewer rows than the query.

        Raises:
            UserError: the family has no such projection (`mlp_gate` where the feed-forward is not gated).
        """
        projection = self._family.projection(role)
        return projection.cut(values_of(self._blocks[block], projection.parameter), self.head_size)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles for which `projection` has an answer."""
        return tuple(self._family.projections)

    def query(self, block: int) -> Float[Tensor, "out in"]:
        """The query projection of a block (counted from 0), out x in."""
        return self.projection("query", block)

    def key(self, block: int) -> Float[Tensor, "out in"]:
        """The key projection of a block (counted from 0), out x in."""
        return self.projection("key", block)

    def value(self, block: int) -> Float[Tensor, "out in"]:
        """The value projection of a block (counted from 0), out x in."""
        return self.projection("value", block)

    def attention_output(self, block: int) -> Float[Tensor, "out in"]:
        """The output projection of a block's attention (counted from 0), out x in."""
        return self.projection("attention_output", block)

    def mlp_in(self, block: int) -> Float[Tensor, "out in"]:
        """The projection into a block's feed-forward (from 0), out x in; of two, the one without gate."""
        return self.projection("mlp_in", block)

    def mlp_out(self, block: int) -> Float[Tensor, "out in"]:
        """The projection out of a block's feed-forward (counted from 0), out x in."""
        return self.projection("mlp_out", block)

    def last_hidden(
        self, token_ids: Int[Tensor, "b t"], mask: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b t d"]:
        """Runs the model up to what the head multiplies; the head itself is left out.

        Args:
            token_ids: right-padded rows.
            mask: True where a token counts; None when nothing is padded.
        """
        attention_mask = None if mask is None else mask.long()
        output = self._model.base_model(input_ids=token_ids, attention_mask=attention_mask, use_cache=False)
        hidden = output.last_hidden_state
        assert isinstance(hidden, Tensor)
        return hidden

    def logits(self, hidden: Float[Tensor, "*n d"]) -> Float[Tensor, "*n V"]:
        """Applies the head to its input, with the soft cap of the families that have one (Gemma 2)."""
        logits = self.head(hidden)
        assert isinstance(logits, Tensor)
        return capped(logits, self._soft_cap)

    def head_product(self) -> HeadProduct | None:
        """The head, to be taken in parts; None where calling it does more than multiply.

        That is: a bias, a hook, a method over its own (but for one that fetches the weight), autocast.
        """
        head = self.head
        if (
            type(head) is not nn.Linear
            or head._parameters.get("bias") is not None
            or head._forward_hooks
            or head._forward_pre_hooks
            or ("forward" in vars(head) and not fetched_to_cpu(head))
        ):
            return None
        weight = self.head_weight
        return None if torch.is_autocast_enabled(weight.device.type) else HeadProduct(weight, self._soft_cap)

    @property
    def _soft_cap(self) -> float | None:
        return getattr(self._model.config, "final_logit_softcapping", None)

    @contextmanager
    def observe(self, see: Callable[[Site, Tensor], None]) -> Iterator[None]:
        """Shows `see` the hidden states (b, t, d) of every site while forward passes run inside the context."""

        def before(_: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            see(Site(0, "embedding"), inputs[0] if inputs else keywords["hidden_states"])

        def after(site: Site) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
            # Blocks return a tensor in transformers 5 and a tuple before. A hook that returns something would change
            # the model, so this one returns nothing.
            def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
                see(site, output[0] if isinstance(output, tuple) else output)

            return hook

        with ExitStack() as hooks:

            def attach(handle: torch.utils.hooks.RemovableHandle) -> None:
                hooks.callback(handle.remove)

            attach(self._blocks[0].register_forward_pre_hook(before, with_kwargs=True))
            for layer, block in enumerate(self._blocks, start=1):
                attach(block.register_forward_hook(after(Site(layer, "block"))))
            last = len(self._blocks)
            if self._final_norm is not None:
                attach(self._final_norm.register_forward_hook(after(Site(last, "final_norm"))))
            if self._head_projection is not None:
                attach(self._head_projection.register_forward_hook(after(Site(last, "head_input"))))
            yield


def architecture_of(model: nn.Module) -> Architecture:
    """The modules by role of a causal model of transformers, or of one that peft has put adapters on.

    Adapters in layers (LoRA and others) take part in passes, and weights are given with them merged.

    Raises:
        UserError: no adapter covers the model's `model_type`, or peft adds to the model what is no part of a layer.
    """
    inner = inner_model(model)
    return Architecture(inner, family_of(inner.config.model_type))
