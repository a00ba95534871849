"""From stored values to statistics, figures, markdown and web page.

Names are loaded when they are first used: the statistics need numpy and scipy only, and a notebook that fits a scaling
law does not wait for torch.
"""

from typing import TYPE_CHECKING

from lm_probe.sweeps import lazily

if TYPE_CHECKING:
    from lm_probe.reports._best_final import best_and_final_table
    from lm_probe.reports._change_point import ChangePoint, find_change_point
    from lm_probe.reports._choice_metrics import chance_of, choice_metrics, expected_exact_match
    from lm_probe.reports._comovement import Comovement, measure_comovement
    from lm_probe.reports._compare_metrics import MetricComparison, compare_metrics
    from lm_probe.reports._fit_scaling_law import fit_scaling_law
    from lm_probe.reports._kaplan import KAPLAN_PARAMETERS, KAPLAN_TOKENS, PowerLaw, fit_power_law, kaplan_loss
    from lm_probe.reports._report import write_report
    from lm_probe.reports._saturation import Saturation, detect_saturation
    from lm_probe.reports._scaling_curve import ScalingCurve, classify_scaling_curve
    from lm_probe.reports._scaling_law import GODEY_2024, HOFFMANN_DATA_TERM, ScalingLaw
    from lm_probe.reports.plots import plot_counting, plot_depth, plot_layers, plot_loss, plot_metric, plot_spectrum

__all__ = [
    "GODEY_2024",
    "HOFFMANN_DATA_TERM",
    "KAPLAN_PARAMETERS",
    "KAPLAN_TOKENS",
    "ChangePoint",
    "Comovement",
    "MetricComparison",
    "PowerLaw",
    "Saturation",
    "ScalingCurve",
    "ScalingLaw",
    "best_and_final_table",
    "chance_of",
    "choice_metrics",
    "classify_scaling_curve",
    "compare_metrics",
    "detect_saturation",
    "expected_exact_match",
    "find_change_point",
    "fit_power_law",
    "fit_scaling_law",
    "kaplan_loss",
    "measure_comovement",
    "plot_counting",
    "plot_depth",
    "plot_layers",
    "plot_loss",
    "plot_metric",
    "plot_spectrum",
    "write_report",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "_best_final": ("best_and_final_table",),
        "_change_point": ("ChangePoint", "find_change_point"),
        "_choice_metrics": ("chance_of", "choice_metrics", "expected_exact_match"),
        "_comovement": ("Comovement", "measure_comovement"),
        "_compare_metrics": ("MetricComparison", "compare_metrics"),
        "_fit_scaling_law": ("fit_scaling_law",),
        "_kaplan": ("KAPLAN_PARAMETERS", "KAPLAN_TOKENS", "PowerLaw", "fit_power_law", "kaplan_loss"),
        "_report": ("write_report",),
        "_saturation": ("Saturation", "detect_saturation"),
        "_scaling_curve": ("ScalingCurve", "classify_scaling_curve"),
        "_scaling_law": ("GODEY_2024", "HOFFMANN_DATA_TERM", "ScalingLaw"),
        "plots": ("plot_counting", "plot_depth", "plot_layers", "plot_loss", "plot_metric", "plot_spectrum"),
    },
)
