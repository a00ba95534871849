"""Every measure of the probes that have no section of their own: first and last checkpoint, folded."""

from collections.abc import Mapping

from lm_probe.reports._data import Checkpoint, Place, RunData, Score
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import MISSING, counted, escape, fold, step_cell, table, with_error
from lm_probe.reports._numbers import Address
from lm_probe.reports._statistics import final

_ELSEWHERE = {"loss", "anisotropy", "lm_eval"}


def measures(data: RunData) -> list[str]:
    """A folded table a probe."""
    probes = sorted({probe for probe, _, _ in data.indexed} - _ELSEWHERE)
    return [_folded(data, probe) for probe in probes]


def _folded(data: RunData, probe: str) -> str:
    addresses = sorted(
        (one for one in data.indexed if one.probe == probe), key=lambda one: (one.metric, one.component or "")
    )
    rows, sites = [], set()
    ends: list[tuple[Address, str, list[Checkpoint], list[dict[Place, Score]]]] = []
    for address in addresses:
        having = set(data.indexed.holders(address))
        for model, known in data.checkpoints.items():
            measured = [one for one in known if one in having]
            if measured:
                shown = [measured[0], final(measured)]
                profiles = [data.indexed.profile(address, one) for one in shown]
                sites |= {place.site for profile in profiles for place in profile}
                ends.append((address, model, shown, profiles))
    # Hidden states end at a last site; weights have a value for every block, and none stands for the others.
    averaged = sites >= {"block"} and not sites & {"final_norm", "head_input"}
    for address, model, shown, profiles in ends:
        cells = [
            cell
            for one, profile in zip(shown, profiles, strict=True)
            for cell in (step_cell(one), with_error(_one_number(profile, averaged)))
        ]
        rows.append([escape(address.metric), escape(address.component or MISSING), escape(model), *cells])
    remark = (
        ", mean over blocks (every block is in the export)"
        if averaged
        else ", at the last site"
        if sites != {""}
        else ""
    )
    header = ["measure", "component", "model", "first", "value", "last", "value"]
    body = table(header, rows, text_columns=4)
    title = f"{escape(probe)}: {counted(len(addresses), 'measure')}{remark}"
    return fold(title, body)


def _one_number(places: Mapping[Place, Score], averaged: bool) -> Score:
    if averaged and len(places) > 1:
        return Score(sum(score.value for score in places.values()) / len(places), None, None)
    last = final_place(places)
    return places[last] if last in places else list(places.values())[-1]
