"""Make text from files and from other programs harmless wherever it is shown.

Labels, units, ids, file names, summaries of plug-ins and messages of libraries can hold anything:
terminal escapes, line breaks, marks that reverse the reading direction, Rich markup, TeX, HTML.
Data keep such text as it is. Only what is shown goes through these functions, in four places:

* the terminal: ``pgen.cli.console.Terminal`` applies :func:`printable` to all it prints, and reads
  no markup;
* log.txt: :func:`printable`, so that an entry is one line;
* figures: ``pgen.report.figures.base.save_figure`` switches TeX off, and applies :func:`printable`;
* HTML: ``pgen.report.html_report`` applies :func:`printable` to all text, which jinja2 escapes;
  ``pgen.report.tables`` applies :func:`html_text`.
"""

from __future__ import annotations

import html

#: Characters of a name that tables and figures have room for.
LIMIT = 60


def printable(text: str, *, keep: str = "") -> str:
    r"""Replace each character that is not printable by its escape.

    These are control characters (``\x1b``, ``\n``, C1), directional and zero-width marks
    (``\u202e``), line separators, lone surrogates (of file names that are no Unicode), unassigned
    and private characters.

    Args:
        text: any text.
        keep: characters to leave as they are, such as line breaks of pgen's own.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in keep else _escape(character) for character in text)


def shortened(text: str, limit: int = LIMIT) -> str:
    """Make a text printable on one line, and cut a long one in its middle.

    Names differ at either end, as in ``<label> accuracy``.
    """
    text = printable(text)
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 1]}…{text[-tail:]}"


def html_text(text: str, *, keep: str = "") -> str:
    """Escape text for an element or a quoted attribute of HTML."""
    return html.escape(printable(text, keep=keep))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
