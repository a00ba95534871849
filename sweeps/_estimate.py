"""How long measuring is going to take: as it took so far, else from operations and a timed matrix product."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch

from lm_probe.model_adapters import Weights, load_tokenizer, say_on_stderr
from lm_probe.probes import EmbeddingSpectrumProbe, ForwardProbe, HeadSpectrumProbe, Probe, WeightSpectraProbe
from lm_probe.sweeps._config import SweepConfig
from lm_probe.sweeps._flops import Shape, pass_flops, shape_of, spectrum_flops
from lm_probe.sweeps._given import default_context
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._measurement_rows import digest, failure_name
from lm_probe.sweeps._probe_step import ProbeStep
from lm_probe.sweeps._store import RunStore
from lm_probe.sweeps._task_tokens import TaskSize, size_of_task
from lm_probe.sweeps._units import Unit, needs_text

# What no operation counts, in seconds: lm-eval's and our own work on the CPU for a task, for an answer to score and for
# a prompt, and what a layer costs in a pass however few numbers it has. With them the nine tasks of
# `word_counting_small` at 200 documents (90,800 answers, 3,600 prompts) come to 15 s for the demo's model of width 16
# and to 19 s for that of 64; they took 16 s and 22 s of one core. Operations alone are 0.2 s and 3.9 s of them.
_TASK, _REQUEST, _PROMPT, _LAYER = 0.04, 1e-4, 1e-3, 1e-3
_SIDE = 1024
_TIMES = 5
_TRIES = 3
_IDENTITIES = ("tokenizer", "first", "reference")  # which of two checkpoints it is changes no time


class Estimate(NamedTuple):
    """Seconds of measuring, without loading and fetching."""

    recorded: float = 0.0
    """By what this run measured of other checkpoints of the model, asked the same on such a device."""
    calculated: float = 0.0
    """By operations, at the rate of a matrix product that was timed here, and by what requests and layers cost at
    least: less than it takes, because normalisations and what probes do with hidden states are not in it."""
    unknown: frozenset[str] = frozenset()
    """Names of what is in neither."""


class Estimator:
    """Estimates the checkpoints of a job; the first sound one of a source stands for the others."""

    def __init__(
        self, job: Job, store: RunStore | None, say: Callable[[str], None] = say_on_stderr, *, elsewhere: bool = False
    ) -> None:
        """Reads what the run's measurements took.

        Args:
            job: what is asked.
            store: the run, where there is one.
            say: takes notices.
            elsewhere: others than this machine are going to measure.
        """
        self._job = job
        # Not the job's own, which may be sent to other machines: no tokenizer or sample of this one goes with it.
        self._step = ProbeStep(job.config, (), job.step.text)
        self._step.say = say
        where = None if elsewhere or job.config.where == "auto" else job.config.where
        self._took = {} if store is None else _recorded(store, where)
        self._calculated: dict[tuple[str, frozenset[str]], float | None] = {}
        self._tried: Counter[tuple[str, frozenset[str]]] = Counter()
        self._rates: dict[tuple[torch.dtype, str], float] = {}

    def of(self, model: str, units: Sequence[Unit], open_it: Callable[[], Weights]) -> Estimate:
        """What the units take of one checkpoint.

        Args:
            model: its name.
            units: what it lacks.
            open_it: opens it for its headers, config and tokenizer.
        """
        took = {unit.name: seconds for unit in units if (seconds := self._took.get(_key(model, unit))) is not None}
        names = {unit.name for unit in units}
        # All forward probes share a pass and all tasks a call, of which each has recorded the whole.
        passes = names & {probe.name for probe in self._job.probes if isinstance(probe, ForwardProbe)}
        tasks = names & {*self._job.tasks}
        recorded, calculated, unknown = 0.0, 0.0, set[str]()
        for group in (passes, tasks, *({name} for name in sorted(names - passes - tasks))):
            known = group & {*took}
            recorded += max((took[name] for name in known), default=0.0)
            lacking = group - known
            if group is passes:
                parts = [lacking] if lacking and not known else []
            else:
                parts = [{name} for name in sorted(lacking)]
            for part in parts:
                seconds = self._calculate(model, frozenset(part), open_it)
                calculated += seconds or 0.0
                unknown |= part if seconds is None else set()
        return Estimate(recorded, calculated, frozenset(unknown))

    def _calculate(self, model: str, names: frozenset[str], open_it: Callable[[], Weights]) -> float | None:
        if (model, names) not in self._calculated:
            try:
                self._calculated[model, names] = self._seconds(open_it(), names)
            except Exception:  # of whatever kind: told at its own turn, and no estimate may end a sweep
                self._tried[model, names] += 1
                if self._tried[model, names] < _TRIES:  # the checkpoint may be at fault: the next one is asked
                    return None
                self._calculated[model, names] = None
        return self._calculated[model, names]

    def _seconds(self, weights: Weights, names: frozenset[str]) -> float | None:
        config, shape = self._job.config, shape_of(weights)
        context = config.context or default_context(weights.max_context)
        if names & {*self._job.tasks}:
            (task,) = names
            return self._seconds_of_task(task, weights, shape)
        probes = [probe for probe in self._job.probes if probe.name in names]
        probes += [probe for name, (probe, _) in self._job.controls.items() if name in names]
        tokens = self._step.tokens_of(weights) if any(map(needs_text, probes)) else 0
        if all(isinstance(probe, ForwardProbe) for probe in probes):
            logits = any(probe.needs & {"logits", "surprisals"} for probe in probes)
            computed = pass_flops(shape, tokens, context, logits=logits) / self._rate_of_passes(weights)
            return computed + tokens / context / config.batch_size * shape.layers * _LAYER
        flops = _weight_flops(shape, probes[0])
        return None if flops is None else flops / self._rate(torch.float32, "cpu")

    def _seconds_of_task(self, task: str, weights: Weights, shape: Shape) -> float | None:
        size = _task_size(self._job.config, task, weights)
        if size is None:
            return None
        a_prompt = _PROMPT + shape.layers * _LAYER / self._job.config.batch_size
        asking = _TASK + size.requests * _REQUEST + size.rows * a_prompt
        return asking + pass_flops(shape, size.tokens, 0, logits=False) / self._rate_of_passes(weights)

    def _rate_of_passes(self, weights: Weights) -> float:
        return self._rate(self._job.config.torch_dtype or weights.model_dtype(), self._job.config.where)

    def _rate(self, dtype: torch.dtype, device: str) -> float:
        """Operations a second of a matrix product."""
        where = "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
        if (dtype, where) not in self._rates:
            one = torch.ones(_SIDE, _SIDE, dtype=dtype, device=where)
            seconds = []
            for _ in range(_TIMES):
                begun = time.perf_counter()
                (one @ one)[0, 0].item()  # waits for a GPU
                seconds.append(time.perf_counter() - begun)
            self._rates[dtype, where] = 2 * _SIDE**3 / median(seconds)
        return self._rates[dtype, where]


def _weight_flops(shape: Shape, probe: Probe) -> float | None:
    if isinstance(probe, HeadSpectrumProbe):
        return spectrum_flops(*shape.head)
    if isinstance(probe, EmbeddingSpectrumProbe):
        return spectrum_flops(*shape.embedding)
    if isinstance(probe, WeightSpectraProbe):
        return sum(spectrum_flops(*matrix) for matrix in shape.projections)
    return None


def _task_size(config: SweepConfig, name: str, weights: Weights) -> TaskSize | None:
    tokenizer = load_tokenizer(weights.folder)
    return None if tokenizer is None else size_of_task(name, tokenizer, weights.max_context, config.task_options())


def _key(model: str, unit: Unit) -> tuple[str, str, str]:
    return model, failure_name(unit.probe, unit.config), _asked(unit.config)


def _asked(config: dict[str, Any]) -> str:
    return digest({name: value for name, value in config.items() if name not in _IDENTITIES})


def _recorded(store: RunStore, device: str | None) -> dict[tuple[str, str, str], float]:
    """The median seconds of what was measured, not copied, on such a device or on the CPU, where weights are read.

    None stands for any device, where it is not known on which there will be room.
    """
    took: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    kinds = device and {"cpu", device.partition(":")[0]}
    for row in store.measurements().to_dict("records"):
        if (kinds is None or row["device"].partition(":")[0] in kinds) and "copied_from" not in row["details"]:
            name, asked = failure_name(row["probe"], row["config"]), _asked(row["config"])
            took[row["model"], name, asked].append(row["seconds"])
    return {key: median(seconds) for key, seconds in took.items()}
