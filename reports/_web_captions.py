"""What a page says of how its figures work."""

from lm_probe.reports._data import RunData
from lm_probe.reports._layers import BEFORE_NORM, HOLLOW


def how(data: RunData) -> str:
    """What holds for all figures, of what the figures of this run have."""
    known = [one for own in data.checkpoints.values() for one in own]
    series = _has_series(data)
    slider = "A slider chooses the step: each model stands with its last checkpoint up to there."
    zero = "On a logarithmic axis step 0 stands at half of the first step after it."
    late = (
        "The last nine tenths of training, eight checkpoints at least, are where verdicts read the scatter of "
        "checkpoints from."
    )
    said = [
        slider if len({one.when for one in known}) > 1 else "",
        zero if any(one.step == 0 for one in known) else "",
        late if series else "",
    ]
    return " ".join(filter(None, said))


def captions(data: RunData) -> dict[str, str]:
    """A text for each kind of view."""
    bands = "Of more than six models the bands are left out, and what is pointed at tells its interval."
    ends = "Pale, behind the chosen checkpoint: the first one dotted, the last one heavy." * _has_series(data)
    depth = f"Bars are 95 % intervals, where an error is known. {BEFORE_NORM}; {HOLLOW}."
    return {
        "trend": bands if len(data.models) > 6 else "",
        "profile": f"{depth} {ends}".strip(),
        "models": "",
        "map": f"{BEFORE_NORM}, which follows them.",
        "spectrum": ends,
        "arms": "Full lists are solid, their controls dashed.",
        "gap": "",
    }


def _has_series(data: RunData) -> bool:
    return any(len(own) > 1 for own in data.checkpoints.values())
