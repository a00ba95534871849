"""Measures that change when the loss does, in the report."""

from lm_probe.reports._analysis import ALPHA, Analysis
from lm_probe.reports._comovement import REPEATING, TRENDING
from lm_probe.reports._markdown import MISSING, counted, escape, number, reading, table
from lm_probe.reports._moving import Moving


def moving_together(analysis: Analysis) -> list[str]:
    """A row for each model and measure, and what it cannot show."""
    if not analysis.moving:
        return []
    rows = [
        [
            escape(one.model),
            one.measure,
            *_tested(one),
            str(one.found.changes),
            one.found.untested.replace("%", " %"),
        ]
        for one in analysis.moving
    ]
    header = ["model", "measure", "association", "the measure moves", "correlation", "p", "adjusted", "changes"]
    untested = sum(bool(one.found.untested) for one in analysis.moving)
    return [
        "Rank correlation between the changes of a measure and the changes of the loss from checkpoint to checkpoint, "
        "without what each shows by itself. An association says nothing about a cause: in training nearly everything "
        "changes while the learning rate does, and models were trained in which low rank goes with late degradation "
        "and is not its cause (arXiv 2602.20433).",
        reading(
            "What a measure shows by itself is its trend (a parabola, and the spacing of the checkpoints: two curves "
            "that flatten change ever less, which is nothing that they do together) and what follows from its changes "
            "before. The correlation is given at the lag of up to two checkpoints where it is strongest; p from signs "
            "drawn at random, which pays for the choice of the lag, and adjusted for "
            f"{counted(len(rows), 'pair')} (Holm). {_left_out(untested)}".strip(),
        ),
        table([*header, "why it is not tested"], rows, text_columns=4, remark=True)
        if untested
        else table(header, [row[:-1] for row in rows], text_columns=4),
    ]


def _left_out(untested: int) -> str:
    if not untested:
        return ""
    return (
        f"Nothing is tested where trends explain more than {100 * TRENDING:g} % of the changes of both, nor where more "
        f"than {100 * REPEATING:g} % of those of one are equal; such a pair counts in the adjustment all the same. "
    )


def _tested(one: Moving) -> list[str]:
    """Association, lag, correlation, p and adjusted p; none where too little was left to test."""
    if one.found.untested:
        return ["not tested", *[MISSING] * 4]
    return [
        "shown" if one.p_adjusted <= ALPHA else "not shown",
        _lag(one.found.lag),
        f"{one.found.correlation:+.2f}".replace("-", "\N{MINUS SIGN}"),
        number(one.found.p_value, 2),
        number(one.p_adjusted, 2),
    ]


def _lag(lag: int) -> str:
    if not lag:
        return "with the loss"
    return f"{counted(abs(lag), 'checkpoint')} {'after' if lag > 0 else 'before'} it"
