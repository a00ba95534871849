"""What the spectrum of an output head costs, in time, memory and digits, on random weights of Pythia's shapes.

    python benchmarks/spectrum_cost.py [--widths 512 768 1024] [--repeats 5] [--peers] [--weightwatcher]

One thread; CPU seconds of the process; variants interleaved within one process, medians compared with one float32
product W'W. `--peers` adds numpy's and torch's own decompositions, `--weightwatcher` that package where it is
installed (neither takes part in the repeats more than once). Memory is the highest resident size above that before.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from _memory import forget_peak, in_fresh_process, peak, resident
from _timing import interleaved
from threadpoolctl import threadpool_limits
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from lm_probe.model_adapters import architecture_of
from lm_probe.probes import (
    CondensationProbe,
    HeadSpectrumProbe,
    WeightContext,
    WeightSpectraProbe,
    power_law_tail,
    singular_values,
)
from lm_probe.sweeps._in_memory import WeightsInMemory

VOCABULARY, TOKENS = 50304, 50277


class _Untied:
    """A head and an embedding, as a weight probe reads them."""

    def __init__(self, head: torch.Tensor, tied: bool) -> None:
        self._head, self.tied = head, tied

    def head(self) -> torch.Tensor:
        return self._head

    def embedding(self) -> torch.Tensor:
        return self._head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", nargs="+", type=int, default=[512, 768, 1024])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--weightwatcher", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # numpy's and scipy's own BLAS
    for condition in (1e3, 1e6, 1e8, 1e12):
        print(f"condition {condition:.0e}: largest relative error {error_at(condition):.1e}", flush=True)
    for width in args.widths:
        for line in cost_of(width, args):
            print(f"d = {width}: {line}", flush=True)


def error_at(condition: float) -> float:
    """Against the singular values that an 8192 x 256 matrix was made with."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 256, generator=generator, dtype=torch.float64)).Q for n in (8192, 256))
    sigma = torch.logspace(0, -np.log10(condition), 256, dtype=torch.float64)
    return float(((singular_values(u * sigma @ v.T) - sigma).abs() / sigma).max())


def cost_of(width: int, args: argparse.Namespace) -> list[str]:
    head = torch.randn(VOCABULARY, width, generator=torch.Generator().manual_seed(0))
    half = head.bfloat16()
    spiked = head.clone()
    spiked[:, 0] *= 1e-5  # beyond what the Gram matrix resolves: QR
    probe = HeadSpectrumProbe()
    block = one_block(width)
    lines = [
        f"{name} takes {in_fresh_process(extra_memory, name, width) / 2**20:.1f} MiB beside the weights"
        for name in _MEMORY
    ]
    square, rows, copy = (n * width / 2**17 for n in (width, 1024, VOCABULARY))
    lines.append(f"the bar is a float64 d x d and 1024 rows: {square + rows:.1f} MiB (the head itself: {copy:.0f})")
    times = interleaved(
        {
            "one float32 product": lambda: head.T @ head,
            "singular_values": lambda: singular_values(head),
            "singular_values of bfloat16": lambda: singular_values(half),
            "singular_values by QR": lambda: singular_values(spiked),
            "head_spectrum, tied, both sets of rows": lambda: list(
                probe.read(_Untied(head, tied=True), WeightContext(TOKENS))
            ),
            "the power law of it": lambda: power_law_tail(np.square(np.linspace(1, 2, width))),
            "weight_spectra of one block": lambda: list(WeightSpectraProbe().read(block, WeightContext())),
            "condensation of one block and the embedding": lambda: list(
                CondensationProbe().read(block, WeightContext(TOKENS))
            ),
        },
        args.repeats,
    )
    once: dict[str, Callable[[], object]] = {}
    if args.peers:
        array = head.numpy()
        once = {
            "torch svdvals float32": lambda: torch.linalg.svdvals(head),
            "torch svdvals float64": lambda: torch.linalg.svdvals(head.double()),
            "numpy svd float32": lambda: np.linalg.svd(array, compute_uv=False),
        }
    if args.weightwatcher:
        once["WeightWatcher"] = weightwatcher(head)
    for name, run in once.items():
        begun = time.process_time()
        run()
        times[name] = time.process_time() - begun
    product = times["one float32 product"]
    return lines + [f"{name} {seconds:.3f} s, {seconds / product:.2f}x" for name, seconds in times.items()]


def one_block(width: int) -> WeightsInMemory:
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
    )
    return WeightsInMemory(architecture_of(GPTNeoXForCausalLM(config)))


def weightwatcher(head: torch.Tensor) -> Callable[[], object]:
    """The package's own analysis of the head alone; it leaves out matrices of 50000 rows or more unless told."""
    import logging

    import weightwatcher as package

    logging.getLogger("weightwatcher").setLevel(logging.ERROR)
    layer = torch.nn.Linear(head.shape[1], head.shape[0], bias=False)
    layer.weight.data = head
    watcher = package.WeightWatcher(model=torch.nn.Sequential(layer))
    return lambda: watcher.analyze(max_N=VOCABULARY + 1)


def extra_memory(name: str, width: int) -> int:
    """Highest resident size of the process above that before, in bytes."""
    threadpool_limits(1)
    torch.set_num_threads(1)
    head = torch.randn(VOCABULARY, width)
    if name.endswith("by QR"):
        head[:, 0] *= 1e-5
    singular_values(head[:100, :50])  # libraries set aside their own memory once
    forget_peak()
    before = resident()
    _MEMORY[name](head)
    return peak() - before


_MEMORY: dict[str, Callable[[torch.Tensor], object]] = {
    "singular_values": singular_values,
    "singular_values by QR": singular_values,
    "the probe head_spectrum": lambda head: list(
        HeadSpectrumProbe().read(_Untied(head, tied=True), WeightContext(TOKENS))
    ),
}


if __name__ == "__main__":
    main()
