"""The code blocks of the documentation work: quick commands are run, others are parsed."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers import warm
from tests.helpers.check_commands import find_problem
from tests.helpers.doc_blocks import ROOT, SHELL, Block, environment_with_packages, find_pages, read_blocks

BLOCKS = [block for page in find_pages() for block in read_blocks(page)]


def run(block: Block, folder: Path, words: list[str]) -> None:
    """Run a command in the folder of a page, with the packages that earlier commands made."""
    environment = environment_with_packages(folder, site=folder / ".site")
    if words[0] == "pgen":
        done = warm.run(words[1:], folder, environment)
    else:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{block.where}: {' '.join(words[:9])}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", find_pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    for block in read_blocks(page):
        if block.marker == "file":
            path = tmp_path / block.note
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
        elif block.marker:
            continue
        elif block.language == "python":
            run(block, tmp_path, [sys.executable, "-c", block.code])
        elif block.language in SHELL:
            for words in block.commands():
                assert words[0] == "pgen", f"{block.where}: `{' '.join(words)}` cannot be run here; mark the block as checked or not run"
                run(block, tmp_path, words)


def test_commands_that_are_not_run_can_be_parsed(tmp_path: Path) -> None:
    checked = [(block.where, words) for block in BLOCKS if block.marker == "checked" for words in block.pgen_commands()]
    assert checked
    done = subprocess.run(
        [sys.executable, ROOT / "tests/helpers/check_commands.py"],
        input=json.dumps([words for _, words in checked]),
        env=environment_with_packages(ROOT / "examples", site=tmp_path / ".site"),
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    problems = zip(checked, json.loads(done.stdout), strict=True)
    wrong = [f"{where}: pgen {' '.join(words)}: {problem}" for (where, words), problem in problems if problem]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_block_has_valid_syntax(block: Block) -> None:
    assert block.language in (*SHELL, "python", "toml", "json", "text"), f"{block.where}: unknown language {block.language}"
    assert block.marker != "checked" or block.pgen_commands(), f"{block.where}: there is no pgen command in it to check"
    if block.language == "toml":
        tomllib.loads(block.code)
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "python":
        compile(block.code, block.where, "exec")
    elif block.language in SHELL:
        done = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.where}: {done.stderr}"


def test_wrong_commands_are_found() -> None:
    assert find_problem(["train", "gan", "--data", "images.h5", "--n_hidden", "3"]) is None
    wrong = ("train gan --no-such-option 1", "train gan --n-layers zero", "train gan --lr-decay 2", "sample runs/x", "evaluat all", "data")
    for line in wrong:
        assert find_problem(line.split()), line
