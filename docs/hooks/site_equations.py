"""TeX to MathML, which browsers draw by themselves: no script and no fonts of another site are needed."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def as_mathml(page: str) -> str:
    """The page with every equation that arithmatex marked in MathML."""
    return _EQUATION.sub(_converted, page)


def _converted(found: re.Match[str]) -> str:
    block = found[1] == "div"
    math = convert(html.unescape(found[2]).strip(), display="block" if block else "inline")
    return f'<div class="equation">{math}</div>' if block else math
