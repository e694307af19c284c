"""Names that the locale cannot write, and runs of plug-ins that are not installed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.conftest import run_pgen

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
TINY = ("--n-hidden", 4, "--max-steps", 2, "--checkpoint", 1, "--sample-size", 2)


def test_names_that_the_locale_cannot_write(tmp_path: Path) -> None:
    environment = {**os.environ, **ASCII}

    def pgen(*arguments: object) -> str:
        done = run_pgen(*arguments, cwd=tmp_path, env=environment, fresh=True)
        assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
        return done.stdout

    (tmp_path / "Größe Ω").mkdir()
    pgen("data", "simulate", "-n", 30, "--size", 8, "--out", "Größe Ω/é.h5")
    pgen("train", "gan", "--data", "Größe Ω/é.h5", *TINY, "--name", "x")
    pgen("evaluate", "physics", "--generated", "Größe Ω/é.h5", "--train", "simulate:n=30,size=8,seed=2", "--held-out", "Größe Ω/é.h5",
         "--out", "Größe Ω/results")  # fmt: skip
    assert "saved step-00000002" in (tmp_path / "runs/x/log.txt").read_text(encoding="utf-8")
    # In another locale it is the same run.
    done = run_pgen("train", "gan", "--resume", "runs/x", "--max-steps", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_run_of_a_plug_in_that_is_not_installed_names_its_package(pgen, refuses, tmp_path: Path) -> None:
    pgen("train", "gan", "--data", "simulate:n=24,size=8,seed=1", *TINY, "--name", "x", cwd=tmp_path)
    config = tmp_path / "runs/x/config.json"
    whole = json.loads(config.read_text())
    for about, saying in (
        ({"distribution": "pgen-absent", "version": "4.2"}, "'absent' of pgen-absent 4.2, which is not installed; install that package"),
        ({"distribution": "pytest", "version": "0.1"}, "'absent' of pytest 0.1, the installed pytest"),
        ("damaged", "There is no model called 'absent'"),
        ({"distribution": 3, "version": None}, "There is no model called 'absent'"),
    ):
        config.write_text(json.dumps({**whole, "model": "absent", "plugin": about}))
        refuses("sample", "runs/x", "-n", 2, "--out", "y.h5", saying=saying, cwd=tmp_path)
