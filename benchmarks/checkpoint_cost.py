"""What one checkpoint costs, on random weights of Pythia's shapes.

    python benchmarks/checkpoint_cost.py [--threads 2] [--tokens 8192] [--repeats 5] [--sizes 70m 160m]

Variants are interleaved within one process and their medians compared, because machines are shared and noisy. The
reference for the forward probes is the model without its head, for the spectrum one float32 product W'W.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from lm_probe.model_adapters import architecture_of
from lm_probe.probes import AnisotropyProbe, ForwardProbe, LossProbe, singular_values
from lm_probe.sweeps import TokenSample
from lm_probe.sweeps._measure import read_forward

VOCABULARY, CONTEXT = 50304, 512
SHAPES = {"14m": (128, 6, 4), "70m": (512, 6, 8), "160m": (768, 12, 12), "410m": (1024, 24, 16)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", default=["70m", "160m"], choices=SHAPES)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for size in args.sizes:
        for line in cost_of(size, args.tokens, args.repeats):
            print(f"{size}: {line}", flush=True)


def cost_of(size: str, tokens: int, repeats: int) -> list[str]:
    width, layers, heads = SHAPES[size]
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=2048,
    )
    model = GPTNeoXForCausalLM(config).eval().requires_grad_(False)
    architecture = architecture_of(model)
    rows = torch.randint(0, VOCABULARY, (tokens // CONTEXT, CONTEXT)).tolist()
    sample = TokenSample(rows, list(range(len(rows))), None, "window", CONTEXT, False)
    head = architecture.head_weight

    def bare() -> None:
        with torch.no_grad():
            for batch in sample.batches(2, "cpu"):
                architecture.last_hidden(batch.token_ids)

    def probed(*probes: ForwardProbe) -> Callable[[], None]:
        def run() -> None:
            (*_,) = read_forward(probes, architecture, sample, 2)

        return run

    times = interleaved(
        {
            "trunk alone": bare,
            "anisotropy": probed(AnisotropyProbe()),
            "loss + anisotropy": probed(LossProbe(), AnisotropyProbe()),
            "float32 product": lambda: head.T @ head,
            "head spectrum": lambda: singular_values(head),
        },
        repeats,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        f"anisotropy of every layer {times['anisotropy'] / times['trunk alone']:.2f}x the trunk alone "
        f"({tokens} tokens, {times['anisotropy']:.2f} s)",
        f"loss + anisotropy {times['loss + anisotropy'] / tokens * 1e3:.2f} ms a token",
        f"head spectrum {times['head spectrum']:.2f} s, {times['head spectrum'] / times['float32 product']:.2f}x one "
        f"float32 product",
        f"peak memory of the process {peak:.0f} MB",
    ]


def interleaved(variants: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each variant; each is run once uncounted, then all in turn."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, run in variants.items():
            begun = time.perf_counter()
            run()
            if turn:
                taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in taken.items()}


if __name__ == "__main__":
    main()
