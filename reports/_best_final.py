"""Best against final checkpoint of every task of a series, as one table."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lm_probe.reports._directions import has_no_direction, may_be_luck
from lm_probe.reports._directions import lower_is_better as known_direction
from lm_probe.reports._saturation import EARLY, Saturation, detect_saturation

COLUMNS = ("model", "step", "task", "metric", "value")
_OF_BEST = ("best_step", "best", "best_corrected", "final_minus_best", "relative", "low", "high", "p_value")


def best_and_final_table(
    values: pd.DataFrame,
    *,
    mean_of: Mapping[str, Sequence[str]] | None = None,
    lower_is_better: Mapping[str, bool] | None = None,
    margin: float | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Best and final score, their difference and the verdict of `detect_saturation`, a row per model, task and metric.

    The best value is the highest (lowest) of many and so flattering; `best_corrected` is not. Rows of one checkpoint
    only are left out, having nothing to compare. Where neither way of a metric is better, or nobody says which, there
    is no best: those cells are NaN, the verdict is `cannot tell`, and the column `reason` says so. Of all metrics but
    likelihoods a level in the first tenth of training may be luck and is none to fall from. A mean over tasks
    uses only the steps at which every task of it has a value, and takes the tasks' standard errors as independent. Does
    not show what the tables behind it do not hold: two harness versions or shot numbers under one name make one series
    here, so select first.

    Args:
        values: A tidy table with the columns model, step, task, metric, value and, where known, stderr.
        mean_of: Further rows, each the mean over some tasks under every metric that all of them share:
            `{"mean without wsc": ["piqa", "sciq", ...]}`.
        lower_is_better: Direction by metric name, for those whose name does not tell it as `acc` or `ppl` does.
        margin: As in `detect_saturation`.
        seed: Of the private generator.
    """
    missing = [column for column in COLUMNS if column not in values]
    if missing:
        raise ValueError(f"the table has no column {', '.join(missing)}: it has {', '.join(map(str, values.columns))}")
    known = values if "stderr" in values else values.assign(stderr=np.nan)
    table = known.dropna(subset=["step", "value"])[[*COLUMNS, "stderr"]]
    repeated = table[table.duplicated(["model", "task", "metric", "step"], keep=False)]
    if len(repeated):
        one = repeated.iloc[0]
        raise ValueError(
            f"{one.model}, {one.task}, {one.metric} has more than one value at step {one.step:g}: "
            "select one suite, variant and number of shots first"
        )
    table = pd.concat([table, *(_mean(table, name, tasks) for name, tasks in (mean_of or {}).items())])
    given = lower_is_better or {}
    rows = []
    for (model, task, metric), group in table.groupby(["model", "task", "metric"], sort=False):
        series = group.sort_values("step")
        if len(series) < 2:
            continue
        last = {"final_step": float(series["step"].iloc[-1]), "final": float(series["value"].iloc[-1])}
        row = {"model": model, "task": task, "metric": metric}
        direction = given.get(str(metric), known_direction(str(metric)))
        if direction is None:
            rows.append({**row, **dict.fromkeys(_OF_BEST, np.nan), **last, **_undirected(str(metric))})
            continue
        errors = series["stderr"].to_numpy(float)
        found = detect_saturation(
            series["step"].to_numpy(float),
            series["value"].to_numpy(float),
            None if np.isnan(errors).any() else errors,
            lower_is_better=direction,
            margin=margin,
            early=EARLY if may_be_luck(str(metric)) else 0.0,
            seed=seed,
        )
        rows.append({**row, **_of_best(found), **last, "verdict": found.verdict, "reason": found.reason})
    columns = ["model", "task", "metric", *_OF_BEST[:3], "final_step", "final", *_OF_BEST[3:], "verdict", "reason"]
    return pd.DataFrame(rows, columns=columns if rows else None)


def _of_best(found: Saturation) -> dict[str, float]:
    low, high = found.interval or (np.nan, np.nan)
    relative = found.final_minus_best / abs(found.best_value) if found.best_value else np.nan
    corrected = np.nan if found.best_corrected is None else found.best_corrected
    told = (found.best_step, found.best_value, corrected, found.final_minus_best, relative, low, high, found.p_value)
    return dict(zip(_OF_BEST, told, strict=True))


def _undirected(metric: str) -> dict[str, str]:
    how = "neither way is better" if has_no_direction(metric) else "no direction is known"
    return {"verdict": "cannot tell", "reason": f"{how}: lower_is_better={{'{metric}': True}} (or False) sets one"}


def _mean(table: pd.DataFrame, name: str, tasks: Sequence[str]) -> pd.DataFrame:
    absent = sorted(set(tasks) - set(table["task"]))
    if absent:
        raise ValueError(
            f"{name}: no task named {', '.join(absent)}; the table has {', '.join(sorted(set(table['task'])))}"
        )
    chosen = table[table["task"].isin(tasks)]
    keys = ["model", "metric", "step"]
    together = (
        chosen.assign(variance=chosen["stderr"] ** 2)
        .groupby(keys, as_index=False)
        .agg(
            value=("value", "mean"), variance=("variance", lambda each: each.sum(skipna=False)), count=("task", "size")
        )
    )
    whole = together[together["count"] == len(set(tasks))]
    return whole.assign(task=name, stderr=np.sqrt(whole["variance"]) / len(set(tasks)))[[*COLUMNS, "stderr"]]
