"""What a run's values say: verdicts, associations and laws as plain records; the words for them are made elsewhere.

Saturation is tested for two lists. The first is small and decides what the report says up front: the loss of each
model, perplexities, the means over tasks. The second holds every single task, in a family for each model. See
`_verdicts` for what a fall must outlive there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lm_probe.reports._data import RunData
from lm_probe.reports._differences import Difference, differences
from lm_probe.reports._means import mean_series
from lm_probe.reports._moving import Moving, moving
from lm_probe.reports._scaling_findings import Scaling, TaskCurve, scaling, sizes_of_families, task_curves
from lm_probe.reports._series import loss_series, task_series
from lm_probe.reports._sizes import Size
from lm_probe.reports._verdicts import ALPHA, Verdict, in_families_of_tasks, in_one_family

__all__ = ["ALPHA", "Analysis", "Verdict", "analyse"]


@dataclass(frozen=True)
class Analysis:
    """Everything that the report states as a finding."""

    sizes: Mapping[str, Size]
    """Of the models whose size is known, smallest first."""
    headline: Sequence[Verdict]
    """Loss, perplexity and mean over tasks of each model."""
    tasks: Sequence[Verdict]
    """Every other task and metric."""
    moving: Sequence[Moving]
    """Measures beside the loss."""
    scaling: Scaling | None
    curves: Sequence[TaskCurve]
    """Scores over size, where there are four sizes or more."""
    families: Mapping[str, int]
    """How many sizes of each family have a score."""
    differences: Sequence[Difference] = ()
    """Between runs that hold the same model at the same step."""

    def loss(self, model: str) -> Verdict | None:
        """The verdict on a model's loss."""
        return next((one for one in self.headline if one.series.model == model and not one.series.measure.task), None)


def analyse(data: RunData) -> Analysis:
    """Every finding that the values allow. The same values give the same findings."""
    tasks = task_series(data)
    perplexities = [one for one in tasks if one.is_loss]
    first = [*loss_series(data), *perplexities, *mean_series(tasks)]
    order = {model: place for place, model in enumerate(data.models)}
    headline = in_one_family(sorted(first, key=lambda one: order[one.model]))
    others = in_families_of_tasks([one for one in tasks if not one.is_loss])
    saturated = [one.series.model for one in headline if one.saturated and one.series.measure.task is None]
    return Analysis(
        sizes=data.sizes,
        headline=headline,
        tasks=others,
        moving=moving(data),
        scaling=scaling(data, saturated),
        curves=task_curves(data),
        families=sizes_of_families(data),
        differences=differences(data),
    )
