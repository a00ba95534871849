"""The figure that puts the last checkpoints of all models beside one another."""

from lm_probe.reports._data import Checkpoint, RunData
from lm_probe.reports._figure_models import models_over_depth
from lm_probe.reports._pictures import Picture, View
from lm_probe.reports._sizes import family_in_name
from lm_probe.reports._statistics import final

_FEWEST = 3  # two stand in one figure on the page and side by side in the drawing of "Anisotropy over depth"
_ONE_PANEL = 6


def model_pictures(data: RunData) -> list[Picture]:
    """Mean cosine over relative depth, a line a model: all in one panel, or many in a panel for each family."""
    profiles = data.mean_cosines
    last: dict[str, Checkpoint] = {}
    for model, known in data.checkpoints.items():
        own = {one: next(iter(profiles[one].values())) for one in known if one in profiles}
        if own:
            last[model] = final(own)
    if len(last) < _FEWEST:
        return []
    groups: dict[str, list[Checkpoint]] = {}
    for model, one in last.items():
        groups.setdefault(family_in_name(model) if len(last) > _ONE_PANEL else "", []).append(one)
    ends = [score for one in last.values() for score in profiles[one].values()]
    bars = " Bars are 95 % intervals." * any(score.stderr for score in ends)
    caption = (
        "All models over one another on relative depth, each with one checkpoint, as in figure 2 of arXiv 2404.07647; "
        "the figure above has their other checkpoints and every site. Sites here are those of the literature: "
        "embedding, blocks 1 to L - 1, and the final norm (or in a model without one what the head multiplies) in the "
        f"place of block L.{bars}"
    )
    drawing = "The last checkpoint of each." + (
        " A panel holds models whose names begin alike." if len(groups) > 1 else ""
    )
    title = "Anisotropy of all models over depth"
    view = View("models", data.cosine_probe, "mean_cosine", "mean cosine")
    return [
        Picture(
            "anisotropy_models", title, lambda: models_over_depth(profiles, groups, data.models), caption, view, drawing
        )
    ]
