"""TeX to MathML, which browsers render without scripts or fonts from another site."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def to_mathml(page: str) -> str:
    """Replace every equation that arithmatex marked."""
    return _EQUATION.sub(_convert, page)


def _convert(match: re.Match[str]) -> str:
    is_block = match[1] == "div"
    math = convert(html.unescape(match[2]).strip(), display="block" if is_block else "inline")
    return f'<div class="equation">{math}</div>' if is_block else math
