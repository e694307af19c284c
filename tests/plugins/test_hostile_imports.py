"""Plug-ins that do more at import than define things: each is named, and ends or moves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pgen.plugins import registry
from tests.helpers.packages import fake_package, on_path
from tests.plugins.test_third_party import CRASHING

IMAGES = "simulate:n=24,size=8,seed=1"
HOOK = """
from pgen import ModelSpec, hookimpl
@hookimpl
def pgen_model():
    {body}
    return ModelSpec({name!r}, 'a model', 'a:B', 'a:C')
"""
#: name: (group, code, what is said of it)
PLUGINS = {
    "exits": ("pgen.models", "import sys\nsys.exit('no licence')", "SystemExit: no licence"),
    "leaves": ("pgen.models", HOOK.format(body="raise SystemExit(0)", name="leaves"), "its hook pgen_model fails: SystemExit: 0"),
    "odd": ("pgen.models", "class Odd(BaseException): pass\nraise Odd('as it likes')", "Odd: as it likes"),
    "moves": ("pgen.models", "import os\nos.chdir('/')\n" + HOOK.format(body="pass", name="moves"), "changes the working folder"),
    "metric": ("pgen.metrics", "raise SystemExit('no GPU')", "SystemExit: no GPU"),
    "sink": ("pgen.loggers", "raise SystemExit('no account')", "SystemExit: no account"),
    "scale": ("pgen.scales", "raise GeneratorExit('odd')", "GeneratorExit: odd"),
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    for name, (group, code, _) in PLUGINS.items():
        fake_package(tmp_path, name, "print('loading', __name__)\n" + code, group, "" if group == "pgen.models" else "thing")
    return {**on_path(tmp_path), "COLUMNS": "300"}


def test_lists_and_help_outlive_them(environment: dict[str, str], pgen, tmp_path: Path) -> None:
    done = pgen("models", env=environment, cwd=tmp_path)
    for name in ("exits", "leaves", "odd", "moves"):
        assert f"Plug-in {name!r} of {name} 2.0 is broken" in done.stdout and PLUGINS[name][2] in done.stdout
    assert "gan" in done.stdout and "loading" not in done.stdout
    doctor = json.loads(pgen("doctor", "--json", code=1, env=environment, cwd=tmp_path).stdout)  # nothing is printed into it
    missing = "\n".join(doctor["missing"])
    for name, (_, _, cause) in PLUGINS.items():
        assert f"{name!r} of {name} 2.0" in missing and cause in missing, name
    assert doctor["Folders"]["runs"].startswith(str(tmp_path / "runs"))
    assert "exits" in pgen("train", "--help", env=environment, cwd=tmp_path).stdout


def test_others_work_and_they_are_named(environment: dict[str, str], pgen, refuses, tmp_path: Path) -> None:
    arguments = ("--data", IMAGES, "--max-steps", 1, "--sample-size", 0, "--name", "x")
    pgen("train", "gan", *arguments, env=environment, cwd=tmp_path)
    for name, more in (("exits", ()), ("gan", ("--log-to", "sink")), ("gan", ("--scale", "scale"))):
        named = more[-1] if more else name
        refuses("train", name, *arguments[:-1], "y", *more, saying=f"Plug-in {named!r} of {named} 2.0", env=environment, cwd=tmp_path)
    assert not (tmp_path / "runs/y").exists()


def test_a_plug_in_that_exits_while_it_trains_is_no_success(refuses, tmp_path: Path) -> None:
    code = CRASHING.format(name="quits", crash="pass").replace("pass  # training_step", "__import__('sys').exit(0)")
    fake_package(tmp_path, "quits", code)
    refuses(
        "train", "quits", "--data", IMAGES, saying="Plug-in 'quits' of quits 2.0 failed: SystemExit: 0", env=on_path(tmp_path), cwd=tmp_path
    )


def test_ctrl_c_during_an_import_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, "interrupted", "raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        registry.load("interrupted")
