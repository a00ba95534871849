"""Two runs of one model side by side, in the report."""

from lm_probe.reports._analysis import Analysis
from lm_probe.reports._markdown import MISSING, count, counted, escape, number, step_cell, table, with_interval


def between_runs(analysis: Analysis) -> list[str]:
    """A row for each score that both runs have."""
    if not analysis.differences:
        return []
    rows = [
        [
            escape(one.first.model),
            escape(one.second.model),
            step_cell(one.first),
            escape(one.measure),
            with_interval(one.difference, one.interval),
            number(one.p_value, 2),
            number(one.p_adjusted, 2),
            number(one.values[0]),
            number(one.values[1]),
            count(one.documents) if one.documents else MISSING,
        ]
        for one in analysis.differences
    ]
    header = [
        "first",
        "second",
        "step",
        "measure",
        "second less first",
        "p",
        "adjusted",
        "first's",
        "second's",
        "pairs",
    ]
    return [
        "The last step that both runs have. Differences are paired document by document where both were asked the same "
        "documents and their answers are there (pairs); else the two are taken as independent, which overstates the "
        "error where the documents are in fact the same. Brackets are 95 % intervals; p is exact (McNemar) for right "
        f"and wrong, and adjusted for {counted(len(rows), 'row')} (Holm). A difference says that the two measurements "
        "differ, not which of what differs between them is behind it.",
        table(header, rows, text_columns=4),
    ]
