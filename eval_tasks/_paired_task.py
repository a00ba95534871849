"""The lm-eval task that asks both arms of a document, so that their difference is paired."""

from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask


class PairedTask(ConfigurableTask):  # type: ignore[misc]  # lm-eval ships no types
    """A multiple-choice task with two prompts per document: first the full list's answers, then the control's.

    What `process_results` gives per document is a plain number under lm-eval's own `mean`: the standard error of a
    gap is then that of the paired difference, which two separate tasks could not give.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        # `class` brought lm-eval here; its own configuration does not know the key.
        super().__init__(config={key: value for key, value in config.items() if key != "class"})

    def construct_requests(self, doc: dict[str, Any], ctx: str, **kwargs: Any) -> list[Instance]:
        """The requests of both arms; `ctx` is the full prompt, perhaps inside a chat template or a system text.

        Raises:
            ValueError: the full prompt is not in `ctx` exactly once, so the control's cannot take its place.
        """
        if ctx.count(doc["full_prompt"]) != 1:
            raise ValueError(
                f"{self.config.task}: the chat template changes the text of the prompt, so the control cannot be "
                "asked in the same way; run the task without --apply_chat_template"
            )
        full: list[Instance] = super().construct_requests(doc, ctx, **kwargs)
        control = ctx.replace(doc["full_prompt"], doc["binary_prompt"])
        binary: list[Instance] = super().construct_requests(doc, control, **kwargs)
        for place, request in enumerate(binary, start=len(full)):
            request.idx = place  # lm-eval sorts a document's responses by it
        return full + binary
