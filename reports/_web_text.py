"""Sections of the report as HTML: the very words of report.md, rendered without raw HTML."""

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from lm_probe.reports._markdown import unfold

_SENTENCE = 40
_NAME = 24
"""Letters of a name up to which it stays on one line where a row begins with it."""
_LINES = re.compile(r"± \S+|\bat [\d,]+$|\[[^\]\s]+(?:,| to) [^\]\s]+\]")
"""Parts of a number's cell that stay on one line: where the table is too wide, its error goes below it."""
_LINK = re.compile(r"#[\w-]+|tables/\w+\.csv|https://\S+")


def rendered(blocks: Sequence[str], name: str) -> str:
    """Blocks of markdown as HTML.

    Args:
        blocks: as in a section; one that is folded becomes a `details` element.
        name: what its tables are called by a screen reader.
    """
    parts = []
    for block in blocks:
        folded = unfold(block)
        if folded is None:
            parts.append(_MARKDOWN.render(block, {"name": name}))
        else:
            body = rendered([folded.body], folded.title)
            parts.append(f"<details><summary>{inline(folded.title)}</summary>{body}</details>")
    return "\n".join(parts)


def inline(text: str) -> str:
    """One line of markdown as HTML."""
    return str(_MARKDOWN.renderInline(text))


def anchor(title: str) -> str:
    """The name under which links find a heading, as GitHub makes it."""
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["image", "autolink"])
    made.validateLink = _known_link  # type: ignore[method-assign]  # how it is configured
    rules = {"table_open": _open_table, "table_close": _close_table, "th_open": _open_head, "td_open": _open_cell}
    for part, rule in rules.items():
        made.add_render_rule(part, rule)
    return made


def _known_link(url: str) -> bool:
    return bool(_LINK.fullmatch(url))


def _open_table(_self: Any, _tokens: Any, _place: int, _options: Any, env: Any) -> str:
    # What scrolls must be reached by keyboard too.
    return f'<div class="table" role="region" tabindex="0" aria-label="Table: {escape(env["name"])}"><table>\n'


def _close_table(*_: Any) -> str:
    return "</table></div>\n"


def _open_head(self: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
    tokens[place].attrSet("scope", "col")
    return str(self.renderToken(tokens, place, options, env))


def _open_cell(self: Any, tokens: Any, place: int, options: Any, env: Any) -> str:
    said = tokens[place + 1]
    if len(said.content) > _SENTENCE:  # or a wide table would squeeze it to a word a line
        tokens[place].attrSet("class", "sentence")
    elif len(said.content) > _NAME:
        tokens[place].attrSet("class", "long")
    said.children = [part for child in said.children for part in _breaking(child)]
    return str(self.renderToken(tokens, place, options, env))


def _breaking(child: Token) -> Iterator[Token]:
    """A part of a cell that breaks where a narrow column may break it: after a line of a name, before an error."""
    if child.type != "text":
        yield child
        return
    kept = _LINES.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), child.content)
    for place, part in enumerate(re.split(r"(?<=_)(?=[^_])", kept)):
        if place:
            yield Token("html_inline", "", 0, content="<wbr>")
        yield Token("text", "", 0, content=part)


_MARKDOWN = _markdown()
