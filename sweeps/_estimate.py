"""How long measuring is going to take: as it took so far, else from operations and a timed matrix product."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch

from lm_probe.eval_tasks import task_manager, task_names, tokenizer_at_hand
from lm_probe.model_adapters import Weights, load_tokenizer
from lm_probe.probes import EmbeddingSpectrumProbe, ForwardProbe, HeadSpectrumProbe, Probe, WeightSpectraProbe
from lm_probe.sweeps._config import DTYPES
from lm_probe.sweeps._flops import Shape, pass_flops, shape_of, spectrum_flops
from lm_probe.sweeps._given import default_context
from lm_probe.sweeps._job import Job
from lm_probe.sweeps._store import RunStore, digest, failure_name
from lm_probe.sweeps._units import Unit

_SIDE = 1024
_TIMES = 5
_IDENTITIES = ("tokenizer", "first", "reference")  # which of two checkpoints it is changes no time


class Estimate(NamedTuple):
    """Seconds of measuring, without loading and fetching."""

    recorded: float = 0.0
    """By what this run measured of other checkpoints of the model, asked the same on such a device."""
    calculated: float = 0.0
    """By operations, at the rate of a matrix product that was timed here."""
    unknown: frozenset[str] = frozenset()
    """Names of what is in neither."""


class Estimator:
    """Estimates the checkpoints of a job; the first of a source stands for the others."""

    def __init__(self, job: Job, store: RunStore | None) -> None:
        """Reads what the run's measurements took."""
        self._job = job
        self._took = {} if store is None else _recorded(store, job.config.where)
        self._calculated: dict[tuple[str, frozenset[str]], float | None] = {}
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
            lacking = set() if known and group is passes else group - known
            if lacking:
                seconds = self._calculate(model, frozenset(lacking), open_it)
                calculated += seconds or 0.0
                unknown |= lacking if seconds is None else set()
        return Estimate(recorded, calculated, frozenset(unknown))

    def _calculate(self, model: str, names: frozenset[str], open_it: Callable[[], Weights]) -> float | None:
        if (model, names) not in self._calculated:
            try:
                self._calculated[model, names] = self._seconds(open_it(), names)
            except Exception:  # of whatever kind: told at its own turn, and no estimate may end a sweep
                self._calculated[model, names] = None
        return self._calculated[model, names]

    def _seconds(self, weights: Weights, names: frozenset[str]) -> float | None:
        config, shape = self._job.config, shape_of(weights)
        context = config.context or default_context(weights.max_context)
        rate = self._rate(DTYPES[config.dtype] or torch.float32, config.where)
        if names & {*self._job.tasks}:
            tokens = _prompt_tokens(self._job, names, weights)
            return None if tokens is None else pass_flops(shape, tokens, 0, logits=False) / rate
        probes = [probe for probe in self._job.probes if probe.name in names]
        probes += [probe for name, (probe, _) in self._job.controls.items() if name in names]
        if all(isinstance(probe, ForwardProbe) for probe in probes):
            logits = any("logits" in probe.needs for probe in probes)
            return pass_flops(shape, config.tokens, context, logits=logits) / rate
        flops = _weight_flops(shape, probes[0])
        return None if flops is None else flops / self._rate(torch.float32, "cpu")

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


def _prompt_tokens(job: Job, names: Collection[str], weights: Weights) -> int | None:
    """Tokens of all prompts, each read once, as where the answers are single tokens; None of tasks that are not so."""
    if not {*names} <= {name for name in task_names() if not name.endswith("_gen")}:
        return None
    from lm_probe.sweeps._lm_eval_quiet import quiet, same_random_state

    config, tokenizer = job.config, load_tokenizer(weights.folder)
    if tokenizer is None:
        return None
    asked: dict[str, Any] = {**config.metadata, "seed": config.seed}
    if config.task_documents is not None:
        asked["num_docs"] = config.task_documents
    try:
        with quiet(), same_random_state(), tokenizer_at_hand(tokenizer, weights.max_context):
            tasks = task_manager(asked).load(sorted(names))["tasks"]
            prompts = [task.doc_to_text(document) for task in tasks.values() for document in task.eval_docs]
    except Exception:  # whatever is wrong with a task is told where it is asked
        return None
    return sum(map(len, tokenizer(prompts)["input_ids"]))


def _key(model: str, unit: Unit) -> tuple[str, str, str]:
    return model, failure_name(unit.probe, unit.config), _asked(unit.config)


def _asked(config: dict[str, Any]) -> str:
    return digest({name: value for name, value in config.items() if name not in _IDENTITIES})


def _recorded(store: RunStore, device: str) -> dict[tuple[str, str, str], float]:
    """The median seconds of what was measured, not copied, here or on the CPU, where weights are read."""
    took: defaultdict[tuple[str, str, str], list[float]] = defaultdict(list)
    kinds = {"cpu", device.partition(":")[0]}
    for row in store.measurements().to_dict("records"):
        if row["device"].partition(":")[0] in kinds and "copied_from" not in row["details"]:
            name, asked = failure_name(row["probe"], row["config"]), _asked(row["config"])
            took[row["model"], name, asked].append(row["seconds"])
    return {key: median(seconds) for key, seconds in took.items()}
