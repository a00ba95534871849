"""What a report says, section by section, before it becomes markdown or a web page."""

from collections.abc import Sequence
from typing import NamedTuple

from lm_probe.reports import _audit_section as audit_section
from lm_probe.reports import _counting_section as counting_section
from lm_probe.reports import _sections as sections
from lm_probe.reports._analysis import Analysis
from lm_probe.reports._condensation_pictures import condensation_pictures
from lm_probe.reports._control_pictures import control_pictures
from lm_probe.reports._counting_pictures import counting_pictures, counting_said
from lm_probe.reports._data import RunData
from lm_probe.reports._differences_section import between_runs
from lm_probe.reports._findings import findings
from lm_probe.reports._markdown import escape
from lm_probe.reports._measures import measures
from lm_probe.reports._model_pictures import model_pictures
from lm_probe.reports._moving_section import moving_together
from lm_probe.reports._opening import opening
from lm_probe.reports._pictures import (
    Picture,
    anisotropy_pictures,
    anisotropy_said,
    loss_picture,
    spectrum_pictures,
)
from lm_probe.reports._saturation_pictures import saturation_pictures
from lm_probe.reports._saturation_section import best_and_final, saturation
from lm_probe.reports._scaling_pictures import emergence_pictures, scaling_pictures
from lm_probe.reports._scaling_section import emergence, scaling
from lm_probe.reports._summary import columns, explained


class Section(NamedTuple):
    """A heading with what stands under it."""

    title: str
    blocks: Sequence[str] = ()
    """Markdown."""
    pictures: Sequence[Picture] = ()
    """Stand above the blocks."""
    above: Sequence[str] = ()
    """Markdown above the pictures: what would stand below each of them."""


class Document(NamedTuple):
    """A whole report."""

    title: str
    lead: Sequence[str]
    """Markdown before the first section."""
    sections: Sequence[Section]


def document(data: RunData, analysis: Analysis, tables: Sequence[str]) -> Document:
    """All sections that have something to say.

    Args:
        data: what the runs hold.
        analysis: what that says.
        tables: names of the CSV tables that are written beside the report.
    """
    shown = columns(data)
    lead = [opening(data, analysis), *findings(data, analysis)]
    found = [
        Section("Warnings", sections.warning_lines(data)),
        Section("Summary", [explained(shown, data), *sections.summary(data, shown)] if shown else ()),
        Section("Saturation", saturation(data, analysis), saturation_pictures(data, analysis)),
        Section("Best and final", best_and_final(data, analysis)),
        Section("Moving together", moving_together(analysis)),
        Section("Scaling", scaling(data, analysis), scaling_pictures(data, analysis)),
        Section("Emergence", emergence(analysis), emergence_pictures(analysis)),
        Section("Between runs", between_runs(analysis)),
        Section("Loss", pictures=loss_picture(data)),
        Section(
            "Hidden states",
            pictures=[*anisotropy_pictures(data), *model_pictures(data), *control_pictures(data)],
            above=anisotropy_said(data),
        ),
        Section("Output head", pictures=spectrum_pictures(data)),
        Section("Weights", pictures=condensation_pictures(data)),
        Section("Counting", counting_section.section(data), counting_pictures(data), counting_said(data)),
        Section("Other tasks", sections.other_tasks(data)),
        Section("All measures", measures(data)),
        Section("Audit", audit_section.section(data)),
        Section("Failures", sections.failures(data)),
        Section("Provenance", sections.provenance(data) if data.made else ()),
        Section("Tables", ["\n".join(f"- [{name}.csv](tables/{name}.csv)" for name in tables)] if tables else ()),
    ]
    return Document(f"lm-probe: {_title(data)}", lead, [one for one in found if one.blocks or one.pictures])


def _title(data: RunData) -> str:
    names = [escape(model, 60) for model in data.models]
    return ", ".join(names) if 0 < len(names) <= 3 else f"{len(names)} models"
