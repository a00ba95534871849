"""What a sweep of a Pythia-70m-shaped series costs beside the usual script and beside what cannot be left out.

    OMP_NUM_THREADS=1 python benchmarks/sweep_cost.py time   [--checkpoints 10] [--tokens 8192]
    OMP_NUM_THREADS=1 python benchmarks/sweep_cost.py memory [--tokens 8192]
    OMP_NUM_THREADS=1 python benchmarks/sweep_cost.py switch [--size 160m] [--repeats 7]

Random weights, float16 safetensors in a temporary folder, one thread. For every checkpoint

- the sweep gives loss, anisotropy of every layer and the spectrum of the head, stored in a run;
- the usual script loads by `from_pretrained` in float32, keeps all hidden states, takes the pairwise cosine of 2048
  tokens a layer, the loss that the model gives, and `torch.linalg.svdvals` of the head, in batches of 8 rows;
- the limit runs body and head once on the sweep's batches, and one float32 product W'W; its model is in memory, and
  logits are written over each other: what fresh memory costs depends on what the process did before.

`time` goes through all three at each checkpoint in turn and compares medians of the process's own seconds; what is
beyond such forward passes, the usual script's in its own batches, is the time outside of them. `memory` starts a
process for each, over three checkpoints, and gives its peak above the imports and one model in float32. `switch`
compares opening the next checkpoint of a series with a raw copy of its tensors and with `from_pretrained`.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from _pythia import random_model
from _timing import interleaved
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from lm_probe.model_adapters import CheckpointLoader, architecture_of, locate
from lm_probe.probes import Batch
from lm_probe.studies._demo_tokenizer import train_tokenizer
from lm_probe.sweeps import RunStore, SweepConfig, TokenSample, sample_tokens
from lm_probe.sweeps._desk import Desk
from lm_probe.sweeps._job import prepare
from lm_probe.sweeps._progress import Progress
from lm_probe.sweeps._sweep import _measure
from lm_probe.sweeps._work import Worker
from lm_probe.sweeps.text import read_text

SUBSAMPLE, CHUNK, CONTEXT = 2048, 512, 512
Step = Callable[[int], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "memory", "switch", "peak"])
    parser.add_argument("--size", help="default: 70m, of `switch` 160m")
    parser.add_argument("--checkpoints", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=7, help="of `switch`")
    parser.add_argument("--variant", help="of `peak`, which `memory` calls")
    parser.add_argument("--series", type=Path, help="of `peak`")
    args = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    if args.what == "peak":
        print(peak(args.variant, args.series, args.tokens))
        return
    with tempfile.TemporaryDirectory() as name:
        size = args.size or ("160m" if args.what == "switch" else "70m")
        series = Path(name)
        if args.what == "time":
            make_series(series, size, args.checkpoints, tokenized=True)
            lines = times(series, args.checkpoints, args.tokens)
        elif args.what == "memory":
            make_series(series, size, 3, tokenized=True)
            lines = memory(series, args.tokens)
        else:
            make_series(series, size, 2, tokenized=False)
            lines = switches(series, args.repeats)
        for line in lines:
            print(f"{size}: {line}", flush=True)


def make_series(folder: Path, size: str, checkpoints: int, *, tokenized: bool) -> None:
    texts = read_text(None).documents[:400] if tokenized else []
    tokenizer = train_tokenizer(texts, vocabulary=50000, positions=2048) if tokenized else None
    for step in range(checkpoints):
        random_model(size, seed=step).half().save_pretrained(folder / f"step{step}")
        if tokenizer is not None:
            tokenizer.save_pretrained(folder / f"step{step}")


def times(series: Path, checkpoints: int, tokens: int) -> list[str]:
    taken: dict[str, list[float]] = {"sweep": [], "usual": [], "forward": [], "forward in 8 rows": [], "product": []}
    with swept(series, tokens) as (sweep, sample):
        limit = Limit(series)
        variants: dict[str, Step] = {
            "sweep": sweep,
            "usual": lambda step: usual(series / f"step{step}", sample),
            "forward": lambda _: limit.forward(sample.batches(8, "cpu")),
            "forward in 8 rows": lambda _: limit.forward(in_rows(sample)),
            "product": lambda _: limit.product(),
        }
        for step in range(checkpoints):
            for name, run in variants.items():
                begun = time.process_time()
                run(step)
                if step:  # the first one warms up: text, tokens and the module are made there
                    taken[name].append(time.process_time() - begun)
    median = {name: statistics.median(seconds) for name, seconds in taken.items()}
    whole = median["forward"] + median["product"]
    beyond = {"sweep": median["sweep"] - median["forward"], "usual": median["usual"] - median["forward in 8 rows"]}
    return [
        f"{tokens} tokens, medians over {checkpoints - 1} checkpoints: limit {whole:.2f} s (forward "
        f"{median['forward']:.2f} s, in 8 rows {median['forward in 8 rows']:.2f} s), sweep {median['sweep']:.2f} s, "
        f"usual script {median['usual']:.2f} s",
        f"sweep {median['sweep'] / whole:.3f}x the limit, usual script {median['usual'] / whole:.3f}x",
        f"outside the forward passes: sweep {beyond['sweep']:.2f} s, usual script {beyond['usual']:.2f} s, "
        f"{beyond['usual'] / beyond['sweep']:.1f}x as much",
    ]


@contextmanager
def swept(series: Path, tokens: int) -> Iterator[tuple[Step, TokenSample]]:
    """The sweep's own code, one checkpoint at a call; and its token sample."""
    probes = ("loss", "anisotropy", "head_spectrum")
    with tempfile.TemporaryDirectory() as out:
        config = SweepConfig(
            (str(series),), Path(out), probes=probes, tasks=(), tokens=tokens, device="cpu", audit=False
        )
        job = prepare(config)
        with RunStore.create(Path(out)) as store, Progress(0, silent=True) as progress:
            worker, desk = Worker(job), Desk(job, store, progress)

            def step(number: int) -> None:
                _measure(worker, job.visits[number], desk)
                assert not desk.summary.failures, desk.summary.failures

            assert job.step.text is not None
            tokenizer = CheckpointLoader().tokenizer(series / "step0")
            yield step, sample_tokens(job.step.text.documents, tokenizer, tokens=tokens, context=CONTEXT, seed=1234)


