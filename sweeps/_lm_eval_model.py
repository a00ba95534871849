"""lm-eval's Hugging Face model for a model that is already in memory, without its silent mistakes."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lm_eval.models.huggingface import HFLM

from lm_probe.model_adapters import UserError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Encoded = tuple[tuple[str, str], list[int], list[int]]  # ((prompt, answer), prompt's tokens, answer's tokens)


class CheckedModel(HFLM):  # type: ignore[misc]  # lm-eval ships no types
    """Refuses what lm-eval would score anyway, and says which checkpoint it is.

    - A prompt that does not fit the context would lose its beginning (with counting tasks: part of the list).
    - A NaN among log-likelihoods would quietly choose an answer.
    - The result file of a model passed in memory would say revision "main", and ask the Hub for its commit.
    """

    def __init__(self, *args: Any, checkpoint: Mapping[str, Any], **kwargs: Any) -> None:
        # lm-eval encodes the prompt again for each of its answers; two entries hold the prompt and the current answer.
        self._encode = functools.lru_cache(maxsize=2)(super().tok_encode)
        super().__init__(*args, **kwargs)
        self._checkpoint = checkpoint
        self._asking: list[str] = []

    def tok_encode(self, string: str, *args: Any, **kwargs: Any) -> list[int]:
        """The string's tokens, remembered while the same prompt comes back."""
        return list(self._encode(string, *args, **kwargs))

    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Score the requests, or refuse the first one that cannot be scored, by its task's name."""
        # lm-eval encodes all requests, in order, and hands them to `_loglikelihood_tokens` without their tasks.
        self._asking = [str(request.task_name) for request in requests]
        try:
            scored: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        finally:
            names, self._asking = self._asking, []
        for name, (likelihood, _) in zip(names, scored, strict=True):
            if likelihood != likelihood:
                raise UserError(
                    f"{name}: the model gives NaN as a log-likelihood, so the task has no score; "
                    "load it with --dtype float32, and if that does not help look at the checkpoint"
                )
        return scored

    def _loglikelihood_tokens(self, requests: list[Encoded], *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        if self._asking:  # empty for rolling log-likelihoods, which are cut into windows that fit
            for name, (_, prompt, answer) in zip(self._asking, requests, strict=True):
                needed = len(prompt) + len(answer) - 1  # the answer's last token is only predicted
                if needed > self.max_length:
                    raise UserError(
                        f"{name}: a prompt with its answer has {needed} tokens, the model's context holds "
                        f"{self.max_length}; leave the task out of --tasks, or take one with a smaller m"
                    )
        result: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, *args, **kwargs)
        return result

    def get_model_info(self) -> dict[str, Any]:
        """What the result file says about the model, from the checkpoint and not from the Hub."""
        return {
            "model_num_parameters": self.model.num_parameters(),
            "model_dtype": str(self.model.dtype),
            "model_revision": self._checkpoint.get("revision"),
            "model_sha": self._checkpoint.get("sha", ""),
        }
