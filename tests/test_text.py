"""Text from files, made harmless."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pgen.utils.text import html_text, printable, shorten

#: What a label, a unit or a file name can hold -> how it is shown.
HOSTILE = {
    "\x1b[2J": r"\x1b[2J",  # clears a terminal
    "\x9b31m": r"\x9b31m",  # the same escape as one character of C1
    "a\r\nb\tc": r"a\r\nb\tc",
    "\u202egnp.exe": r"\u202egnp.exe",  # reads backwards
    "x\u200b\u2028y\u00ad": r"x\u200b\u2028y\xad",
    "caf\udce9": r"caf\udce9",  # a file name in Latin-1
    "\x00\x7f": r"\x00\x7f",
    "length [cm], μ→e, 粒子 🙂": "length [cm], μ→e, 粒子 🙂",
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_what_cannot_be_printed_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown == printable(shown)
    assert shown.encode()


def test_line_breaks_of_pgen_are_kept_where_it_says_so() -> None:
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_long_names_keep_both_ends() -> None:
    name = shorten("w" * 5000 + " accuracy", 30)
    assert len(name) == 30 and name.startswith("www") and name.endswith(" accuracy") and "…" in name
    assert shorten("short\n") == r"short\n"


def test_html_of_elements_and_attributes() -> None:
    assert html_text("</script>\"'&\x1b") == r"&lt;/script&gt;&quot;&#x27;&amp;\x1b"


PRINTED = r"""
from rich.table import Table
from rich.text import Text
from pgen.cli.console import console, progress_bar

name = "[/b][pe] length[cm] :smile: \x1b]0;T\x07 \x9b2J \u202e"
table = Table(name, title=name)
table.add_row(name)
table.add_row(Text(name))
console.print(name, table, Text(name), style="red")
with progress_bar() as bar:
    bar.start_task(name, 1, 2)
with progress_bar(name) as bar:
    bar(1, 2)
"""


def test_the_terminal_shows_markup_and_escapes_as_they_are() -> None:
    colours = {**os.environ, "FORCE_COLOR": "1"}  # progress bars are drawn, with Rich's own escapes
    done = subprocess.run([sys.executable, "-c", PRINTED], capture_output=True, text=True, check=True, timeout=60, env=colours)
    shown = done.stdout + done.stderr
    assert "[/b][pe] length[cm] :smile:" in shown and r"\x1b]0;T\x07" in shown and r"\x9b2J" in shown and r"\u202e" in shown
    assert not set("\x07\x9b\u202e") & set(shown)
    assert "\x1b]" not in shown and "\x1b[2J" not in shown
