"""Probes while a model trains: a callback of transformers' Trainer that writes to a run."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lm_probe.model_adapters import Architecture, Site, UserError, architecture_of, device_of
from lm_probe.probes import ForwardProbe, Need, Probe, Reading
from lm_probe.sweeps._first_weights import FirstWeights
from lm_probe.sweeps._given import check_fit, chosen_probes, given_sample, weight_context
from lm_probe.sweeps._lock import exclusive
from lm_probe.sweeps._measure import Outcome, read_probes
from lm_probe.sweeps._memory import Batched, Passes, ran_out, with_smaller_batches
from lm_probe.sweeps._ranks import first_alone, sharded_over
from lm_probe.sweeps._records import CheckpointKey, Conditions, Measurement
from lm_probe.sweeps._resources import conditions, measured
from lm_probe.sweeps._store import RunStore
from lm_probe.sweeps._tokens import TokenSample
from lm_probe.sweeps._training import began_with, identity_of

_log = logging.getLogger(__name__)

Log = Callable[[dict[str, float]], None]


class ProbeCallback(TrainerCallback):
    """Measures the model at the start, every `every` steps and at the end of training.

    ```python
    trainer = Trainer(model=model, args=args, train_dataset=data)
    trainer.add_callback(
        ProbeCallback(["loss", "anisotropy"], every=50, token_ids=held_out, out="runs/training", log=trainer.log)
    )
    trainer.train()  # meanwhile, elsewhere: lm-probe report runs/training
    ```

    The token sample is the same at every step, and the numbers are those that a sweep over saved checkpoints would give
    for these weights and tokens: weights are compared with those of step 0, which are kept in memory and, with `out`,
    in the run for a training that is resumed. The model's mode and the random generators are left as they were, so
    training goes on as without it. Adapters of peft (LoRA and others) are measured as part of the layers they are on.
    With several processes (DDP) the first one measures and writes (its `out` alone counts), while the others wait at
    their next exchange of gradients: a measurement must be shorter than `ddp_timeout`. Weights that are sharded over
    processes (FSDP, ZeRO-3, tensor parallelism) are refused.

    A name in a run is one training. Another is refused, and so is one that begins again at step 0 where the run holds
    later steps. One that is resumed from a checkpoint goes on there: what the run holds of steps after it is set aside
    with a warning, because training may take another course from there on, and shown again as far as the same weights
    are measured again (`RunStore.values(all_settings=True)` gives the rest). What is wrong with the settings is raised
    before the first step. From then on nothing here ends a training: each probe
    that fails (a collapse to NaN, no memory), or a run that cannot be written, is logged as a warning and, where it
    can be, recorded in the run; the other probes' values are kept. Where memory runs out smaller batches are tried.
    Each measurement costs a forward pass over the sample, and an identity over all weights (about a second for 1 GB).
    """

    def __init__(
        self,
        probes: Sequence[str | Probe],
        *,
        every: int,
        token_ids: Int[Tensor, "b t"] | None = None,
        text: str | Sequence[str] | None = None,
        tokenizer: Any = None,
        context: int | None = None,
        out: str | Path | None = None,
        name: str = "training",
        log: Log | None = None,
        batch_size: int = 8,
    ) -> None:
        """Settings.

        Args:
            probes: names or probes, as for `measure`.
            every: steps between two measurements.
            token_ids: rows of tokens; or
            text: one document or several, with `tokenizer` and `context` as for `measure`.
            tokenizer: the model's tokenizer, for `text`, and to tell the rows of head and embedding that stand for
                tokens (`token_rows`) from padding.
            context: longest window cut from `text`.
            out: a run's folder; every value of every layer is stored there. None stores nothing.
            name: what the model is called in the run.
            log: takes a dictionary of numbers, as `trainer.log` does; gets values without a layer and those of the
                last site, or of the last block for weights, named `probe/metric` or `probe/metric/component`
                (`head_spectrum` alone has some 50). A function of yours may choose:
                `lambda found: trainer.log({k: found[k] for k in wanted if k in found})`.
            batch_size: rows in a forward pass at most; on a CPU long ones go by fewer, which is quicker.

        Raises:
            UserError: a probe is unknown or has no text to read, or there is neither a run nor a log to write to.
        """
        self._probes = chosen_probes(probes, batch_size, context)
        if not isinstance(every, int) or every < 1:
            raise UserError(f"every={every} is no interval: give a whole number of steps, 1 or more, e.g. every=100")
        if out is None and log is None:
            raise UserError("ProbeCallback has nowhere to write: give out= a run's folder, log=trainer.log, or both")
        if not self._probes:
            raise UserError('ProbeCallback has nothing to measure: name a probe, e.g. ["loss", "anisotropy"]')
        reads = any(isinstance(probe, ForwardProbe) for probe in self._probes)
        if (reads or text is not None) and (token_ids is None) == (text is None):
            raise UserError("ProbeCallback needs either token_ids or text for its forward probes: give one of them")
        self._every = every
        self._token_ids, self._text, self._context = token_ids, text, context
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._out = None if out is None else Path(out)
        self._name = name
        self._log = log
        self._sample: TokenSample | None = None
        self._began_with = ""
        self._first: FirstWeights | None = None
        self._last: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Looks whether all can be measured as asked, and measures the weights that training starts from."""
        self._last = None
        prepare = partial(self._prepare, state, kwargs["model"])
        timeout = timedelta(seconds=args.ddp_timeout)
        first_alone(prepare, first=state.is_world_process_zero, name=self._name, timeout=timeout)
        self._measure(args, state, control, kwargs["model"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measures every `every` steps."""
        if state.global_step % self._every == 0 or state.global_step >= state.max_steps:
            self._measure(args, state, control, kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures the last weights; not those that `load_best_model_at_end` has put in their place."""
        if not args.load_best_model_at_end:
            self._measure(args, state, control, kwargs["model"])

    def _prepare(self, state: TrainerState, model: nn.Module) -> None:
        if (part := sharded_over(model)) is not None:
            raise UserError(
                f"ProbeCallback cannot measure weights that are sharded over processes ({part}): save checkpoints and "
                f"sweep them instead"
            )
        architecture = architecture_of(model)
        given = self._token_ids, self._text, self._tokenizer, self._context
        self._sample = given_sample(architecture, self._probes, *given)
        if self._sample is not None and any(isinstance(probe, ForwardProbe) for probe in self._probes):
            check_fit(architecture, self._sample)
        with self._store() as store:
            self._began_with = began_with(state, identity_of(model), self._name, store)
        self._first = self._first_weights(architecture, at_first=state.global_step == 0)

    def _first_weights(self, architecture: Architecture, *, at_first: bool) -> FirstWeights | None:
        needs: set[Need] = {need for probe in self._probes if "first" in probe.needs for need in probe.needs}
        if not needs:
            return None
        kept = self._out and self._out / "first_weights" / f"{self._began_with.removeprefix('sha256:')}.safetensors"
        if not at_first:
            return FirstWeights.loaded(architecture, needs, kept) if kept else None
        first = FirstWeights.copied(architecture, needs)
        if kept:
            first.save(kept)
        return first

    def _measure(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: nn.Module) -> None:
        step = state.global_step
        if step == self._last or not state.is_world_process_zero:
            return
        self._last = step
        architecture = architecture_of(model)
        with measured(str(device_of(architecture.model))) as cost:
            outcomes, batch = self._outcomes(architecture)
        for outcome in outcomes.values():
            if outcome.error:
                _log.warning("ProbeCallback at step %d: %s", step, outcome.error)
        details: dict[str, Any] = {**(batch.details() if batch else {}), "began_with": self._began_with}
        if self._sample is not None:
            given = "text" if self._token_ids is None else "token ids"
            details |= {"text": f"the {given} given to ProbeCallback", **self._sample.details()}
        made = conditions(architecture.model, cost, seed=args.seed, details=details)
        with _told(step, "stored"):
            self._record(step, model, f"training in {args.output_dir}", outcomes, made)
        scalars = _scalars(outcomes, architecture.sites[-1])
        if self._log is not None and scalars:
            due = control.should_log  # logging here would pass for the Trainer's own, whose loss would be lost
            with _told(step, "logged"):
                self._log(scalars)
            control.should_log = due

    def _outcomes(self, architecture: Architecture) -> tuple[dict[Probe, Outcome], Batched | None]:
        """What runs together fails together: forward probes in their pass, each weight probe by itself."""
        beside = weight_context(self._tokenizer, self._sample, self._first)
        forward: list[Probe] = [probe for probe in self._probes if isinstance(probe, ForwardProbe)]
        groups = [forward, *([probe] for probe in self._probes if probe not in forward)]
        found: dict[Probe, Outcome] = {}
        batch: Batched | None = None
        for group in filter(None, groups):
            read = partial(read_probes, architecture, group, self._sample, beside)
            try:
                if group is forward:
                    outcomes, batch = with_smaller_batches(read, self._batch_size, _log.warning)
                else:
                    outcomes = read(Passes(self._batch_size))
            except Exception as error:
                outcomes = {probe: Outcome([], f"{probe.name}: {_line(error)}") for probe in group}
            found |= outcomes
        return {probe: found[probe] for probe in self._probes}, batch

    def _record(
        self, step: int, model: nn.Module, source: str, outcomes: Mapping[Probe, Outcome], made: Conditions
    ) -> None:
        with self._store() as store:
            if store is None:
                return
            key = CheckpointKey(self._name, f"step{step}", step, identity_of(model), source)
            asked = {"dtype": made.dtype, "sample": None if self._sample is None else self._sample.digest()}
            measurements = [
                Measurement(probe.name, {"version": probe.version, **asked}, outcome.readings, made)
                for probe, outcome in outcomes.items()
                if outcome.error is None
            ]
            if measurements:
                store.record(key, measurements)
            for probe, outcome in outcomes.items():
                if outcome.error is not None:
                    store.record_failure(key.model, key.revision, step, probe.name, outcome.error)

    @contextmanager
    def _store(self) -> Iterator[RunStore | None]:
        """The run, held for this process; None where only a log is written to."""
        if self._out is None:
            yield None
            return
        with exclusive(self._out), RunStore.create(self._out) as store:
            yield store


@contextmanager
def _told(step: int, what: str) -> Iterator[None]:
    """Whatever goes wrong with what was measured, the training is worth more."""
    try:
        yield
    except Exception as error:
        _log.warning("ProbeCallback at step %d: what was measured is not %s: %s", step, what, _line(error))


def _scalars(outcomes: Mapping[Probe, Outcome], last: Site) -> dict[str, float]:
    """What has no layer, and what is of the last one: for weights that is the last block, behind which is no site."""
    return {
        "/".join(part for part in (probe.name, reading.metric, reading.component) if part): reading.value
        for probe, outcome in outcomes.items()
        for reading in outcome.readings
        if isinstance(reading, Reading)
        and (
            reading.layer is None
            or (reading.layer == last.layer and (reading.site == last.site or not isinstance(probe, ForwardProbe)))
        )
    }


def _line(error: Exception) -> str:
    """What went wrong, for a person at a training: sweeps have other advice on memory."""
    if ran_out(error):
        said = " ".join(str(error.__cause__ or error).split())[:160]
        return f"memory ran out ({said}): give ProbeCallback fewer or shorter rows of tokens"
    said = " ".join(str(error).split())
    return said if isinstance(error, UserError) else f"{type(error).__name__}: {said}"
