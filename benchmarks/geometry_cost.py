"""What the geometry of hidden states costs beside the bare model, on random weights of Pythia's shapes.

    OPENBLAS_NUM_THREADS=1 python benchmarks/geometry_cost.py time   [--sizes 160m 410m] [--batches 6]
    OPENBLAS_NUM_THREADS=1 python benchmarks/geometry_cost.py memory [--sizes 160m 410m]

`time` runs every variant on the same batch before it goes to the next one, so that a busy machine slows all of them
alike, and compares medians over batches of the process's own seconds, on one thread. The bare model is the trunk
without its head. What a probe does once at the end of a pass is timed apart: the ratio of a whole pass depends on its
length, and is given for several lengths. The usual script, nnsight and TransformerLens run where they are installed.

`memory` takes the peak of a pass over 4096 tokens beside the bare model, and its growth to 65536 tokens, for which
hidden states are drawn and not computed. Both are differences within one process: between processes an allocator lays
things otherwise, which differs by more than there is to be seen. Ends of a pass run in copies of the process.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from _memory import forget_peak, in_fresh_process, peak, peak_after
from _pythia import SHAPES, VOCABULARY, random_model
from transformers import GPTNeoXForCausalLM

from lm_probe.model_adapters import Site, architecture_of
from lm_probe.probes import AnisotropyProbe, Batch, ForwardProbe, GeometryProbe, Sampled, run_forward

CONTEXT, ROWS = 512, 2
PROBES: dict[str, Callable[[], ForwardProbe]] = {"anisotropy": AnisotropyProbe, "geometry": GeometryProbe}
LENGTHS = (8192, 16384, 50000)
FEW, MANY = 4096, 65536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "memory"])
    parser.add_argument("--sizes", nargs="+", default=["160m", "410m"], choices=SHAPES)
    parser.add_argument("--batches", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for size in args.sizes:
        for line in times(size, args.batches) if args.what == "time" else memory(size):
            print(f"{size}: {line}", flush=True)


def random_batches(tokens: int) -> tuple[list[Batch], Sampled]:
    """Batches of Zipf-like tokens, each row a document."""
    generator = torch.Generator().manual_seed(0)
    number = max(1, tokens // (ROWS * CONTEXT))
    uniform = torch.rand(number * ROWS, CONTEXT, generator=generator, dtype=torch.float64)
    ids = (VOCABULARY**uniform).long() - 1
    clusters = torch.arange(len(ids))
    batches = [Batch(ids[i : i + ROWS], None, clusters[i : i + ROWS], None) for i in range(0, len(ids), ROWS)]
    return batches, Sampled(len(ids), "cpu", False, torch.bincount(ids.flatten(), minlength=VOCABULARY))


def times(size: str, number: int) -> list[str]:
    model = random_model(size)
    architecture = architecture_of(model)
    batches, sampled = random_batches((number + 1) * ROWS * CONTEXT)
    probes = {name: make() for name, make in PROBES.items()}
    states = {name: probe.start(architecture, sampled) for name, probe in probes.items()}

    def run(name: str) -> Callable[[Batch], object]:
        return lambda batch: list(run_forward(architecture, [batch], {probes[name]: states[name]}))

    variants: dict[str, Callable[[Batch], object]] = {
        "bare": lambda batch: architecture.last_hidden(batch.token_ids),
        **{name: run(name) for name in probes},
        **peers(size, model),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for turn, batch in enumerate(batches):
        for name, variant in variants.items():
            begun = time.process_time()
            variant(batch)
            if turn:  # the first batch warms up
                taken[name].append(time.process_time() - begun)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    bare = median["bare"]
    lines = [f"bare model {bare / (ROWS * CONTEXT) * 1e3:.2f} ms a token, medians over {number} batches of {ROWS} rows"]
    lines += [f"{name} {seconds / bare:.3f}x the bare model, per batch" for name, seconds in median.items()]
    for name, state in states.items():
        ends = []
        for _ in range(3):
            begun = time.process_time()
            state.result()
            ends.append(time.process_time() - begun)
        end = statistics.median(ends)
        whole = ", ".join(
            f"{median[name] / bare + end / (bare * length / (ROWS * CONTEXT)):.3f}x at {length} tokens"
            for length in LENGTHS
        )
        lines.append(f"{name} with its end ({end:.2f} s once): {whole}")
    return lines


def peers(size: str, model: GPTNeoXForCausalLM) -> dict[str, Callable[[Batch], object]]:
    """Others' ways to the mean cosine of every layer; all of them run the head too."""

    def pairwise(states: tuple[torch.Tensor, ...]) -> list[float]:
        found = []
        for state in states:
            unit = torch.nn.functional.normalize(state.flatten(0, 1), dim=1)
            n = len(unit)
            found.append(float(((unit @ unit.T).sum() - n) / (n * (n - 1))))
        return found

    def usual(batch: Batch) -> object:
        return pairwise(model(batch.token_ids, output_hidden_states=True, use_cache=False).hidden_states)

    found: dict[str, Callable[[Batch], object]] = {"output_hidden_states + pairwise": usual}
    if importlib.util.find_spec("nnsight"):
        from nnsight import NNsight

        wrapped = NNsight(random_model(size))

        def traced(batch: Batch) -> object:
            kept = []
            with wrapped.trace(batch.token_ids, use_cache=False):
                for layer in wrapped.gpt_neox.layers:
                    kept.append(layer.output.save())
            return pairwise(tuple(state[0] if isinstance(state, tuple) else state for state in kept))

        found["nnsight trace + pairwise"] = traced
    if importlib.util.find_spec("transformer_lens"):
        from tokenizers import Tokenizer, models
        from transformer_lens.model_bridge import TransformerBridge
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
        other = random_model(size)  # the bridge changes the model that it is given
        other.config.architectures = ["GPTNeoXForCausalLM"]
        bridge = TransformerBridge.boot_transformers("random", hf_model=other, tokenizer=tokenizer, device="cpu")

        def cached(batch: Batch) -> object:
            _, cache = bridge.run_with_cache(batch.token_ids, names_filter=lambda name: name.endswith("resid_post"))
            return pairwise(tuple(cache.values()))

        found["TransformerLens run_with_cache + pairwise"] = cached
    return found


