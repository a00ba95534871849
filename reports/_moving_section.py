"""Measures that change when the loss does, in the report."""

from lm_probe.reports._analysis import ALPHA, Analysis
from lm_probe.reports._markdown import counted, escape, number, table


def moving_together(analysis: Analysis) -> list[str]:
    """A row for each model and measure, and what it cannot show."""
    if not analysis.moving:
        return []
    rows = [
        [
            escape(one.model),
            one.measure,
            f"{one.found.correlation:+.2f}".replace("-", "\N{MINUS SIGN}"),
            _lag(one.found.lag),
            str(one.found.changes),
            number(one.found.p_value, 2),
            number(one.p_adjusted, 2),
            "associated" if one.p_adjusted <= ALPHA else "not shown",
        ]
        for one in analysis.moving
    ]
    header = ["model", "measure", "correlation", "the measure moves", "changes", "p", "adjusted", ""]
    return [
        "Rank correlation between the changes of a measure and the changes of the loss from checkpoint to checkpoint, "
        "without the trends of both (a parabola, and the spacing of the checkpoints: two curves that flatten change "
        "ever less, which is nothing that they do together), at the lag of up to two checkpoints where it is "
        "strongest; p from shuffled blocks, which pays for the choice of the lag, and adjusted for "
        f"{counted(len(rows), 'pair')} (Holm). An association says nothing about a cause: in training nearly "
        "everything changes while the learning rate does, and models were trained in which low rank goes with late "
        "degradation and is not its cause (arXiv 2602.20433).",
        table(header, rows, text_columns=2),
    ]


def _lag(lag: int) -> str:
    if not lag:
        return "with the loss"
    return f"{counted(abs(lag), 'checkpoint')} {'after' if lag > 0 else 'before'} it"
