"""`pgen doctor` and distributions that are not pgen's."""

from __future__ import annotations

import json
import os
from pathlib import Path


def test_another_project_called_pgen_is_reported(pgen, tmp_path: Path) -> None:
    stranger = tmp_path / "pgen-0.2.1.dist-info"
    stranger.mkdir()
    (stranger / "METADATA").write_text("Metadata-Version: 2.1\nName: pgen\nVersion: 0.2.1\n")
    report = json.loads(pgen("doctor", "--json", code=1, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}).stdout)
    (problem,) = [problem for problem in report["missing"] if "0.2.1" in problem]
    assert "another project" in problem and "pip uninstall pgen" in problem
    assert "torch" in report["Versions"]["required"]  # of pgen's own distribution
