"""The lm-eval task that asks both arms of a document, so that their difference is paired."""

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask

from lm_probe.eval_tasks._errors import TaskError
from lm_probe.eval_tasks._tokenizer import find_tokenizer

SHORT_ANSWER = 32  # tokens for an answer at once


class PairedTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval ships no types
    """A task with two prompts per document: first the full list's, then the control's.

    What `process_results` gives per document is a plain number under lm-eval's own `mean`: the standard error of a
    gap is then that of the paired difference, which two separate tasks could not give.

    A prompt that does not fit the model is refused here, with examples and chat template if there are any: lm-eval
    would cut its beginning off, which is part of the list.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        # `class` brought lm-eval here; its own configuration does not know the key.
        super().__init__(config={key: value for key, value in config.items() if key != "class"})
        self._at_hand = find_tokenizer(self.config.metadata or {})
        if self.OUTPUT_TYPE == "generate_until":
            # Here and not in the file, for it follows the list's length; `--gen_kwargs` comes later and wins.
            self.config.generation_kwargs.setdefault("max_gen_toks", self._budget())

    def _budget(self) -> int:
        """Tokens to answer with: a few at once, with reasoning four for each of the list."""
        if not self.config.dataset_kwargs["cell"].endswith("_cot"):
            return SHORT_ANSWER
        documents = self.dataset["test"]
        lengths: list[int] = [tokens or n for tokens, n in zip(documents["list_tokens"], documents["n"], strict=True)]
        return 4 * max(lengths) + SHORT_ANSWER

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> list[Instance]:
        """The requests of both arms; `ctx` is the full prompt, perhaps after examples or inside a chat template.

        Raises:
            TaskError: a prompt does not fit the model, or the full prompt is not in `ctx` exactly once, so the
                control's cannot take its place.
        """
        if ctx.count(doc["full_prompt"]) != 1:
            raise TaskError(
                f"{self.config.task}: the chat template changes the text of the prompt, so the control cannot be "
                "asked in the same way; run the task without --apply_chat_template"
            )
        control = ctx.replace(doc["full_prompt"], doc["binary_prompt"])
        requests: list[Instance] = []
        for text, answers in ((ctx, doc["choices"]), (control, doc["binary_choices"])):
            self._refuse_what_does_not_fit(text, answers)
            asked = super().construct_requests(doc | {"choices": answers}, text, **kwargs)
            requests += asked if isinstance(asked, list) else [asked]
        for place, request in enumerate(requests):
            request.idx = place  # lm-eval sorts a document's responses by it
            request.doc = doc
        return requests

    def _refuse_what_does_not_fit(self, text: str, answers: list[str]) -> None:
        if self._at_hand is None or self._at_hand.max_length is None:
            return
        generates = self.OUTPUT_TYPE == "generate_until"
        budget = self.config.generation_kwargs["max_gen_toks"] if generates else 0
        end = "" if generates else f" {max(answers, key=len)}"
        # No tokenizer makes more tokens than bytes, special ones aside: most prompts need no second look.
        if len((text + end).encode()) + budget + 8 <= self._at_hand.max_length:
            return
        needed = self._at_hand.length(text + end) + budget
        if not generates:
            # The answer of the most tokens may be another than the longest in letters; looked at only where it matters.
            if needed + max(len(answer.encode()) for answer in answers) + 1 > self._at_hand.max_length:
                needed = max(self._at_hand.length(f"{text} {answer}") for answer in answers)
            needed -= 1  # the last token of an answer is predicted and not read
        if needed > self._at_hand.max_length:
            answer = f"{budget} tokens of answer" if generates else "its answer"
            raise TaskError(
                f"{self.config.task}: a prompt with {answer} has {needed} tokens, the model's context holds "
                f"{self._at_hand.max_length}; leave the task out of --tasks, or take one with a smaller m"
            )

    def process_results(self, doc: dict[str, Any], results: list[Any]) -> dict[str, Any]:
        """The document's scores; of a generated answer it is told whether it reached the token budget."""
        if self.OUTPUT_TYPE == "generate_until":
            results = [(text, self._is_cut(text)) for text in results]
        scores: dict[str, Any] = super().process_results(doc, results)
        return scores

    def _is_cut(self, text: str) -> bool | None:
        if self._at_hand is None:
            return None
        return len(self._at_hand.encode(text)) >= int(self.config.generation_kwargs["max_gen_toks"])
