"""MkDocs hook: figures of benchmarks, equations as MathML, and pages that fetch nothing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import equations

ROOT = Path(__file__).parents[2]
#: Benchmarks write figures here. Pages link to them by their path in the repository.
FIGURES = "benchmarks/results"
#: Files of the repository that pages link to but that are not part of the site.
REPOSITORY = "https://github.com/pgen-lartpc/pgen/blob/main/"

#: What a browser would fetch by itself from another host.
_FETCH = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(?:https?:)?//|<link[^>]*\shref=[\"']?(?:https?:)?//[^>]*>")
#: A link out of docs/, such as `](../examples/demo.sh)`, from a page in docs/ or in a folder of it.
_OUTSIDE = re.compile(r"\]\((?:\.\./)+((?:examples|tests|pgen|benchmarks|\.github)/[^)]*|[A-Z][\w.]*(?:#[\w-]+)?)\)")


def on_files(files, config):
    for path in sorted((ROOT / FIGURES).glob("*.png")):
        files.append(File(f"{FIGURES}/{path.name}", str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, config, files):
    markdown = markdown.replace(f"](../{FIGURES}/", f"]({FIGURES}/")
    return _OUTSIDE.sub(lambda match: f"]({REPOSITORY}{match[1]})", markdown)


def on_page_content(html, page, config, files):
    return equations.to_mathml(html)


def on_post_page(output, page, config):
    if match := _FETCH.search(output):
        raise PluginError(f"{page.file.src_uri} would fetch something from elsewhere: {match[0]}")
    return output
