"""Writes report.html: one file that opens from disk and asks no network for anything."""

import base64
import hashlib
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lm_probe.reports._data import RunData
from lm_probe.reports._document import Document, Section
from lm_probe.reports._markdown import plain
from lm_probe.reports._pictures import Picture, View
from lm_probe.reports._style import write_svg
from lm_probe.reports._web_captions import captions, how
from lm_probe.reports._web_colours import DARK, LIGHT
from lm_probe.reports._web_data import named, packed
from lm_probe.reports._web_pack import compressed
from lm_probe.reports._web_text import anchor, inline, rendered

_FOLDER = Path(__file__).with_name("web")
_SCRIPTS = ("data.js", "charts.js", "counting.js", "figures.js", "numbers.js", "page.js")


def page(data: RunData, said: Document) -> bytes:
    """The page of a report. The same run gives the same bytes.

    Args:
        data: what the runs hold.
        said: the report.
    """
    shown = captions(data)
    views = [picture.view for section in said.sections for picture in section.pictures]
    script = "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{script}}})();\n'
    plotly = _plotly()
    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.globals |= {
        "html": lambda blocks, name: Markup(rendered(blocks, name)),
        "inline": lambda text: Markup(inline(text)),
        "shown": shown,
    }
    made = environment.get_template("page.html").render(
        # Scripts run by their hash and nothing else does, whatever came in with a name.
        policy=f"default-src 'none'; script-src {_hash(script)} {plotly.hash}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'",
        title=said.title,
        sections=[_section(section, shown) for section in said.sections],
        lead=said.lead,
        how=how(data),
        models=[plain(model, 80) for model in data.models],
        style=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        data=packed(data, [view for view in views if view and view.derived]),
        plotly=plotly.packed,
    )
    return made.encode()


class _Library(NamedTuple):
    hash: str
    packed: str


@cache
def _plotly() -> _Library:
    source = (_FOLDER / "plotly-cartesian.min.js").read_text(encoding="utf-8")
    return _Library(_hash(source), compressed(source.encode()))


def _section(section: Section, shown: Mapping[str, str]) -> dict[str, Any]:
    figures = []
    for picture in section.pictures:
        caption = [f"{picture.caption} {shown[picture.view.kind] if picture.view else picture.drawing}".strip()]
        view = None if picture.view is None else _named(picture.view)
        drawn = {} if view else _drawn(picture)
        title = plain(picture.title)
        figures.append({"name": picture.name, "title": title, "caption": caption, "view": view, "images": drawn})
    blocks = {"above": section.above, "blocks": section.blocks}
    return {"title": section.title, "anchor": anchor(section.title), "figures": figures, **blocks}


def _drawn(picture: Picture) -> dict[str, str]:
    """What the page does not draw itself, in the colours that its models have in light and in dark; one for both."""
    found = {}
    for page, colours in {"light": LIGHT, "dark": DARK}.items():
        svg = io.BytesIO()
        write_svg(picture.draw, svg, picture.title, colours)
        found[page] = f"data:image/svg+xml;base64,{base64.b64encode(svg.getvalue()).decode()}"
    return found if found["light"] != found["dark"] else {"": found["light"]}


def _named(view: View) -> dict[str, Any]:
    """A view as the page's figure has it: its quantity under the name that the page's data have."""
    return view._asdict() | named(view.address) | {"label": plain(view.label)}


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
