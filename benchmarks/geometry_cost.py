"""What the geometry of hidden states costs beside the bare model, on random weights of Pythia's shapes.

    OPENBLAS_NUM_THREADS=1 python benchmarks/geometry_cost.py time   [--sizes 160m 410m] [--batches 6]
    OPENBLAS_NUM_THREADS=1 python benchmarks/geometry_cost.py memory [--sizes 160m 410m]

`time` runs every variant on the same batch before it goes to the next one, so that a busy machine slows all of them
alike, and compares medians over batches of the process's own seconds, on one thread. The bare model is the trunk
without its head. What a probe does once at the end of a pass is timed apart: the ratio of a whole pass depends on its
length, and is given for several lengths. The usual script, nnsight and TransformerLens run where they are installed.

`memory` starts a process for each figure, because a peak cannot be taken back: the peak of a pass over 4096 tokens less
that of the bare model, and the growth to 65536 tokens, for which hidden states are drawn and not computed.
"""

import argparse
import importlib.util
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
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
    parser.add_argument("what", choices=["time", "memory", "peak"])
    parser.add_argument("--sizes", nargs="+", default=["160m", "410m"], choices=SHAPES)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--probe", choices=[*PROBES, "bare"], help="of `peak`, which `memory` calls")
    parser.add_argument("--tokens", type=int, default=FEW, help="of `peak`")
    parser.add_argument("--drawn", action="store_true", help="of `peak`: draw hidden states instead of computing them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for size in args.sizes:
        if args.what == "time":
            for line in times(size, args.batches):
                print(f"{size}: {line}", flush=True)
        elif args.what == "memory":
            for line in memory(size):
                print(f"{size}: {line}", flush=True)
        else:
            print(peak(size, args.probe, args.tokens, args.drawn))


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


def memory(size: str) -> list[str]:
    def measured(probe: str, tokens: int, *flags: str) -> float:
        command = [sys.executable, __file__, "peak", "--sizes", size, "--probe", probe, "--tokens", str(tokens), *flags]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    width, layers, _ = SHAPES[size]
    bare = measured("bare", FEW)
    lines = [f"bare model {bare:.0f} MB"]
    tokens_alone = measured("bare", MANY, "--drawn") - measured("bare", FEW, "--drawn")
    for name in PROBES:
        extra = measured(name, FEW) - bare
        growth = measured(name, MANY, "--drawn") - measured(name, FEW, "--drawn") - tokens_alone
        lines.append(f"{name} +{extra:.0f} MB at {FEW} tokens, {growth:+.1f} MB from there to {MANY} tokens")
    bar = 50 + 1.2 * layers * width**2 * 8 / 1e6
    lines.append(f"50 MB and 1.2 float64 matrices of width x width a layer are {bar:.0f} MB")
    return lines


def peak(size: str, name: str, tokens: int, drawn: bool) -> float:
    """The highest memory of this process in MB, after a pass with its end."""
    batches, sampled = random_batches(tokens)
    architecture = architecture_of(random_model("14m" if drawn else size))
    if name == "bare":
        for batch in batches:
            torch.randn(*batch.token_ids.shape, SHAPES[size][0]) if drawn else architecture.last_hidden(batch.token_ids)
    else:
        probe = PROBES[name]()
        state = probe.start(architecture, sampled)
        if drawn:
            width, layers, _ = SHAPES[size]
            for batch in batches:
                vectors = torch.randn(*batch.token_ids.shape, width)
                for layer in range(layers + 2):  # as many sites as blocks, embedding and final norm
                    state.see_hidden(Site(layer, "block"), vectors, batch)
        else:
            list(run_forward(architecture, batches, {probe: state}))
        state.result()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
