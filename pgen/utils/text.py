"""Make text from files and other programs safe to show.

Labels, units, ids, file names, summaries of plug-ins and messages of libraries can contain
anything: terminal escapes, line breaks, characters that reverse the reading direction, Rich markup,
TeX, HTML. Data keep such text unchanged. It is made safe where it is shown:

* the terminal: ``pgen.cli.console.Terminal`` applies :func:`printable` to all output, and does not
  interpret markup;
* log.txt: :func:`printable`, so that an entry is one line;
* figures: ``pgen.report.figures.base.save_figure`` disables TeX and applies :func:`printable`;
* HTML: ``pgen.report.html_report`` applies :func:`printable` to all text, which jinja2 escapes;
  ``pgen.report.tables`` applies :func:`html_text`.
"""

from __future__ import annotations

import html

#: Longest name in tables and figures, in characters.
LIMIT = 60


def printable(text: str, *, keep: str = "") -> str:
    r"""Replace each character that is not printable by its escape.

    These are control characters (``\x1b``, ``\n``, C1), directional and zero-width marks
    (``\u202e``), line separators, lone surrogates (from file names that are not Unicode),
    unassigned and private characters.

    Args:
        text: Any text.
        keep: Characters to leave unchanged, such as pgen's own line breaks.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character in keep else _escape(character) for character in text)


def shorten(text: str, limit: int = LIMIT) -> str:
    """Make a text printable on one line, and cut out the middle of a long one.

    Both ends stay because names can differ at either, as in ``<label> accuracy``.
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
