"""Pages can be read without a build: tables are up to date, links and names exist."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*/*.md")]

_LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def test_generated_tables_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs/hooks/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"run `python docs/hooks/generate.py`:\n{done.stdout}{done.stderr}"


def make_anchor(heading: str) -> str:
    """The anchor of a heading, as MkDocs and GitHub make it."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text)).strip("-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """In the repository; `mkdocs build --strict` checks the links of the site."""
    wrong = []
    for link in _LINK.findall(_FENCED.sub("", page.read_text())):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            wrong.append(link)
        elif anchor.startswith("pgen."):
            assert path.name == "api.md", link  # the anchor of a docstring
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", path.read_text()), re.MULTILINE)
            if anchor not in map(make_anchor, headings):
                wrong.append(link)
    assert not wrong, wrong


def find_names() -> list[str]:
    """The names whose documentation api.md shows."""
    names = []
    blocks = re.findall(r"^::: ([\w.]+)\n((?:    .*\n)*)", (ROOT / "docs/api.md").read_text() + "\n", re.MULTILINE)
    for name, options in blocks:
        members = (yaml.safe_load(options) or {}).get("options", {}).get("members", []) if options else []
        names += [f"{name}.{member}" for member in members] or [name]
    return names


@pytest.mark.parametrize("name", find_names())
def test_documented_name_exists(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert getattr(importlib.import_module(module), attribute) is not None


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", ROOT / "README.md"], ids=lambda page: page.name)
def test_paths_in_a_page_exist(page: Path) -> None:
    paths = set(re.findall(r"`((?:pgen|tests|docs|benchmarks|examples)/[\w./-]+)`", page.read_text()))
    assert not {path for path in paths if not (ROOT / path).exists()}


def test_checks_of_a_model_are_documented() -> None:
    from pgen.testing.checks import CHECKS

    table = (ROOT / "docs/recipes/plugin.md").read_text().partition("| check | requirement |")[2].partition("\n\n")[0]
    assert [row.split(" | ")[0].removeprefix("| ") for row in table.replace("`--ema`", "--ema").splitlines()[2:]] == list(CHECKS)
