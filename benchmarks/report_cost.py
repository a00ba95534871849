"""What `lm-probe report` costs for a long run: seconds, peak memory, and the size of the page.

    OMP_NUM_THREADS=1 python benchmarks/report_cost.py [--run FOLDER] [--models 3] [--checkpoints 154] [--layers 24]

Measures a small model of that depth once with every probe, and writes its values, changed a little at every step, as
those of a whole run: every metric, layer, site and component that a sweep stores, head spectra of the width asked for,
and scores of the counting tasks. With --run the folder is kept, and used again where it is there.
"""

import argparse
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from lm_probe.probes import Reading, VectorReading, probe_names
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore, Value, measure

PYTHIA = (0, *(2**power for power in range(10)), *range(1000, 144_000, 1000))
DOCUMENTS = 100
SIZES = (128, 512, 1024)
ROLES = ("query", "key", "value", "attention_output", "mlp_in", "mlp_out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--checkpoints", type=int, default=len(PYTHIA))
    parser.add_argument("--layers", type=int, default=24)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = args.run or Path(scratch) / "run"
        if not (run / "run.db").exists():
            begun = time.perf_counter()
            build(run, args.models, PYTHIA[-args.checkpoints :], args.layers)
            print(f"written in {time.perf_counter() - begun:.0f} s, {(run / 'run.db').stat().st_size / 1e6:.0f} MB")
        with RunStore(run) as store:
            print(f"{sum(map(len, store.value_rows())):,} values")
        begun = time.perf_counter()
        lm_probe = Path(sys.executable).with_name("lm-probe")
        subprocess.run([lm_probe, "report", run], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(
            f"report: {time.perf_counter() - begun:.1f} s ({used.ru_utime + used.ru_stime:.1f} s of CPU), "
            f"peak {used.ru_maxrss / 1024:.0f} MB, report.html {(run / 'report.html').stat().st_size / 1e6:.2f} MB"
        )


def build(run: Path, models: int, steps: Sequence[int], layers: int) -> None:
    """Writes the run."""
    config = GPTNeoXConfig(
        vocab_size=256,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=64,
    )
    tokens = np.random.default_rng(0).integers(256, size=(16, 64)).tolist()
    values = measure(GPTNeoXForCausalLM(config), probe_names(), token_ids=tokens)
    with RunStore.create(run) as store:
        for number in range(models):
            width = SIZES[number % len(SIZES)]
            rng = np.random.default_rng(number)
            for step in steps:
                key = CheckpointKey(f"pythia-{14 * 5**number}m", f"step{step}", step, f"sha256:{number}{step}", "drawn")
                store.record(key, list(measurements(values, step, width, layers, rng)))


def measurements(
    values: Sequence[Value], step: int, width: int, layers: int, rng: np.random.Generator
) -> Iterator[Measurement]:
    """All of one checkpoint."""
    time_ = math.log2(1 + step) / 17.2
    tokens = np.full(DOCUMENTS, 500.0)
    nats = tokens * (8 - 5 * time_ + 0.02 * rng.standard_normal(DOCUMENTS))
    details = {"text": "drawn", "tokens": 50_000, "context": 512, "sample": "drawn", "parameters": 14_000_000 * width}
    made = Conditions("float32", "cpu", "sdpa", 1234, 2.0, 10**7, 2**30, details)
    for probe in dict.fromkeys(value.probe for value in values):
        readings: list[Reading | VectorReading] = [
            Reading(
                value.metric,
                changed(value, time_, rng, nats.sum() / tokens.sum()),
                value.layer,
                value.site,
                value.component,
                None if value.stderr is None else value.stderr * (1 + 0.05 * float(rng.standard_normal())),
                value.n,
            )
            for value in values
            if value.probe == probe
        ]
        if probe == "loss":
            readings += [VectorReading("nats_by_cluster", nats), VectorReading("tokens_by_cluster", tokens)]
        if probe == "head_spectrum":
            sigma = np.sort(1 + rng.random(width))[::-1] * np.linspace(1, 0.5, width)
            readings.append(VectorReading("singular_values", sigma, component="all_rows"))
        if probe == "weight_spectra":
            readings += [
                VectorReading("singular_values", rng.random(width), layer, "block", role)
                for layer in range(1, layers + 1)
                for role in ROLES
            ]
        yield Measurement(probe, {"version": 1}, readings, made)
    for kind in ("count_query", "most_frequent_word", "most_frequent_count"):
        for m in (5, 10, 20):
            yield Measurement("lm_eval", {"task": f"{kind}_m{m}"}, list(counting(f"{kind}_m{m}", m, time_, rng)), made)


def changed(value: Value, time_: float, rng: np.random.Generator, loss: float) -> float:
    """A number near the measured one that moves over training."""
    if value.metric == "loss":
        return float(loss)
    if value.metric == "mean_cosine":
        return 0.1 + 0.8 * time_ * ((value.layer or 0) / 24) ** 2 + 0.01 * float(rng.random())
    return value.value * (1 + 0.3 * time_ + 0.01 * float(rng.standard_normal()))


def counting(task: str, m: int, time_: float, rng: np.random.Generator) -> Iterator[Reading]:
    """Scores of both arms, and the floors."""
    full, binary = (0.1 + 0.6 * time_) / math.sqrt(m / 5), 0.2 + 0.7 * time_
    scores = {"acc": full, "acc_binary": binary, "acc_gap": binary - full, "different_words": m, "list_words": 50}
    scores |= {"floor_chance_acc": 1 / m, "floor_constant_acc": 0.2}
    scores |= {"floor_constant_mae": 2.4, "floor_constant_mae_binary": 2.4}
    for name in ("mae", "mae_relative", "bias", "expected_mae", "off_by_one", "rank", "round_share"):
        scores |= {name: 6 - 5 * time_, f"{name}_binary": 4 - 3.5 * time_, f"{name}_gap": 2 - 1.5 * time_}
    for metric, value in scores.items():
        error = 0.0 if metric in ("different_words", "list_words") else 0.03
        drawn = value + error * float(rng.standard_normal())
        share = "acc" in metric and "gap" not in metric
        yield Reading(metric, min(max(drawn, 0.0), 1.0) if share else drawn, component=task, stderr=error, n=200)


if __name__ == "__main__":
    main()