def usual(folder: Path, sample: TokenSample) -> object:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    states: list[tuple[torch.Tensor, ...]] = []
    losses = []
    for batch in in_rows(sample):
        output = model(batch.token_ids, labels=batch.token_ids, output_hidden_states=True)
        losses.append(output.loss)
        states.append(output.hidden_states)
    cosines = []
    for layer in zip(*states, strict=True):
        unit = torch.nn.functional.normalize(torch.cat([part.flatten(0, 1) for part in layer])[:SUBSAMPLE], dim=1)
        cosines.append(((unit @ unit.T).sum() - len(unit)) / (len(unit) * (len(unit) - 1)))
    return losses, cosines, torch.linalg.svdvals(model.get_output_embeddings().weight)


def in_rows(sample: TokenSample) -> Iterator[Batch]:
    """The sample's tokens in batches of 8 full rows, as the usual script has them."""
    ids = torch.tensor([token for window in sample.windows for token in window])
    for rows in ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT).split(8):
        yield Batch(rows, None, torch.zeros(len(rows), dtype=torch.int64), None)


class Limit:
    """What no way of measuring can leave out."""

    def __init__(self, series: Path) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(series / "step0", dtype=torch.float32)
        self._architecture = architecture_of(self._model)
        self._logits = torch.empty(CHUNK, len(self._architecture.head_weight))

    def forward(self, batches: Iterable[Batch]) -> None:
        """Body and head once."""
        head = self._architecture.head_product()
        assert head is not None
        for batch in batches:
            hidden = self._architecture.last_hidden(batch.token_ids, batch.mask).flatten(0, 1)
            for rows in hidden.split(CHUNK):
                head.logits(rows, slice(None), self._logits[: len(rows)])

    def product(self) -> None:
        """W'W of the head."""
        head = self._architecture.head_weight
        head.T @ head


def memory(series: Path, tokens: int) -> list[str]:
    found = {}
    for variant in ("sweep", "usual", "limit"):
        command = [sys.executable, __file__, "peak", "--variant", variant, "--series", str(series)]
        result = subprocess.run([*command, "--tokens", str(tokens)], check=True, capture_output=True, text=True)
        found[variant] = float(result.stdout)
    return [
        f"peak above one model in float32: {', '.join(f'{name} {value:+.0f} MB' for name, value in found.items())}",
        f"usual script {found['usual'] / found['sweep']:.1f}x the sweep",
    ]


def peak(variant: str, series: Path, tokens: int) -> float:
    """The highest memory of this process in MB above what it has now, with the text read, and one model."""
    with swept(series, tokens) as (sweep, sample):
        with safe_open(series / "step0" / "model.safetensors", framework="pt") as file:
            model = 4 * sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
        steps: dict[str, Step] = {"sweep": sweep, "usual": lambda step: usual(series / f"step{step}", sample)}
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        if variant == "limit":
            limit = Limit(series)
            Path("/proc/self/clear_refs").write_text("5")  # how its model comes into memory is none of its business
            limit.forward(sample.batches(8, "cpu"))
            limit.product()
        for step in range(3) if variant in steps else ():
            steps[variant](step)
        return (_status("VmHWM") - before - model) / 1e6


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


def switches(series: Path, repeats: int) -> list[str]:
    folders = [series / "step0", series / "step1"]
    loader = CheckpointLoader(dtype=torch.float32)
    checkpoints = [locate(str(folder)) for folder in folders]
    loader.open(checkpoints[0])
    targets = {
        name.replace("lm_head", "embed_out"): parameter.detach().clone()
        for name, parameter in AutoModelForCausalLM.from_pretrained(folders[0], dtype=torch.float32).named_parameters()
    }
    turn = iter(range(1 << 30))

    def raw() -> None:
        with safe_open(folders[next(turn) % 2] / "model.safetensors", framework="pt") as file:
            for name, target in targets.items():
                target.copy_(file.get_tensor(name))

    found = interleaved(
        {
            "raw": raw,
            "open": lambda: loader.open(checkpoints[next(turn) % 2]),
            "from_pretrained": lambda: AutoModelForCausalLM.from_pretrained(
                folders[next(turn) % 2], dtype=torch.float32
            ),
        },
        repeats,
    )
    return [
        f"raw copy {found['raw']:.3f} s, next checkpoint {found['open']:.3f} s, from_pretrained "
        f"{found['from_pretrained']:.3f} s",
        f"next checkpoint {found['open'] / found['raw']:.2f}x a raw copy, "
        f"{found['from_pretrained'] / found['open']:.1f}x faster than from_pretrained",
    ]


if __name__ == "__main__":
    main()
