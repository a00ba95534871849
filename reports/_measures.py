"""Every measure of the probes that have no section of their own: first and last checkpoint, folded."""

from collections.abc import Mapping

from lm_probe.reports._data import Place, RunData, Score
from lm_probe.reports._layers import final_place
from lm_probe.reports._markdown import MISSING, counted, escape, fold, step_cell, table, with_error
from lm_probe.reports._statistics import final, of_model

_ELSEWHERE = {"loss", "anisotropy", "lm_eval"}


def measures(data: RunData) -> list[str]:
    """A folded table a probe."""
    probes = sorted({probe for probe, _, _ in data.indexed} - _ELSEWHERE)
    return [_folded(data, probe) for probe in probes]


def _folded(data: RunData, probe: str) -> str:
    profiles = {address[1:]: found for address, found in data.indexed.items() if address[0] == probe}
    sites = {place.site for found in profiles.values() for places in found.values() for place in places}
    # Hidden states end at a last site; weights have a value for every block, and none stands for the others.
    averaged = sites >= {"block"} and not sites & {"final_norm", "head_input"}
    rows = []
    for metric, component in sorted(profiles, key=lambda address: (address[0], address[1] or "")):
        found = profiles[metric, component]
        scores = {one: _one_number(places, averaged) for one, places in found.items()}
        for model, known in data.checkpoints.items():
            own = of_model(scores, known)
            if own:
                first, last = next(iter(own)), final(own)
                ends = [step_cell(first), with_error(own[first]), step_cell(last), with_error(own[last])]
                rows.append([metric, escape(component or MISSING), escape(model), *ends])
    remark = (
        ", mean over blocks (every block is in the export)"
        if averaged
        else ", at the last site"
        if sites != {""}
        else ""
    )
    header = ["measure", "component", "model", "first", "value", "last", "value"]
    body = table(header, rows, text_columns=4)
    title = f"{escape(probe)}: {counted(len(profiles), 'measure')}{remark}"
    return fold(title, body)


def _one_number(places: Mapping[Place, Score], averaged: bool) -> Score:
    if averaged and len(places) > 1:
        return Score(sum(score.value for score in places.values()) / len(places), None, None)
    last = final_place(places)
    return places[last] if last in places else list(places.values())[-1]
