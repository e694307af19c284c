"""`pgen train MODEL --preset NAME`: what a preset holds, what comes before it, and the figures beside it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from pgen.cli.commands import presets
from pgen.engine.config import TrainConfig, validate_options
from pgen.plugins import registry
from tests.conftest import IMAGES

TINY = ("--n-hidden", 8, "--max-steps", 2, "--sample-size", 0)
BUILT_IN = {"ae", "ewm", "gan"}


@pytest.mark.parametrize("name", presets.preset_names())
def test_every_preset_is_valid_for_every_model_it_names(name: str) -> None:
    found = presets.load_tables(name)
    assert found.keys() <= BUILT_IN
    for model, options in found.items():
        plugin = registry.load(model)
        assert all("-" not in key for key in options)  # as in a run's config.json, and in one spelling
        validate_options([(TrainConfig, dict(plugin.spec.settings)), (plugin.config_class(), {})], options)


@pytest.mark.parametrize("name", presets.preset_names())
def test_what_was_measured_is_what_the_preset_says(name: str) -> None:
    text = (presets.FOLDER / f"{name}.json").read_text()
    measured = json.loads(text)
    assert measured["options"] == presets.load_tables(name)
    assert measured["figures"].keys() == measured["training_seconds"].keys() == measured["options"].keys()
    assert not any(word.startswith("/") for line in measured["commands_and_seconds"] for word in line.replace("=", " ").split())


def dry_run(pgen, *arguments: object, cwd: Path) -> dict:
    found = json.loads(pgen("train", *arguments, "--dry-run", cwd=cwd).stdout)
    return {**found["settings"], **found["config"]}


def test_defaults_then_preset_then_config_then_command_line(pgen, tmp_path: Path) -> None:
    preset = presets.load_tables("tracks64")["gan"]
    (tmp_path / "own.toml").write_text("num_epochs = 7\nd_lr = 0.25\n")
    found = dry_run(pgen, "gan", "--preset", "tracks64", "--config", "own.toml", "--d-lr", 0.125, cwd=tmp_path)
    assert (found["d_lr"], found["num_epochs"], found["g_lr"], found["z_dim"]) == (0.125, 7, preset["g_lr"], 100)


def test_either_name_of_the_data_stands_in_for_that_of_the_preset(pgen, tmp_path: Path) -> None:
    for option in ("--data", "--dataset"):
        found = dry_run(pgen, "gan", "--preset", "mnist", option, "other.h5", cwd=tmp_path)
        assert (found["data"] or found["dataset"]) == "other.h5"


def test_refusals(refuses, tmp_path: Path) -> None:
    refuses("train", "gan", "--preset", "tracks", saying="no such preset; presets of gan: mnist, tracks64", cwd=tmp_path)
    refuses("train", "gan", "--preset", "../presets/mnist", saying="there is no such preset", cwd=tmp_path)
    refuses("train", "gan", "--preset", "larcv256-conv", saying="it only has options for ae, ewm", cwd=tmp_path)
    # Together with everything else that is wrong.
    for part in ("--g-lr -1", "--num-epochs 0"):
        refuses("train", "gan", "--preset", "mnist", "--g-lr", -1, "--num-epochs", 0, saying=part, cwd=tmp_path)


def test_a_resumed_run_keeps_its_options(pgen, refuses, tmp_path: Path) -> None:
    run = ("train", "gan", "--preset", "mnist", "--data", IMAGES, *TINY, "--name", "x", "--resume", "auto")
    pgen(*run, cwd=tmp_path)
    pgen(*run, cwd=tmp_path)  # as a job script that is started again
    saved = json.loads((tmp_path / "runs/x/config.json").read_text())
    assert saved["settings"]["num_epochs"] == presets.load_tables("mnist")["gan"]["num_epochs"]
    refuses("train", "gan", "--preset", "tracks64", "--resume", "runs/x", saying="cannot change --threshold from 0.0 to 2", cwd=tmp_path)


def test_a_wheel_holds_them() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert "presets/*" in project["tool"]["setuptools"]["package-data"]["pgen"]
