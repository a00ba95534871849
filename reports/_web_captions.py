"""What the captions of a page say of how its figures work."""

from lm_probe.reports._data import RunData


def captions(data: RunData) -> dict[str, str]:
    """A text for each kind of view, which speaks only of what the figures of this run have."""
    known = [one for own in data.checkpoints.values() for one in own]
    series = any(len(own) > 1 for own in data.checkpoints.values())
    slider = "The slider chooses the step: each model stands with its last checkpoint up to there."
    slides = [slider] if len({one.when for one in known}) > 1 else []
    ends = ["The first checkpoint is dotted and the last one heavy."] if series else []
    zero = ["On the logarithmic axis step 0 stands at half of the first step after it."]
    late = [
        "The last nine tenths of training, eight checkpoints at least, are where verdicts read the scatter of "
        "checkpoints from."
    ]
    errors = ["Bars are 95 % intervals, where an error is known."]
    bands = ["Of more than six models the bands are left out, and what is pointed at tells its interval."]
    sites = "Blocks 1 to L are before any final norm"
    said = {
        "trend": [
            *(zero if any(one.step == 0 for one in known) else []),
            *(bands if len(data.models) > 6 else []),
            *(late if series else []),
        ],
        "profile": [*slides, *ends, *errors, f"{sites}; hollow, also at layer L, is what comes after it."],
        "models": slides,
        "map": [f"{sites}, which follows them."],
        "spectrum": [*slides, *ends],
        "arms": [*slides, "Full lists are solid, their controls dashed."],
        "gap": slides,
    }
    return {kind: " ".join(sentences) for kind, sentences in said.items()}
