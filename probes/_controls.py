"""Controls for hidden-state geometry: what a value would be without training, word order, directions, or tokens."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from lm_probe.model_adapters import Architecture, Site, device_of
from lm_probe.probes._forward import run_forward
from lm_probe.probes._labels import mix, token_keys
from lm_probe.probes._protocol import Batch, ForwardProbe, ForwardState, Need, Reading, Sampled, VectorReading

_SITE_NAMES = ("embedding", "block", "final_norm", "head_input")


def random_twin(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """A model of the same configuration, dtype and device with freshly drawn weights, in eval mode.

    Weights are drawn as transformers draws them for this architecture, which need not be how the trained model began.
    A geometry that the twin shows too comes from architecture and text, not from training.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        twin = type(model)(copy.deepcopy(model.config))
    torch.nn.Module.to(twin, device=device_of(model), dtype=model.dtype)
    twin.eval()
    return twin


def shuffle_tokens(batches: Iterable[Batch], seed: int = 0) -> Iterator[Batch]:
    """The same windows with their tokens in another order; the first token, often BOS, stays where it is.

    Counts of token types, lengths, padding and documents are kept; what order and context give is lost. The order
    follows from seed and text alone, whatever the batches.
    """
    for batch in batches:
        ids = batch.token_ids
        counted = torch.ones_like(ids, dtype=torch.bool) if batch.mask is None else batch.mask
        keys = token_keys(ids, counted, batch.clusters + (seed + 1) * 1_000_003)
        keys[:, 0] = -1
        order = keys.argsort(1)
        sizes = None if batch.token_bytes is None else batch.token_bytes.gather(1, order)
        yield replace(batch, token_ids=ids.gather(1, order), token_bytes=sizes)


class NormMatchedGaussian:
    """Runs a probe on vectors of the same lengths whose directions are drawn uniformly, in the same pass.

    What is left of a value comes from lengths, width and number of tokens alone: the floor to read it against. A token
    at a site has one drawn direction, whatever the batches, so parts merge as the probe's own do.
    """

    version = 1
    needs: frozenset[Need] = frozenset({"hidden"})

    def __init__(self, probe: ForwardProbe, seed: int = 0) -> None:
        """Wraps a probe of hidden states."""
        self._probe = probe
        self._seed = seed
        self.name = f"{probe.name}_gaussian"

    def start(self, architecture: Architecture, sampled: Sampled) -> ForwardState:
        """Begins a measurement."""
        return _GaussianState(self._probe.start(architecture, sampled), self._seed)


class _GaussianState(ForwardState):
    def __init__(self, state: ForwardState, seed: int) -> None:
        self._state = state
        self._seed = seed

    def see_hidden(self, site: Site, vectors: Float[Tensor, "b t d"], batch: Batch) -> None:
        ids = batch.token_ids
        counted = torch.ones_like(ids, dtype=torch.bool) if batch.mask is None else batch.mask
        salt = (self._seed * 4099 + site.layer) * len(_SITE_NAMES) + _SITE_NAMES.index(site.site)
        keys = mix(token_keys(ids, counted, batch.clusters).to(vectors.device) + salt)
        drawn = gaussian_noise(keys, vectors.shape[-1])
        norms = torch.linalg.vector_norm(vectors.double(), dim=2, keepdim=True)
        drawn *= norms / torch.linalg.vector_norm(drawn, dim=2, keepdim=True)
        self._state.see_hidden(site, drawn.to(vectors.dtype), batch)

    def merge(self, other: ForwardState) -> None:
        assert isinstance(other, _GaussianState)
        self._state.merge(other._state)

    def result(self) -> Sequence[Reading | VectorReading]:
        return self._state.result()


def gaussian_noise(keys: Int[Tensor, "b t"], width: int) -> Float[Tensor, "b t d"]:
    """Standard normal numbers, `width` for each key, that depend on the key alone (Box and Muller 1958)."""
    counter = torch.arange(width, device=keys.device) * 0x9E3779B1
    bits = mix(keys[..., None] + mix(counter + 1))
    first, second = ((((part >> 11) & (2**53 - 1)).double() + 0.5) / 2**53 for part in (bits, mix(bits + 1)))
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()


def token_curve(
    architecture: Architecture,
    probe: ForwardProbe,
    batches: Iterable[Batch],
    sampled: Sampled,
    at: Sequence[int],
) -> dict[int, Sequence[Reading | VectorReading]]:
    """What a probe reads after growing numbers of tokens, in one pass: does a value depend on how many there are?

    Ranks and dimensions grow with the number of vectors until it is far above the width; a value that still moves at
    the end of the curve is about the sample's size. Rows should come in a random order, and not document by document: a
    point of few documents is about them, and its standard error with it. The size of batches does not matter: one is
    cut after the row in which a number is reached.

    Args:
        architecture: of the model.
        probe: whose readings are taken.
        batches: the whole sample.
        sampled: what is known of the whole sample.
        at: numbers of tokens; a reading is taken at the end of the row in which each is reached.

    Returns:
        Readings by the number of tokens that they were really taken at.

    Raises:
        ValueError: a number is larger than the sample.
    """
    state = probe.start(architecture, sampled)
    wanted = sorted(set(at))
    found: dict[int, Sequence[Reading | VectorReading]] = {}
    seen = 0
    for batch in run_forward(architecture, _cut(batches, wanted), {probe: state}):
        seen += batch.token_ids.numel() if batch.mask is None else int(batch.mask.sum())
        if wanted and seen >= wanted[0]:
            found[seen] = state.result()
            wanted = [number for number in wanted if number > seen]
    if wanted:
        raise ValueError(f"a curve to {wanted[-1]} tokens needs as many: the sample has {seen}; give more text")
    return found


def _cut(batches: Iterable[Batch], at: Sequence[int]) -> Iterator[Batch]:
    """The same rows, with a new batch after each row in which one of the numbers of tokens is reached."""
    seen = 0
    for batch in batches:
        rows = torch.full((len(batch.token_ids),), batch.token_ids.shape[1])
        ends = seen + (rows if batch.mask is None else batch.mask.sum(1).cpu()).cumsum(0)
        seen = int(ends[-1])
        places = torch.searchsorted(ends, torch.tensor(at)).unique() + 1
        start = 0
        for stop in [*(place for place in places.tolist() if place < len(ends)), len(ends)]:
            yield _rows(batch, slice(start, stop))
            start = stop


def _rows(batch: Batch, part: slice) -> Batch:
    mask = None if batch.mask is None else batch.mask[part]
    sizes = None if batch.token_bytes is None else batch.token_bytes[part]
    return Batch(batch.token_ids[part], mask, batch.clusters[part], sizes)
