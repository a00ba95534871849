"""What one of our counting tasks asks of a model, from a few of its documents, and how much all of it is."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from lm_probe.eval_tasks import NUM_DOCS, task_names, tokenizer_at_hand
from lm_probe.sweeps._lm_eval_names import our_tasks
from lm_probe.sweeps._lm_eval_quiet import quiet, same_random_state

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_LOOKED_AT = 4


class TaskSize(NamedTuple):
    """How much a task asks of a model, both arms."""

    tokens: int
    """Of all rows that the model reads."""
    rows: int
    """A prompt is read once for all answers that differ in their last token alone: once where all have one token."""
    requests: int
    """Answers that are scored."""


def size_of_task(
    name: str, tokenizer: PreTrainedTokenizerBase, max_context: int | None, options: dict[str, Any]
) -> TaskSize | None:
    """What a task comes to, from its first documents; None of a task that generates or is not ours.

    Args:
        name: the task.
        tokenizer: the model's.
        max_context: the model's, if known.
        options: as `--metadata`, with `num_docs` where a number is asked for.

    Raises:
        TaskError: the task cannot be asked of this model.
    """
    if name not in task_names() or "_gen" in name:
        return None
    documents = int(options.get("num_docs", NUM_DOCS))
    looked_at = requests_of_task(name, tokenizer, max_context, options)
    rows = [row for requests in looked_at for row in _rows(requests, tokenizer)]
    some = sum(rows), len(rows), sum(map(len, looked_at))
    return TaskSize(*(round(number * documents / len(looked_at)) for number in some))


def requests_of_task(
    name: str, tokenizer: PreTrainedTokenizerBase, max_context: int | None, options: dict[str, Any]
) -> list[list["Instance"]]:
    """What one of our tasks asks of a model in its first few documents, each a list; arguments as above.

    Raises:
        TaskError: the task cannot be asked of this model: too few words, or a prompt that does not fit.
    """
    few = options | {"num_docs": min(int(options.get("num_docs", NUM_DOCS)), _LOOKED_AT)}
    with quiet(), same_random_state(), tokenizer_at_hand(tokenizer, max_context):
        task = our_tasks(few).load([name])["tasks"][name]
        return [task.construct_requests(document, task.doc_to_text(document)) for document in task.eval_docs]


def _rows(requests: list["Instance"], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    beginnings = defaultdict(set)
    for request in requests:
        prompt, answer = request.args
        beginnings[prompt].add(tuple(_tokens(tokenizer, answer)[:-1]))
    return [len(_tokens(tokenizer, prompt)) + len(one) for prompt, own in beginnings.items() for one in own]


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found
