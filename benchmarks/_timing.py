"""How benchmarks compare: variants in turn within one process, medians of its own seconds."""

import statistics
import time
from collections.abc import Callable


def interleaved(variants: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median CPU seconds of each variant; each is run once uncounted, then all in turn."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(repeats + 1):
        for name, run in variants.items():
            begun = time.process_time()
            run()
            if turn:
                taken[name].append(time.process_time() - begun)
    return {name: statistics.median(values) for name, values in taken.items()}
