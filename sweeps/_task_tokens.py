"""How many tokens the rows of one of our counting tasks hold, from a few of its documents."""

from collections import defaultdict
from typing import Any

from transformers import PreTrainedTokenizerBase

from lm_probe.eval_tasks import NUM_DOCS, task_manager, task_names, tokenizer_at_hand
from lm_probe.sweeps._lm_eval_quiet import quiet, same_random_state

_LOOKED_AT = 4


def tokens_of_task(
    name: str, tokenizer: PreTrainedTokenizerBase, max_context: int | None, options: dict[str, Any]
) -> int | None:
    """Tokens of all rows that a model reads for a task, both arms; None of a task that generates or is not ours.

    lm-eval reads a prompt once for all answers that differ in their last token alone: once where all have one token.

    Args:
        name: the task.
        tokenizer: the model's.
        max_context: the model's, if known.
        options: as `--metadata`, with `num_docs` where a number is asked for.

    Raises:
        TaskError: the task cannot be asked of this model.
    """
    if name not in task_names() or name.endswith("_gen"):
        return None
    documents = int(options.get("num_docs", NUM_DOCS))
    few = options | {"num_docs": min(documents, _LOOKED_AT)}
    with quiet(), same_random_state(), tokenizer_at_hand(tokenizer, max_context):
        task = task_manager(few).load([name])["tasks"][name]
        looked_at = list(task.eval_docs)
        rows = [row for document in looked_at for row in _rows(task, document, tokenizer)]
    return round(sum(rows) * documents / len(looked_at))


def _rows(task: Any, document: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    beginnings = defaultdict(set)
    for request in task.construct_requests(document, task.doc_to_text(document)):
        prompt, answer = request.args
        beginnings[prompt].add(tuple(_tokens(tokenizer, answer)[:-1]))
    return [len(_tokens(tokenizer, prompt)) + len(one) for prompt, own in beginnings.items() for one in own]


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return found
