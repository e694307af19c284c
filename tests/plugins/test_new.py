"""A package that `pgen plugin new` wrote works as it is, with the oldest Typer that pgen allows too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.packages import on_path, pip_install

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the new package pgen-my-model, and one with what pip made of it, site."""
    root = tmp_path_factory.mktemp("new")
    made = subprocess.run([sys.executable, "-m", "pgen", "plugin", "new", "my-model"], cwd=root, capture_output=True, text=True, check=True)
    assert "pgen-my-model/pyproject.toml" in made.stdout and "Next: pip install -e pgen-my-model" in made.stdout
    pip_install(root / "pgen-my-model", root / "site")
    return root


def test_its_own_tests_pass(package: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(
        command, cwd=package / "pgen-my-model", env=on_path(package / "site"), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_it_trains(package: Path, pgen, tmp_path: Path) -> None:
    env = on_path(package / "site")
    pgen("train", "my-model", "--data", "simulate:n=24,size=16,seed=1", "--max-steps", 3, "--name", "x", env=env, cwd=tmp_path)
    assert "--n-steps" in pgen("train", "my-model", "--help", env=env).stdout


def test_it_is_as_ruff_would_have_it(package: Path) -> None:
    for check in (("check",), ("format", "--check")):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--isolated"],
            cwd=package / "pgen-my-model",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_conforms_with_the_oldest_typer(package: Path, pgen, tmp_path: Path) -> None:
    oldest = re.search(r'"typer>=([\d.]+),', (REPOSITORY / "pyproject.toml").read_text())[1]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", tmp_path / "typer", f"typer=={oldest}.0"]
    got = subprocess.run(pip, capture_output=True, text=True, timeout=120, check=False)
    if got.returncode:
        pytest.skip(f"typer {oldest} cannot be fetched: {got.stderr.strip().splitlines()[-1]}")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path / 'typer'}{os.pathsep}{package / 'site'}"}
    said = pgen("plugin", "check", "my-model", env=env, fresh=True).stdout
    assert "my-model passes all checks." in said and "✓ deploy" in said


def test_names_that_cannot_be(refuses, tmp_path: Path) -> None:
    for name, why in (("My_model", "use lower-case letters"), ("gan", "is installed already"), ("../x", "use lower-case letters")):
        refuses("plugin", "new", name, saying=why, cwd=tmp_path)
    (tmp_path / "pgen-taken").mkdir()
    refuses("plugin", "new", "taken", saying="exists already", cwd=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pgen-taken"]
    refuses("plugin", "check", "nothing", saying="no model called 'nothing'", cwd=tmp_path)
