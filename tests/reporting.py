"""Runs with plausible numbers for the tests of reports, and readers of what was rendered."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lm_probe.probes import Reading, VectorReading
from lm_probe.reports._statistics import paired_error
from lm_probe.sweeps import CheckpointKey, Conditions, Measurement, RunStore

PROBES = ("loss", "anisotropy", "head_spectrum", "lm_eval")
STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512)
PYTHIA = (0, *(2**power for power in range(10)), *range(1000, 144_000, 1000))
DOCUMENTS = 40


def record(
    run: Path,
    model: str,
    steps: Sequence[int | None] = STEPS,
    *,
    layers: int = 5,
    width: int = 16,
    probes: Sequence[str] = PROBES,
    turn: int | None = None,
    identity: str | None = None,
    sample: str = "f00dfeed12345678",
    text: str = "built-in text",
    extra: Sequence[Reading] = (),
) -> None:
    """A series with plausible numbers; from step `turn` on its loss rises again."""
    rng = np.random.default_rng(len(model) + width)
    hardness = 1 + 0.15 * rng.standard_normal(DOCUMENTS)
    tokens = rng.integers(400, 1024, DOCUMENTS).astype(float)
    with RunStore.create(run) as store:
        for step in steps:
            time = min(1.0, math.log2(1 + (512 if step is None else step)) / 9)
            loss = 8.3 - 2.4 * time - 0.1 * math.log2(width)
            if turn is not None and step is not None and step > turn:
                loss += 0.6 * math.log2(step / turn)
            key = CheckpointKey(
                model,
                None if step is None else f"step{step}",
                step,
                identity or f"sha256:{rng.integers(2**62):032x}",
                f"/somewhere/{model}",
            )
            store.record(
                key,
                list(_measurements(rng, loss, time, hardness, tokens, layers, width, probes, sample, text, extra)),
            )


def _measurements(rng, loss, time, hardness, tokens, layers, width, probes, sample, text, extra):
    nats = tokens * loss * (hardness + 0.01 * rng.standard_normal(len(tokens)))
    sums = float(nats.sum() / tokens.sum())
    error = paired_error(nats, tokens)
    details = {
        "text": text,
        "text_note": "standard library documentation",
        "tokens": 50_000,
        "context": 128,
        "sample": sample,
        "clusters": len(tokens),
        "cluster_unit": "document",
        "starts_with_bos": False,
        "batch_size": 8,
    }
    made = Conditions("float32", "cpu", "sdpa", 1234, 2.5, 10**7, 3 * 2**29, details)
    if "loss" in probes:
        n = int(tokens.sum())
        yield Measurement(
            "loss",
            {"seed": 1234, "text": sample},
            [
                Reading("loss", sums, stderr=error, n=n),
                Reading("bits_per_byte", sums / 2.9, stderr=error / 2.9, n=n),
                VectorReading("nats_by_cluster", nats),
                VectorReading("tokens_by_cluster", tokens),
            ],
            made,
        )
    if "anisotropy" in probes:
        rise = math.exp(-((time - 0.55) ** 2) / 0.05)
        cosines = [0.02 + (0.3 + 0.6 * rise) * (layer / layers) ** 2 for layer in range(layers + 1)]
        places = [("embedding", 0), *(("block", layer) for layer in range(1, layers + 1))]
        readings = [
            Reading("mean_cosine", value, layer, site, stderr=0.004, n=50_000)
            for (site, layer), value in zip(places, cosines, strict=True)
        ]
        readings.append(Reading("mean_cosine", 0.1 + 0.85 * rise, layers, "final_norm", stderr=0.006, n=50_000))
        yield Measurement("anisotropy", {"seed": 1234, "text": sample}, readings, made)
    if "head_spectrum" in probes:
        sigma = np.sort(1 + 0.1 * rng.random(width))[::-1] * np.linspace(1, 0.8, width)
        sigma[0] *= 1 + 20 * time**3
        share = sigma**2 / (sigma**2).sum()
        yield Measurement(
            "head_spectrum",
            {},
            [
                Reading("singular_entropy", float((share * np.log(share * width)).sum()), component="all_rows", n=4096),
                Reading("effective_rank", width * 0.9 - time, component="all_rows", n=4096),
                Reading("singular_entropy", 0.5, component="token_rows", n=4000),
                VectorReading("singular_values", sigma.copy(), component="all_rows"),
                VectorReading("singular_values", sigma[::-1][::-1] / 2, component="token_rows"),
            ],
            Conditions("float16", "cpu", "", 1234, 0.25, 10**6, 2**28, {"token_rows": 4000}),
        )
    if "lm_eval" in probes:
        for kind, m in ((kind, m) for kind in ("count_query", "most_frequent_word") for m in (5, 10, 20)):
            full, binary = (0.2 + 0.3 * time) / math.sqrt(m / 5), 0.25 + 0.5 * time
            scores = {"acc": full, "acc_binary": binary, "acc_gap": binary - full}
            if kind == "count_query":
                scores |= {"mae": 9 - 3 * time, "mae_binary": 7 - 5 * time, "mae_gap": 2 + 2 * time}
                scores |= {"floor_constant_mae": 2.4, "floor_constant_mae_binary": 2.4, "floor_constant_acc": 0.13}
            else:
                scores |= {"floor_chance_acc": 1 / m}
            yield Measurement(
                "lm_eval",
                {"task": f"{kind}_m{m}"},
                [
                    Reading(metric, value, component=f"{kind}_m{m}", stderr=0.3 if "mae" in metric else 0.03, n=200)
                    for metric, value in scores.items()
                ],
                Conditions("float32", "cpu", "sdpa", 1234, 4.0, 0, 2**30, {"tasks_together": 6, "batch_size": 8}),
            )
    for number_, reading in enumerate(extra):
        yield Measurement("lm_eval", {"task": reading.component or str(number_)}, [reading])


def tables_of(report: str, title: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    after = report.split(f"{title}\n", 1)[1]
    lines = [line for line in after.split("\n## ")[0].split("\n### ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("run.db")
    }


def score_of(run: Path, model: str, step: int, probe: str, metric: str, component: str | None = None) -> float:
    with RunStore(run) as store:
        values = store.values()
    rows = values[(values.model == model) & (values.step == step) & (values.probe == probe) & (values.metric == metric)]
    if component is not None:
        rows = rows[rows.component == component]
    (value,) = rows.value
    return float(value)
