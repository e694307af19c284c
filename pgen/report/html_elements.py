"""A self-contained HTML page: style, a little script, and the elements that reports are made of."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

from pgen.utils.text import html_text, shorten

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1c22; --paper: #fdfdfc; --soft: #6a6a75; --line: #d9d9de; --card: #f4f4f2;
  --good: #1f7a3d; --bad: #b3261e; --odd: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --paper: #131317; --soft: #a0a0ab; --line: #36363f; --card: #1d1d23;
  --good: #6fcf8d; --bad: #ff8a80; --odd: #ffc465; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
h1, h2, h3 { line-height: 1.25; }
h1, h2, h3, p, figcaption, th:first-child, td:first-child { overflow-wrap: anywhere; }
nav a { margin-right: 1rem; white-space: nowrap; } a { color: inherit; }
.soft { color: var(--soft); }
.warning { border-left: 4px solid var(--odd); background: var(--card); padding: .5rem .8rem; margin: .5rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9rem; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\25B2"; } th[aria-sort=descending] button::after { content: " \\25BC"; }
.as-real { color: var(--good); } .worse { color: var(--bad); } .beyond { color: var(--odd); } .cannot-be-told { color: var(--soft); }
figure { margin: 1rem 0; overflow-x: auto; } figure img { display: block; max-width: 100%; min-width: 34rem; height: auto; background: #fff;
  border-radius: 4px; }
figcaption { color: var(--soft); font-size: .9rem; }
details { margin: .6rem 0; } summary { cursor: pointer; }
pre { background: var(--card); padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""

_SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.querySelectorAll("th").forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    table.tHead.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => { const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent; };
    const order = (a, b) => { const [x, y] = [key(a), key(b)]; const n = Number(x) - Number(y);
      return Number.isNaN(n) ? x.localeCompare(y) : n; };
    const rows = [...table.tBodies[0].rows].sort((a, b) => down ? order(b, a) : order(a, b));
    table.tBodies[0].append(...rows);
  }));
}
"""

#: Characters of a cell and of a paragraph at most: a label may have any length.
CELL, PARAGRAPH = 120, 2000
#: A cell of a table: what it says, and by what it is sorted where that is another, and its class.
Cell = str | tuple[str, float | str, str]


def page(title: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A whole page. sections: (id, heading, HTML) each; without a heading a section is not in the table of contents."""
    links = "".join(f'<a href="#{html_text(name)}">{html_text(heading)}</a> ' for name, heading, _ in sections if heading)
    body = "".join(
        f'<section id="{html_text(name)}">{f"<h2>{html_text(heading)}</h2>" if heading else ""}{html}</section>'
        for name, heading, html in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{html_text(title)}</title><style>{_STYLE}</style></head><body><h1>{html_text(title)}</h1><nav>{links}</nav>{body}"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that is sorted by a click on a heading."""
    heads = "".join(f'<th scope="col"><button type="button">{html_text(shorten(text, CELL))}</button></th>' for text in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(cell: Cell) -> str:
    text, value, kind = cell if isinstance(cell, tuple) else (cell, cell, "")
    return f'<td data-value="{html_text(shorten(str(value), CELL))}" class="{html_text(kind)}">{html_text(shorten(text, CELL))}</td>'


def picture(path: Path, alt: str, caption: str = "") -> str:
    """A PNG, inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    below = f"<figcaption>{html_text(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="data:image/png;base64,{data}" alt="{html_text(alt)}">{below}</figure>'


def subheading(text: str) -> str:
    return f"<h3>{html_text(shorten(text, CELL))}</h3>"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{html_text(kind)}">{html_text(shorten(text, PARAGRAPH))}</p>'


def folded(summary: str, html: str) -> str:
    """What is shown on demand."""
    return f"<details><summary>{html_text(summary)}</summary>{html}</details>"


def code(text: str) -> str:
    return "<pre>" + html_text(text, keep="\n") + "</pre>"
