"""Input that is broken, or made to do harm: a sentence, no code run, nothing lost. See benchmarks/engine_hostile.py for a thousand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pgen.engine.artifacts.program_audit import check_program
from tests.helpers.hostile import KINDS, make_valid_files

ROOT = Path(__file__).parents[2]


def test_hostile_input(pgen, tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    make_valid_files(tmp_path / "sound", pgen)
    arguments = map(str, (tmp_path / "sound", tmp_path / "place", 0, 4 * len(KINDS)))
    command = [sys.executable, "-m", "tests.helpers.hostile_run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["failed"] == 0, done.stdout
    # They are hostile indeed.
    assert sum(found["refused"].values()) > found["cases"] / 2
    check_program(tmp_path / "sound/generator.pt2")


def test_the_exploits_would_work_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests above would find nothing."""
    from tests.helpers.hostile import CANARY, Exploit

    monkeypatch.chdir(tmp_path)
    torch.save({"model": Exploit()}, "x.pt")
    torch.load("x.pt", weights_only=False)
    assert Path(CANARY).exists()
