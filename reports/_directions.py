"""Which way a metric is better."""

LOWER_IS_BETTER = frozenset(
    {
        "loss",
        "ppl",
        "perplexity",
        "word_perplexity",
        "byte_perplexity",
        "bits_per_byte",
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
PERPLEXITIES = frozenset({"ppl", "perplexity", "word_perplexity"})
"""Of lm-eval's names for one quantity; those by byte of the same task say nothing new."""
_SAME = frozenset({"byte_perplexity", "bits_per_byte"})
_NEITHER = frozenset({"pct_stereotype", "likelihood_diff", "likelihood_difference", "bypass"})
"""No way is better: a share of stereotypes, a difference of two sentences."""


def lower_is_better(metric: str) -> bool:
    """Whether a metric is better where it is low; a filter's name after a comma does not matter."""
    return metric.partition(",")[0] in LOWER_IS_BETTER


def has_direction(metric: str) -> bool:
    """Whether a metric says better or worse, and is not another one's twin."""
    return metric.partition(",")[0] not in _NEITHER | _SAME
