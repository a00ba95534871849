"""Values that come with a counting task's scores: errors that know of shared lists, and the vocabulary's geometry."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lm_probe.eval_tasks import word_tokens
from lm_probe.model_adapters import architecture_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Rows = Sequence[Mapping[str, Any]]  # lm-eval's samples of one task


def clustered_stderr(values: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    r"""Standard error of a mean whose values belong together in clusters.

    $\sqrt{G / (G - 1)} \cdot \sqrt{\sum_g (\sum_{i \in g} (x_i - \bar x))^2} / n$ with G clusters: with clusters of one
    value the ordinary $s / \sqrt n$, larger where values of a cluster resemble each other. None for a single cluster.
    """
    mean = sum(values) / len(values)
    sums: defaultdict[Hashable, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] += value - mean
    groups = len(sums)
    if groups < 2:
        return None
    return math.sqrt(groups / (groups - 1) * sum(total**2 for total in sums.values())) / len(values)


def list_clusters(rows: Rows) -> list[Hashable] | None:
    """The list that each document asks about, where some share one."""
    lists: list[Hashable] = [row["doc"].get("list_id") for row in rows]
    return lists if None not in lists and len(set(lists)) < len(lists) else None


def vocabulary_geometry(
    rows: Rows, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> dict[str, tuple[float, float | None]]:
    """Coherence of each document's words as the model embeds them: mean over documents, standard error.

    Empty where a word is more than one token, for it then has no single vector.
    """
    from lm_probe.probes import coherence

    # Both separators come after the word, so its token is the same.
    tokens = word_tokens(tokenizer)
    vocabularies = [row["doc"].get("vocabulary") for row in rows]
    if not all(words and all(word in tokens for word in words) for words in vocabularies):
        return {}
    table = architecture_of(model).embedding_weight
    found = [coherence(table[[tokens[word] for word in words]]) for words in vocabularies]
    clusters = list_clusters(rows) or range(len(rows))
    return {
        f"vocabulary_{name}": (sum(values) / len(values), clustered_stderr(values, clusters))
        for name, values in zip(found[0]._fields, zip(*found, strict=True), strict=True)
    }


def about_lists(rows: Rows) -> dict[str, tuple[float, float | None]]:
    """What the documents were: different words and words of a list (means), share whose answers are one token each."""
    facts = {"different_words": "m", "list_words": "n", "answers_one_token": "answers_one_token"}
    found = {metric: [row["doc"].get(name) for row in rows] for metric, name in facts.items()}
    return {
        metric: (sum(map(float, values)) / len(values), None) for metric, values in found.items() if None not in values
    }
