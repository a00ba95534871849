"""Probes while a model trains: a callback of transformers' Trainer that writes to a run."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lm_probe.model_adapters import UserError, architecture_of
from lm_probe.probes import ForwardProbe, Probe, Reading, VectorReading, find_probes
from lm_probe.sweeps._lock import exclusive
from lm_probe.sweeps._measure import measure_outcomes
from lm_probe.sweeps._records import CheckpointKey, Measurement
from lm_probe.sweeps._resources import conditions, measured
from lm_probe.sweeps._store import RunStore

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

    The token sample is the same at every step, and the numbers are those that a sweep over saved checkpoints would
    give for these weights and tokens. The model's mode and the random generators are left as they were, so training
    goes on as without it. With several processes the first one measures; weights that are sharded over processes
    (FSDP, ZeRO-3) are refused. Each measurement costs a forward pass over the sample, and an identity over all
    weights (about a second for 1 GB). What is wrong with the settings is raised before the first step; a measurement
    that fails later (a collapse to NaN, a run that a sweep holds) is logged and recorded, and training goes on.
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
            tokenizer: the model's tokenizer.
            context: longest window cut from `text`.
            out: a run's folder; every value of every layer is stored there. None stores nothing.
            name: what the model is called in the run.
            log: takes a dictionary of numbers, as `trainer.log` does; gets values without a layer and those of the
                last site, named `probe/metric`.
            batch_size: rows in a forward pass.

        Raises:
            UserError: a probe is unknown or has no text to read, or there is neither a run nor a log to write to.
        """
        chosen = [
            *find_probes([one for one in probes if isinstance(one, str)]),
            *(p for p in probes if not isinstance(p, str)),
        ]
        if every < 1:
            raise UserError(f"every={every} is no interval: give 1 or more steps, e.g. every=100")
        if out is None and log is None:
            raise UserError("ProbeCallback has nowhere to write: give out= a run's folder, log=trainer.log, or both")
        if any(isinstance(probe, ForwardProbe) for probe in chosen) and (token_ids is None) == (text is None):
            raise UserError("ProbeCallback needs either token_ids or text for its forward probes: give one of them")
        self._probes = chosen
        self._every = every
        self._input: dict[str, Any] = {
            "token_ids": token_ids,
            "text": text,
            "tokenizer": tokenizer,
            "context": context,
            "batch_size": batch_size,
        }
        self._out = None if out is None else Path(out)
        self._name = name
        self._log = log
        self._last: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures the weights that training starts from."""
        self._last = None
        self._measure(args, state, control, kwargs["model"])

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measures every `every` steps."""
        if state.global_step % self._every == 0 or state.global_step >= state.max_steps:
            self._go_on(args, state, control, kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures the last weights; not those that `load_best_model_at_end` has put in their place."""
        if not args.load_best_model_at_end:
            self._go_on(args, state, control, kwargs["model"])

    def _go_on(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: PreTrainedModel
    ) -> None:
        """A measurement that fails must not end a training: it is told, and recorded where it can be."""
        try:
            self._measure(args, state, control, model)
        except UserError as error:
            step = state.global_step
            _log.warning("ProbeCallback at step %d: %s", step, error)
            if self._out is not None:
                with suppress(UserError), exclusive(self._out), RunStore.create(self._out) as store:
                    store.record_failure(self._name, f"step{step}", step, "", str(error))

    def _measure(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: PreTrainedModel
    ) -> None:
        step = state.global_step
        if step == self._last or not state.is_world_process_zero:
            return
        self._last = step
        _refuse_sharded(model)
        with measured(str(model.device)) as cost:
            outcomes, sample = measure_outcomes(model, self._probes, **self._input)
        if self._out is not None:
            key = CheckpointKey(self._name, f"step{step}", step, _identity(model), f"training in {args.output_dir}")
            details = {} if sample is None else {"text": "given to ProbeCallback", **sample.details()}
            made = conditions(model, cost, seed=args.seed, details={**details, "batch_size": self._input["batch_size"]})
            asked = {"dtype": made.dtype, "sample": None if sample is None else sample.digest()}
            measurements = [
                Measurement(probe.name, {"version": probe.version, **asked}, readings, made)
                for probe, readings in outcomes.items()
            ]
            with exclusive(self._out), RunStore.create(self._out) as store:
                if step == 0:
                    self._refuse_another_training(store, key)
                store.record(key, measurements)
        if self._log is not None:
            due = control.should_log  # logging here would pass for the Trainer's own, whose loss would be lost
            self._log(_scalars(outcomes, architecture_of(model).sites[-1]))
            control.should_log = due

    def _refuse_another_training(self, store: RunStore, key: CheckpointKey) -> None:
        made = store.measurements()
        if len(made) and ((made.model == key.model) & (made.step == 0) & (made.identity != key.identity)).any():
            raise UserError(
                f"{self._out} already holds another training under the name {self._name}: give another name= or out="
            )


def _scalars(outcomes: dict[Probe, list[Reading | VectorReading]], last: tuple[int, str]) -> dict[str, float]:
    return {
        "/".join(part for part in (probe.name, reading.metric, reading.component) if part): reading.value
        for probe, readings in outcomes.items()
        for reading in readings
        if isinstance(reading, Reading) and (reading.layer is None or (reading.layer, reading.site) == tuple(last))
    }


def _identity(model: PreTrainedModel) -> str:
    """A sha256 over the names and bytes of all parameters: two steps with the same weights have the same."""
    sha = hashlib.sha256()
    for name, weight in model.named_parameters():
        sha.update(name.encode())
        sha.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return f"sha256:{sha.hexdigest()}"


def _refuse_sharded(model: PreTrainedModel) -> None:
    for name, weight in model.named_parameters():
        if weight.numel() == 0 or not weight.is_leaf or type(weight.data).__name__ == "DTensor":
            raise UserError(
                f"ProbeCallback cannot measure weights that are sharded over processes ({name}): save checkpoints and "
                f"sweep them instead"
            )
