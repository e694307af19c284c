"""Tables of text, which terminals, notebooks and scripts show in their own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgen.utils.text import html_text, printable


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        head: Column headings.
        sections: Groups of rows, each row as long as the head.
        title: A line above the table.
    """

    head: Sequence[str]
    sections: Sequence[Sequence[Sequence[str]]]
    title: str = ""

    def __str__(self) -> str:
        lines = [[printable(cell) for cell in row] for row in (self.head, *self._rows())]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in lines]
        return "\n".join([printable(self.title)] * bool(self.title) + text)

    def _repr_html_(self) -> str:
        """Return the table as HTML, as notebooks show it."""

        def line(cells: Sequence[str], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{html_text(cell)}</{tag}>" for cell in cells) + "</tr>"

        caption = f"<caption>{html_text(self.title)}</caption>" if self.title else ""
        body = "".join(line(row, "td") for row in self._rows())
        return f"<table>{caption}<thead>{line(self.head, 'th')}</thead><tbody>{body}</tbody></table>"

    def _rows(self) -> list[Sequence[str]]:
        return [row for section in self.sections for row in section]
