"""How one demo model is built and trained: shapes, recipe, and a loop that meets every checkpoint."""

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

# Logits of this many tokens are held at a time: 2 MiB stay in a core's cache, and all of them at once take 2-3 times
# as long (measured: the head's product over 4096 tokens is half of the work).
_TOKENS_PER_CHUNK = 128

_ROTARY: dict[str, Any] = {"rotary_pct": 0.25}  # Pythia's name for it, which transformers 4 and 5 both read


@dataclass(frozen=True)
class Recipe:
    """What the two models share: Pythia's architecture and recipe, scaled to minutes on two cores.

    A step is 3 rows of 256 tokens: rows as long as most counting prompts (100 to 450 tokens), and no more of them than
    give width 64 a thousand steps in a minute and a half of one core. The optimiser is Pythia's (AdamW, betas 0.9 and
    0.95, gradients clipped to norm 1, cosine to a tenth of the peak rate), with a peak rate and a warm-up for a run of
    about a thousand steps. Weights start as in transformers.
    """

    layers: int = 4
    head_width: int = 16  # a quarter is rotated: 4 dimensions
    vocabulary: int = 4096
    positions: int = 1024
    context: int = 256
    rows_per_step: int = 3
    peak_rate: float = 3e-3
    warm_up_steps: int = 16
    last_rate_share: float = 0.1
    weight_decay: float = 0.01
    initializer_range: float = 0.02

    def rate(self, step: int, last_step: int) -> float:
        """The learning rate of the update that leads from `step` to `step + 1`."""
        if step < self.warm_up_steps:
            return self.peak_rate * (step + 1) / self.warm_up_steps
        done = (step - self.warm_up_steps) / max(1, last_step - self.warm_up_steps)
        cosine = (1 + math.cos(math.pi * done)) / 2
        return self.peak_rate * (self.last_rate_share + (1 - self.last_rate_share) * cosine)


def build_model(recipe: Recipe, *, width: int, vocabulary: int, seed: int) -> GPTNeoXForCausalLM:
    """A GPT-NeoX model with random weights: parallel residual, a quarter of each head rotated, untied head.

    The global generator of torch is left as it was found.
    """
    config = GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=max(1, width // recipe.head_width),
        intermediate_size=4 * width,
        max_position_embeddings=recipe.positions,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        initializer_range=recipe.initializer_range,
        bos_token_id=0,
        eos_token_id=0,
        **_ROTARY,
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed seeds every device
        return GPTNeoXForCausalLM(config)


def train(
    model: GPTNeoXForCausalLM,
    rows: Int[Tensor, "rows length"],
    recipe: Recipe,
    *,
    steps: Collection[int],
    seed: int,
    at_step: Callable[[int], None],
    at_checkpoint: Callable[[int, float], None],
) -> None:
    """Train a model in place, on one core.

    Args:
        model: Of `build_model`.
        rows: Of `rows_of_tokens`, `recipe.context + 1` tokens long.
        recipe: The recipe.
        steps: The steps at which a checkpoint is met; the last one ends the training.
        seed: Of the order of the rows. Equal seeds give every model the same batches, as in Pythia.
        at_step: Called with each step that is reached; what it raises ends the training.
        at_checkpoint: Called at each of `steps` with the loss (nats per token) of the batch that comes next, so of
            text that these weights have not been trained on (until the rows have all been seen once).
    """
    torch.set_num_threads(1)  # of this Python thread; also makes the sums independent of the number of cores
    last_step = max(steps)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay, fused=True
    )
    model.train()
    for step, batch in enumerate(_batches(rows, recipe.rows_per_step, seed)):
        loss = _loss_and_gradients(model, batch)
        if step in steps:
            at_checkpoint(step, loss)
        at_step(step)
        if step == last_step:
            return
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step, last_step)
        optimizer.step()
        optimizer.zero_grad()


def _batches(rows: Int[Tensor, "rows length"], size: int, seed: int) -> Iterator[Int[Tensor, "size length"]]:
    """Every row once, in an order drawn from the seed; then again, in another order."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for start in range(0, len(rows) - size + 1, size):
            yield rows[order[start : start + size]]


def _loss_and_gradients(model: GPTNeoXForCausalLM, batch: Int[Tensor, "size length"]) -> float:
    """Mean cross-entropy in nats per token; the gradients are left in the parameters.

    The head is run over a few tokens at a time, and its gradients are gathered before they go down into the body.
    """
    states = model.gpt_neox(input_ids=batch[:, :-1], use_cache=False).last_hidden_state.flatten(0, 1)
    targets = batch[:, 1:].flatten()
    head = model.get_output_embeddings()
    leaf: Float[Tensor, "n d"] = states.detach().requires_grad_()
    total = 0.0
    for part, wanted in zip(leaf.split(_TOKENS_PER_CHUNK), targets.split(_TOKENS_PER_CHUNK), strict=True):
        loss = F.cross_entropy(head(part), wanted, reduction="sum") / len(targets)
        loss.backward()
        total += loss.item()
    states.backward(leaf.grad)
    return total