def memory(size: str) -> Iterator[str]:
    width, layers, _ = SHAPES[size]
    bar = {"anisotropy": 50.0, "geometry": 50 + 1.2 * layers * width**2 * 8 / 1e6}
    for name in PROBES:
        extra = in_fresh_process(extra_memory, size, name) / 1e6
        growth = in_fresh_process(growth_of_memory, size, name) / 1e6
        yield f"{name} {extra:+.1f} MB beside the bare model at {FEW} tokens (bar: {bar[name]:.0f})"
        yield f"{name} {growth:+.1f} MB from {FEW} to {MANY} tokens (bar: 10)"


def extra_memory(size: str, name: str) -> int:
    """The peak of a pass with its end, above that of the model's own passes, in bytes."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    architecture = architecture_of(random_model(size))
    batches, sampled = random_batches(FEW)
    forget_peak()  # how the model was made is none of its business
    for batch in batches:
        architecture.last_hidden(batch.token_ids)
    bare = peak()
    probe = PROBES[name]()
    state = probe.start(architecture, sampled)
    list(run_forward(architecture, batches, {probe: state}))
    state.result()
    return peak() - bare


def growth_of_memory(size: str, name: str) -> int:
    """How much higher the peak of a pass with its end is after MANY tokens than after FEW, in bytes."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    width, layers, _ = SHAPES[size]
    batches, sampled = random_batches(MANY)
    state = PROBES[name]().start(architecture_of(random_model("14m")), sampled)
    forget_peak()

    def see(batches: list[Batch]) -> None:
        for batch in batches:
            vectors = torch.randn(*batch.token_ids.shape, width)
            for layer in range(layers + 2):  # as many sites as blocks, embedding and final norm
                state.see_hidden(Site(layer, "block"), vectors, batch)

    few = FEW // (ROWS * CONTEXT)
    see(batches[:few])
    before = peak_after(state.result)
    see(batches[few:])
    return peak_after(state.result) - before


if __name__ == "__main__":
    main()
