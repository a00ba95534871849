"""lm-eval's model type `hf-probe`: lm-eval's own for Hugging Face models, faster, stricter, and with probes."""

import functools
import itertools
import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM
from lm_eval.utils import warning_once
from torch import Tensor
from transformers import PreTrainedModel

from lm_probe.model_adapters import (
    UserError,
    adapter_identity,
    architecture_of,
    device_of,
    is_local,
    locate,
    say_on_stderr,
    step_of,
)
from lm_probe.probes import Probe, Reading
from lm_probe.sweeps._lm_eval_probes import TaskProbes, hidden_state_probes
from lm_probe.sweeps._lm_eval_rows import Row, RowsOfBatches, head_at_last, last_positions
from lm_probe.sweeps._lm_eval_tokens import PairEncoder, cuts_between_words
from lm_probe.sweeps._measure import Outcome
from lm_probe.sweeps._records import Value

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

__all__ = ["HFProbe"]

_log = logging.getLogger(__name__)

Encoded = tuple[Any, list[int], list[int]]  # ((prompt, answer), prompt's tokens, answer's tokens)


class HFProbe(HFLM):  # type: ignore[misc]  # lm-eval ships no types
    """lm-eval's `hf` with the same numbers, in float32 on a CPU to the last bit.

    - The head is computed only at the positions that are scored, and a prompt is encoded once, not once per answer.
    - `probes=anisotropy+geometry` measures hidden states in the passes that log-likelihood tasks make anyway.
    - A prompt that does not fit the context is refused; `hf` would cut off its beginning.
    - A NaN among log-likelihoods is refused; `hf` would let it choose an answer.
    - The result file names the revision and the identity of what was loaded, also for local folders and adapters.

    Probes see every token that a row of a log-likelihood batch reads, pads left out: a prompt once for all its answers
    of one token, and again for each longer answer. Standard errors are over documents (windows, in rolling tasks).
    What `generate_until` runs is not seen. How often each token occurs is not known before the passes, so `geometry`
    has neither strata of frequency (`mean_cosine_q1` to `q4`) nor self-similarity here. An adapter (`peft=`) takes
    part in the passes, and so in what is measured.
    """

    def __init__(
        self,
        pretrained: str | PreTrainedModel,
        *,
        revision: str | None = None,
        subfolder: str = "",
        probes: str | Sequence[str | Probe] = (),
        checkpoint: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Loads a model, or takes one that is in memory.

        Args:
            pretrained: Hub repository, local folder or model.
            revision: Hub revision, or the sub-folder of a local series.
            subfolder: Sub-folder of the repository.
            probes: Names joined by `+`, or a list of names or probes.
            checkpoint: For a model in memory, its `pretrained` (name), `revision` and `sha`.
            **kwargs: Whatever `hf` takes.

        Raises:
            UserError: there is no such checkpoint, or a probe cannot be used here.
        """
        chosen = hidden_state_probes(probes)
        added = {}
        if isinstance(pretrained, str):
            name, inside = pretrained, None if revision == "main" else revision
            if is_local(pretrained):
                # transformers ignores a local folder's revision, and would load another checkpoint than was asked for.
                found = locate(pretrained, "/".join(filter(None, (inside, subfolder))) or None)
                pretrained, revision, subfolder = str(found.folder), None, ""
            else:
                found = locate(pretrained, inside)
            checkpoint = {"pretrained": name, "revision": found.revision, "sha": found.identity}
            if kwargs.get("peft"):
                added["peft_sha"] = adapter_identity(kwargs["peft"], revision)
            if kwargs.get("delta"):
                added["delta_sha"] = locate(kwargs["delta"], revision).identity
        # lm-eval encodes the prompt again for each of its answers; two entries hold the prompt and the current answer.
        self._encode = functools.lru_cache(maxsize=2)(super().tok_encode)
        super().__init__(pretrained, revision=revision or "main", subfolder=subfolder, **kwargs)
        if self.device.type == "meta":  # as transformers says of a model whose embedding accelerate fetches
            self._device = device_of(self.model)
        exact = self.backend == "causal" and cuts_between_words(self.tokenizer)
        self._pairs = PairEncoder(super().tok_encode) if exact else None
        self._checkpoint = checkpoint or {}
        self._added = added
        self._probes = TaskProbes(chosen, architecture_of(self.model)) if chosen else None
        self._asking: list[Instance] = []
        self._rows: RowsOfBatches | None = None
        self._numbers = itertools.count()

    @property
    def probe_values(self) -> list[Value]:
        """What the probes found in all that this object has run so far; `probe_errors` says which found nothing."""
        name = str(self._checkpoint.get("pretrained") or self.model.config.name_or_path or "in memory")
        revision = self._checkpoint.get("revision")
        return [
            Value(name, revision, step_of(revision or name), row.pop("probe"), **row) for row in _rows(self._outcomes())
        ]

    @property
    def probe_errors(self) -> dict[str, str]:
        """By its name, why a probe has no values: a number is not finite, or too little was seen for one."""
        return _errors(self._outcomes())

    def _outcomes(self) -> dict[str, Outcome]:
        return self._probes.outcomes() if self._probes else {}

    def get_model_info(self) -> dict[str, Any]:
        """What the result file's `config` says about the model; lm-eval asks once, after the last task.

        `lm_probe` are the probes' numbers, one row each, and `lm_probe_errors` says why a probe has none: that is told
        on stderr too, and costs no score. `peft_sha` and `delta_sha` are the identity of what is added to the model.
        """
        info: dict[str, Any] = {
            "model_num_parameters": self.model.num_parameters(),
            "model_dtype": str(self.model.dtype),
            "model_revision": self._checkpoint.get("revision"),
            "model_sha": self._checkpoint.get("sha", ""),
        }
        if self._probes:
            outcomes = self._outcomes()
            info["lm_probe"] = _rows(outcomes)
            if errors := _errors(outcomes):
                info["lm_probe_errors"] = errors
            for line in errors.values():
                say_on_stderr(f"{line}; the tasks' scores are complete")
            if not outcomes:
                say_on_stderr(
                    "probes= has measured nothing: no task asked for log-likelihoods, and what is generated is not "
                    "seen; add one that does to --tasks"
                )
        return info | self._added

    def tok_encode(self, string: str, *args: Any, **kwargs: Any) -> list[int]:
        """The string's tokens, remembered while the same prompt comes back."""
        return list(self._encode(string, *args, **kwargs))

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        prompt = context.rstrip()  # lm-eval gives the spaces at its end to the answer
        found = self._pairs.encode(prompt, context[len(prompt) :] + continuation) if self._pairs else None
        pair: tuple[list[int], list[int]] = found or super()._encode_pair(context, continuation)
        return pair

    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Scores the requests, or refuses the first one that cannot be scored, by its task's name."""
        self._refuse_no_start()
        # lm-eval encodes all requests, in order, and hands them to `_loglikelihood_tokens` without their tasks.
        self._asking = requests
        try:
            scored: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        finally:
            self._asking = []
        _refuse_nan(requests, [likelihood for likelihood, _ in scored])
        return scored

    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """Scores whole texts, or refuses the first one whose score is no number, by its task's name."""
        self._refuse_no_start()
        scored: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        _refuse_nan(requests, scored)
        return scored

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """Generates answers, or refuses a tokenizer that has no end for them."""
        if self.eot_token_id is None:
            raise UserError(f"the tokenizer has no EOS token, which ends what is generated: {_SET_EOS}")
        generated: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return generated

    def _refuse_no_start(self) -> None:
        if self.prefix_token_id is None:
            raise UserError(
                f"the tokenizer has neither a BOS nor an EOS token, one of which lm-eval puts before a text: {_SET_EOS}"
            )

    def _loglikelihood_tokens(self, requests: list[Encoded], *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        if self.backend != "causal":
            return super()._loglikelihood_tokens(requests, *args, **kwargs)  # type: ignore[no-any-return]
        documents = self._documents() if self._asking else self._numbers
        rows = [Row(document, *tokens) for (_, *tokens), document in zip(requests, documents, strict=False)]
        for request, row in zip(self._asking, rows, strict=False):  # rolling windows fit, and are cut without a task
            if row.length > self.max_length:
                raise UserError(
                    f"{request.task_name}: a prompt with its answer has {row.length} tokens, the model's context holds "
                    f"{self.max_length}; leave the task out of --tasks, or take one with a smaller m"
                )
        self._rows = RowsOfBatches(rows, answers_share_rows=self.logits_cache)
        try:
            result: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, *args, **kwargs)
        finally:
            self._rows = None
        return result

    def _documents(self) -> list[int]:
        """For each request the number of its document, on from the documents that were numbered before."""
        names = [(request.task_name, request.doc_id) for request in self._asking]
        numbers = dict(zip(dict.fromkeys(names), self._numbers, strict=False))
        return [numbers[name] for name in names]

    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        if self._rows is None:
            return super()._model_call(inps, attn_mask, labels)  # type: ignore[no-any-return]
        rows = self._rows.take(inps)
        positions = last_positions(rows, inps.shape[1])
        with head_at_last(self.model, positions), self._probes.watching(inps, rows) if self._probes else nullcontext():
            logits: Tensor = super()._model_call(inps)
        if logits.shape[1] > positions:
            warning_once(_log, f"{type(self.model).__name__} has no head that could be left out: as slow as --model hf")
        return logits

    def _detect_batch_size(self, *args: Any, **kwargs: Any) -> int:
        # It makes trial passes in the middle of a task, which are neither scored nor measured.
        rows, self._rows = self._rows, None
        try:
            size: int = super()._detect_batch_size(*args, **kwargs)
        finally:
            self._rows = rows
        return size


_SET_EOS = "set eos_token in its tokenizer_config.json, or leave the task out of --tasks"


def _rows(outcomes: Mapping[str, Outcome]) -> list[dict[str, Any]]:
    return [
        {"probe": name, **reading._asdict()}
        for name, outcome in outcomes.items()
        for reading in outcome.readings
        if isinstance(reading, Reading)
    ]


def _errors(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {name: outcome.error for name, outcome in outcomes.items() if outcome.error}


def _refuse_nan(requests: "Sequence[Instance]", likelihoods: Sequence[float]) -> None:
    for request, likelihood in zip(requests, likelihoods, strict=True):
        if likelihood != likelihood:
            raise UserError(
                f"{request.task_name}: the model gives NaN as a log-likelihood, so the task has no score; "
                "load it in float32, and if that does not help look at the checkpoint"
            )
