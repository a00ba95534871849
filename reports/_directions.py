"""Which way a metric is better: as the result file says, else as its name is known; never guessed."""

LOWER_IS_BETTER = frozenset(
    {
        "loss",
        "ppl",
        "perplexity",
        "word_perplexity",
        "byte_perplexity",
        "bits_per_byte",
        "weighted_perplexity",
        "brier_score",
        "ter",
        "wer",
        "cer",
        "ece",
        "mse",
        "rmse",
        "mae",
        "mae_relative",
        "mae_imputed",
        "acc_gap",
        "mae_gap",
    }
)
HIGHER_IS_BETTER = frozenset(
    {
        "acc",
        "accuracy",
        "acc_all",
        "acc_bytes",
        "acc_mutual_info",
        "acc_norm",
        "bleu",
        "chrf",
        "em",
        "exact",
        "exact_match",
        "f1",
        "inst_level_loose_acc",
        "inst_level_strict_acc",
        "likelihood",
        "mc1",
        "mc2",
        "mcc",
        "pass@1",
        "prompt_level_loose_acc",
        "prompt_level_strict_acc",
        "rouge1",
        "rouge2",
        "rougeL",
    }
)
PERPLEXITIES = frozenset({"ppl", "perplexity", "word_perplexity"})
"""Of lm-eval's names for one quantity; those by byte of the same task say nothing new."""
_SAME = frozenset({"byte_perplexity", "bits_per_byte"})
_LIKELIHOODS = PERPLEXITIES | _SAME | {"loss", "weighted_perplexity"}
_NEITHER = frozenset({"pct_stereotype", "likelihood_diff", "likelihood_difference", "bypass"})
"""No way is better: a share of stereotypes, a difference of two sentences."""


def lower_is_better(metric: str, declared: bool | None = None) -> bool | None:
    """Whether a metric is better where it is low; None where neither way is, or nobody says which.

    Args:
        metric: its name; that of a filter after a comma does not matter.
        declared: whether lm-eval calls it better where it is low, if it says so.
    """
    name = metric.partition(",")[0]
    if name in _NEITHER:
        return None
    if declared is not None:
        return declared
    return name in LOWER_IS_BETTER if name in LOWER_IS_BETTER | HIGHER_IS_BETTER else None


def is_twin(metric: str) -> bool:
    """Whether a metric is another one's of the same task in other units."""
    return metric.partition(",")[0] in _SAME


def may_be_luck(metric: str) -> bool:
    """Whether answers without skill can score well: all but the likelihoods of text, where what is low is learned.

    Near chance a model answers alike whatever is asked, and an accuracy is then the share of that answer among the
    right ones, to any number of standard errors: WSC goes from 37 to 63 % or back in the first tenth of training.
    """
    return metric.partition(",")[0] not in _LIKELIHOODS


def has_no_direction(metric: str) -> bool:
    """Whether it is known that neither way is better."""
    return metric.partition(",")[0] in _NEITHER
