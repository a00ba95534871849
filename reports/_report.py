"""Writes report.md and report.html with their figures and tables."""

import csv
import errno
import io
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lm_probe.reports import _audit_section as audit_section
from lm_probe.reports import _counting_section as counting_section
from lm_probe.reports import _saturation_section as saturation_section
from lm_probe.reports import _scaling_section as scaling_section
from lm_probe.reports import _sections as sections
from lm_probe.reports._analysis import Analysis, analyse
from lm_probe.reports._data import RunData
from lm_probe.reports._document import Document, document
from lm_probe.reports._load import load
from lm_probe.reports._provenance import per_checkpoint
from lm_probe.reports._style import write_svg
from lm_probe.reports._summary import columns, csv_header, csv_rows
from lm_probe.sweeps import REPORT_MARK, UserError, install_words, refuse_foreign, say_on_stderr

_MARK = f"<!-- {REPORT_MARK}: a new rendering overwrites this file, its figures and its tables. -->"
_WEB = ("jinja2", "markupsafe", "markdown_it")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_OURS = re.compile(r"\((figures/[a-z0-9_]+\.svg|tables/[a-z0-9_]+\.csv)\)")


def write_report(runs: Sequence[Path], *, out: Path | None = None, say: Callable[[str], None] = say_on_stderr) -> Path:
    """Renders one run, or several side by side: `report.md`, `report.html`, `figures/*.svg` and `tables/*.csv`.

    The page needs the packages of the extra `web`; without them it is left out, and `say` is told.

    The same values give the same bytes. A model that several runs hold gets its run's name behind its own.

    Args:
        runs: folders of runs.
        out: where to write; None is the first run's folder.
        say: takes notices.

    Returns:
        The path of report.md.

    Raises:
        UserError: no run is given, a folder holds none, or the report cannot be written or would overwrite files of
            somebody else's.
    """
    if not runs:
        raise UserError("no run to report: give the folder of one, e.g. lm-probe report runs/pythia")
    folder = Path(runs[0]) if out is None else Path(out)
    refuse_foreign(folder)
    data = load([Path(run) for run in runs])
    try:
        return _write(data, folder, say)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        then = "free some space" if full else "choose another place with --out"
        raise UserError(
            f"the report cannot be written to {folder} ({error.strerror}): {then}, and run lm-probe report "
            f"{shlex.join(map(str, runs))}; what was measured is safe"
        ) from error


def _write(data: RunData, folder: Path, say: Callable[[str], None]) -> Path:
    report = folder / "report.md"
    earlier = _files_of(report)
    analysis = analyse(data)
    tables = _tables(data, analysis)
    said = document(data, analysis, sorted(tables))
    for name in ("figures", "tables"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    written = set()
    for picture in (picture for section in said.sections for picture in section.pictures):
        written.add(f"figures/{picture.name}.svg")
        write_svg(picture.draw, folder / "figures" / f"{picture.name}.svg", picture.title)
    for name, rows in tables.items():
        written.add(f"tables/{name}.csv")
        (folder / "tables" / f"{name}.csv").write_bytes(_csv(rows))
    for stale in sorted(earlier - written):
        (folder / stale).unlink(missing_ok=True)
    _write_page(folder / "report.html", data, said, say)
    # Last, so that a report which is there has all its figures.
    report.write_bytes(_markdown(said).encode())
    return report


def _write_page(path: Path, data: RunData, said: Document, say: Callable[[str], None]) -> None:
    """The web page where its packages are installed; an earlier one that would contradict the report goes."""
    try:
        from lm_probe.reports._web import page
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _WEB:
            raise
        path.unlink(missing_ok=True)
        say(f"no report.html, because {package} is not installed: {install_words('web')}, adds the page")
        return
    path.write_bytes(page(data, said))


def _files_of(report: Path) -> set[str]:
    """The figures and tables of an earlier rendering."""
    if not report.is_file():
        return set()
    said = report.read_text(encoding="utf-8", errors="replace")
    return set(_OURS.findall(said)) if _MARK in said else set()


def _markdown(said: Document) -> str:
    parts = [_MARK, f"# {said.title}", *said.lead]
    for section in said.sections:
        parts += [f"## {section.title}", *section.above, *sections.figures(section.pictures), *section.blocks]
    return "\n\n".join(parts) + "\n"


def _tables(data: RunData, analysis: Analysis) -> dict[str, list[Sequence[object]]]:
    """Tables at full precision, heads first; a table without rows is not written."""
    shown = columns(data)
    found: dict[str, list[Sequence[object]]] = {
        "summary": [csv_header(shown), *csv_rows(shown, data.checkpoints)],
        "anisotropy": [
            ["model", "revision", "step", "layer", "site", "mean_cosine", "stderr", "n"],
            *([*one, *place, *score] for one, profile in data.mean_cosines.items() for place, score in profile.items()),
        ],
        "best_and_final": [list(saturation_section.HEADER), *saturation_section.csv_rows(data, analysis)],
        "emergence": [list(scaling_section.CURVE_HEADER), *scaling_section.curve_rows(analysis)],
        "counting": [
            list(counting_section.HEADER),
            *counting_section.rows(data),
        ],
        "other_tasks": [list(sections.OTHER_TASKS), *sections.other_tasks_rows(data)],
        "audit": [list(audit_section.HEADER), *audit_section.rows(data)],
        "failures": [
            ["model", "revision", "step", "probe", "error", "measurements", "asked_by_last_sweep"],
            *([*row.checkpoint, row.probe, row.error, row.measurements, "yes"] for row in data.failed),
            *([*row.checkpoint, row.probe, row.error, row.measurements, "no"] for row in data.failed_earlier),
        ],
        "provenance": [
            ["model", "revision", "step", "identity", "seconds", "peak_memory_bytes"],
            *([*row.checkpoint, row.identity, row.seconds, row.peak_memory] for row in per_checkpoint(data)),
        ],
    }
    return {name: rows for name, rows in found.items() if len(rows) > 1}


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(one) for one in row] for row in rows)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """A name from outside that a spreadsheet would run as a formula gets an apostrophe; numbers are no names."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
