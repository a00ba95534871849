"""From stored values to statistics, figures, markdown and web page."""

from lm_probe.reports._report import write_report

__all__ = ["write_report"]
