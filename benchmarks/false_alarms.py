"""How often the verdicts of docs/statistics.md are false, on simulated series whose truth is known.

    python benchmarks/false_alarms.py [--series 1000] [--checkpoints 8 16 27] [--families 300] [--lists 200]

Rates, not times. At 1000 series a rate of 5 % has a standard error of 0.7 %.
"""

import argparse
from collections import Counter

import numpy as np

from lm_probe.reports import classify_scaling_curve, detect_saturation
from lm_probe.reports._data import Checkpoint
from lm_probe.reports._series import Measure, Series
from lm_probe.reports._verdicts import in_families_of_tasks

SIZES = np.geomspace(14e6, 12e9, 8)
X = np.linspace(0, 1, 8)
TOKEN = 0.35 + 0.6 * X


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--checkpoints", type=int, nargs="+", default=[8, 16, 27])
    parser.add_argument("--families", type=int, default=300)
    parser.add_argument("--lists", type=int, default=200)
    args = parser.parse_args()
    for count in args.checkpoints:
        for name in ("roughness only", "standard errors", "outcomes", "outcomes and jitter", "plateau", "heavy tails"):
            report(count, name, 0.0, args.series)
        for correlation in (0.3, 0.5, 0.8):
            report(count, "standard errors", correlation, args.series)
            report(count, "roughness only", correlation, args.series)
        for fall in (2, 4, 8):
            report(count, f"fall of {fall} scatters", 0.0, args.series // 2)
    for name, share in (
        ("one token", TOKEN),
        ("five tokens", TOKEN**5),
        ("twenty tokens", TOKEN**20),
        ("flat", np.full(8, 0.25)),
        ("U", 0.5 - 0.25 * np.sin(np.pi * X)),
        ("inverse", 0.6 - 0.3 * X),
        ("saturating", 0.3 + 0.6 * np.clip(2.2 * X, 0, 1)),
    ):
        for documents in (200, 1000):
            curves(name, share, documents, args.families)
    for errors in (True, False):
        for fallen in (0, 1, 3):
            tasks_of_a_model(fallen, errors, args.lists)


def noise(count: int, correlation: float, generator: np.random.Generator) -> np.ndarray:
    """Normal noise of variance 1 whose neighbours correlate."""
    drawn = generator.standard_normal(count)
    for i in range(1, count):
        drawn[i] = correlation * drawn[i - 1] + np.sqrt(1 - correlation**2) * drawn[i]
    return drawn


def report(count: int, name: str, correlation: float, series: int) -> None:
    generator = np.random.default_rng(count)
    steps = np.arange(1, count + 1) * 1000.0
    verdicts: Counter[str] = Counter()
    covered, intervals, picked, corrected = 0, 0, 0.0, 0.0
    for seed in range(series):  # one seed for all would give all of them the error of one set of simulated series
        values, stderr, outcomes = noise(count, correlation, generator), None, None
        if name == "standard errors":
            stderr = np.ones(count)
        elif name == "plateau":
            values = 30 * (1 - np.exp(-np.arange(count) / 3)) + values
        elif name == "heavy tails":
            values = generator.standard_t(3, count)
        elif name.startswith("outcomes"):
            shift = 0.03 * values[:, None] if name.endswith("jitter") else 0.0
            shares = np.clip(generator.beta(1, 1, 200) + shift, 0, 1)
            values, outcomes = None, (generator.random((count, 200)) < shares).astype(float)
        elif name.startswith("fall"):
            fall = float(name.split()[2])
            values = (
                values + 10 * np.minimum(steps / steps[-1] - 0.5, 0) - 2 * fall * np.maximum(steps / steps[-1] - 0.5, 0)
            )
        found = detect_saturation(steps, values, stderr, outcomes=outcomes, lower_is_better=False, draws=299, seed=seed)
        verdicts[found.verdict] += 1
        if found.interval:  # none where the last is the best
            intervals += 1
            covered += found.interval[0] <= 0 <= found.interval[1]
        picked += found.best_value / series
        corrected += (found.best_corrected or 0.0) / series
    shares = ", ".join(f"{verdict} {number / series:.1%}" for verdict, number in verdicts.most_common())
    flat = ""
    if not name.startswith(("fall", "plateau")):
        flat = f"; interval of final minus best holds 0 in {covered / max(intervals, 1):.1%}"
        flat += f"; best {picked:.2f}, corrected {corrected:.2f}"
    print(f"{count} checkpoints, {name}, neighbours {correlation}: {shares}{flat}", flush=True)


def curves(name: str, share: np.ndarray, documents: int, families: int) -> None:
    generator = np.random.default_rng(documents)
    labels: Counter[str] = Counter()
    for seed in range(families):
        seen = generator.binomial(documents, share) / documents
        errors = np.sqrt(seen * (1 - seen) / documents)
        chance = 0.25 if name == "flat" else 0.0 if name.endswith(("token", "tokens")) else None
        labels[classify_scaling_curve(SIZES, seen, errors, chance=chance, draws=100, seed=seed).label] += 1
    shares = ", ".join(f"{label} {number / families:.1%}" for label, number in labels.most_common())
    print(f"{name}, {documents} documents: {shares}", flush=True)


def tasks_of_a_model(fallen: int, errors: bool, lists: int) -> None:
    """Twelve tasks of one model over 16 checkpoints, some of which lose five scatters over the second half."""
    generator = np.random.default_rng(fallen)
    at = [Checkpoint("model", f"step{step}", step) for step in range(1000, 17_000, 1000)]
    rise, fall = np.minimum(np.linspace(-1, 1, 16), 0), np.maximum(np.linspace(-1, 1, 16), 0)
    false, found, any_false = 0.0, 0, 0
    for _ in range(lists):
        series = [
            Series(
                "model",
                Measure(f"task{place} acc", f"task{place}", "acc", False),
                tuple(at),
                0.5 + 0.01 * (5 * rise - 5 * fall * (place < fallen) + generator.standard_normal(16)),
                np.full(16, 0.01) if errors else None,
            )
            for place in range(12)
        ]
        saturated = [int(one.series.measure.name[4:-4]) for one in in_families_of_tasks(series) if one.saturated]
        wrong = sum(place >= fallen for place in saturated)
        false += wrong / max(len(saturated), 1) / lists
        any_false += wrong > 0
        found += len(saturated) - wrong
    power = f", {found / fallen / lists:.1%} of the falls found" if fallen else ""
    how = "standard errors" if errors else "roughness only"
    said = f"12 tasks, {fallen} of which fall, {how}: {false:.1%} of what is called saturated is not, on average{power}"
    print(f"{said}; a list with a false one {any_false / lists:.1%}", flush=True)


if __name__ == "__main__":
    main()
