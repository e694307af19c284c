"""What the site has that is not written by hand: pages from the code and from figures, equations, pictures that benchmarks drew.

A page says where a part goes by a line ``<!-- generated: PART -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import site_api
import site_benchmarks
import site_commands
import site_comparison
import site_equations

ROOT = Path(__file__).parents[2]
#: Where benchmarks draw; pages name these pictures as they lie in the repository.
DRAWN = "benchmarks/results"

PARTS = {**site_commands.PARTS, **site_api.PARTS, **site_benchmarks.PARTS, **site_comparison.PARTS}
_PART = re.compile(r"^<!-- generated: (.+?) -->$", re.MULTILINE)
#: What a browser would fetch by itself from elsewhere.
_FETCHED = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(?:https?:)?//|<link[^>]*\shref=[\"']?(?:https?:)?//[^>]*>")


def on_files(files, config):
    for path in sorted((ROOT / DRAWN).glob("*.png")):
        files.append(File(f"{DRAWN}/{path.name}", str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, config, files):
    markdown = markdown.replace(f"](../{DRAWN}/", f"]({DRAWN}/")
    return _PART.sub(lambda found: _part(found[1], page.file.src_uri), markdown)


def on_page_content(html, page, config, files):
    return site_equations.as_mathml(html)


def on_post_page(output, page, config):
    if found := _FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} would fetch something from elsewhere: {found[0]}")
    return output


def _part(name: str, where: str) -> str:
    if name not in PARTS:
        raise PluginError(f"{where}: there is no generated part {name!r}; there are {', '.join(PARTS)}")
    return PARTS[name]()
