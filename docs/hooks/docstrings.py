"""Griffe extension that turns reStructuredText marks in docstrings into Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`~?([\w.]+)`")
_LITERAL_BLOCK = re.compile(r"::$", re.MULTILINE)


class ReStructuredText(griffe.Extension):
    """``:class:`Name``` becomes code, and the ``::`` before an indented block a colon."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = _LITERAL_BLOCK.sub(":", _ROLE.sub(r"`\1`", obj.docstring.value))
