"""What a measurement cost, and under which conditions it was made."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_probe.sweeps._records import Conditions

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Cost:
    """Seconds and bytes, filled in when the context ends."""

    seconds: float = 0.0
    peak_memory: int = 0


@contextmanager
def measured(device: str) -> Iterator[Cost]:
    """Measures wall-clock seconds and peak memory: of the GPU on CUDA, otherwise of the whole process."""
    cost = Cost()
    on_gpu = device.startswith("cuda")
    _reset(on_gpu)
    begun = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = time.perf_counter() - begun
        cost.peak_memory = _peak(on_gpu)


def _reset(on_gpu: bool) -> None:
    if on_gpu:
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    # Linux sets the high-water mark back on request; elsewhere it is that of the whole process so far.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(on_gpu: bool) -> int:
    if on_gpu:
        import torch

        return torch.cuda.max_memory_allocated()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        line = next(line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def conditions(model: "PreTrainedModel", cost: Cost, **more: Any) -> Conditions:
    """How a measurement on a loaded model was made; `more` are further fields of `Conditions`.

    Parameters are all of them, both embeddings too; weights that two modules share count once.
    """
    from lm_probe.model_adapters import device_of  # brings torch, which reading a run does not wait for

    more["details"] = {"parameters": sum(one.numel() for one in model.parameters()), **more.get("details", {})}
    return Conditions(
        dtype=str(model.dtype).removeprefix("torch."),
        device=str(device_of(model)),
        attention=str(getattr(model.config, "_attn_implementation", "")),
        seconds=cost.seconds,
        peak_memory=cost.peak_memory,
        **more,
    )
