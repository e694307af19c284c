"""Plug-ins of other people: a whole one, installed with pip, and broken ones, which must not take pgen down."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from pgen.data import open_images, read_all
from pgen.plugins import hookspecs

EXAMPLE = Path(__file__).parents[2] / "examples/pgen-dcgan"
IMAGES = "simulate:n=24,size=16,seed=1"
TINY = ("--n-layers", 2, "--depth", 4, "--batch-size", 12, "--num-epochs", 2)


def on_path(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}


def pip_install(source: Path, site: Path) -> Path:
    """The folder ``site`` of packages, with the one in ``source`` put there by pip."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", site, source]
    subprocess.run(pip, check=True, timeout=120)
    return site


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages in which pip has put pgen-dcgan."""
    root = tmp_path_factory.mktemp("dcgan")
    return pip_install(shutil.copytree(EXAMPLE, root / "source"), root / "site")  # building leaves files in the source folder


def test_example_trains_samples_and_deploys(installed: Path, pgen, tmp_path: Path) -> None:
    env = on_path(installed)
    assert "--d-lr" in pgen("train", "dcgan", "--help", env=env).stdout
    pgen("train", "dcgan", "--data", IMAGES, *TINY, "--name", "x", env=env, cwd=tmp_path)
    pgen("sample", "runs/x", "-n", 5, "--out", "x.h5", env=env, cwd=tmp_path)
    assert read_all(open_images(str(tmp_path / "x.h5"))).shape == (5, 1, 16, 16)
    pgen("deploy", "runs/x", env=env, cwd=tmp_path)
    program = torch.export.load(tmp_path / "runs/x/deploy/generator.pt2").module()
    assert program(torch.randn(3, 64)).shape == (3, 1, 16, 16)


def test_example_is_listed_with_its_package(installed: Path, pgen) -> None:
    line = next(line for line in pgen("models", env=on_path(installed)).stdout.splitlines() if "dcgan" in line)
    assert "pgen-dcgan" in line and "0.1.0" in line


def test_its_errors_leave_no_run_behind(installed: Path, refuses, tmp_path: Path) -> None:
    arguments = ("train", "dcgan", "--data", IMAGES, "--n-layers", 5, "--name", "x")
    refuses(*arguments, saying="--n-layers 5", env=on_path(installed), cwd=tmp_path)
    assert not (tmp_path / "runs/x").exists()


def blocks(text: str) -> dict[str, str]:
    """The code blocks of a docstring by the file that is named before each; of a nameless one, by ``""``."""
    lines, found, name = textwrap.dedent(f"    {text}").splitlines(), {}, ""
    for number, line in enumerate(lines):
        if line.endswith("::"):
            name = match[1] if (match := re.search(r"``(\S+)``::$", line)) else ""
            code = itertools.takewhile(lambda line: not line or line.startswith(" "), lines[number + 1 :])
            found[name] = textwrap.dedent("\n".join(code))
    return found


def test_examples_of_the_hooks_run(pgen, tmp_path: Path) -> None:
    """What the docstrings of the hooks show, taken together, is a plug-in that pip installs and pgen uses."""
    files = blocks(hookspecs.pgen_model.__doc__)
    assert set(files) == {"pyproject.toml", "pgen_mean/__init__.py", "pgen_mean/model.py"}
    whole = {**files, "pgen_mean/__init__.py": files["pgen_mean/__init__.py"]}
    for hook in (hookspecs.train, hookspecs.deploy, hookspecs.sample):
        whole["pgen_mean/__init__.py"] += "\n" + blocks(hook.__doc__)[""]
    for name, contents in (("plain", files), ("hooks", whole)):
        for file, text in contents.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        env = on_path(pip_install(tmp_path / name, tmp_path / f"{name}-site"))
        pgen("train", "mean", "--data", IMAGES, "--lr", 0.2, "--max-steps", 5, "--name", name, env=env, cwd=tmp_path)
        pgen("sample", f"runs/{name}", "-n", 3, "--out", f"{name}.h5", env=env, cwd=tmp_path)
        assert read_all(open_images(str(tmp_path / f"{name}.h5"))).shape == (3, 1, 16, 16)
    pgen("deploy", "runs/hooks", env=env, cwd=tmp_path)
    assert float((tmp_path / "runs/hooks/deploy/mean.txt").read_text()) > 0


SOURCE = "simulate:n=60,size=16,seed=1,entries="
SETS = ("--generated", f"{SOURCE}0-20", "--train", f"{SOURCE}20-40", "--held-out", f"{SOURCE}40-60")


def test_example_of_a_metric_runs(pgen, tmp_path: Path) -> None:
    files = blocks(hookspecs.pgen_metrics.__doc__)
    assert set(files) == {"pyproject.toml", "pgen_contrast/__init__.py", "pgen_contrast/metric.py"}
    for file, text in files.items():
        (tmp_path / "plugin" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "plugin" / file).write_text(text)
    env = on_path(pip_install(tmp_path / "plugin", tmp_path / "site"))
    assert "contrast" in pgen("evaluate", "--help", env=env).stdout
    pgen("evaluate", "contrast", *SETS, "--out", "report", env=env, cwd=tmp_path)
    (found,) = json.loads((tmp_path / "report/results.json").read_text())["generated"].values()
    assert [measure["name"] for measure in found["metrics"]["contrast"]["measures"]] == ["brightest pixel"]


METRIC = (
    "from pgen import MetricSpec, hookimpl\n@hookimpl\ndef pgen_metrics():\n    return [MetricSpec({name!r}, 'a metric', {function!r})]\n"
)
BROKEN_METRICS = {
    "raises": ("raise RuntimeError('its library is missing')", "its library is missing"),
    "heavy": ("import torch\n" + METRIC.format(name="heavy", function="a:b"), "imports torch"),
    "nospec": ("from pgen import hookimpl\n@hookimpl\ndef pgen_metrics():\n    return ['physics']\n", "wanted pgen.MetricSpec"),
    "double": (METRIC.format(name="physics", function="a:b"), "'physics' is offered by pgen"),
}
FAILING_METRICS = {
    "nowhere": ("a:b", "No module named 'a'"),
    "wrong": ("builtins:len", "TypeError"),
    "list": ("builtins:id", "returned int"),
}


def test_broken_metrics_are_named_and_take_nothing_down(pgen, refuses, tmp_path: Path) -> None:
    for name, (code, _) in BROKEN_METRICS.items():
        fake_package(tmp_path, name, code, group="pgen.metrics")
    for name, (function, _) in FAILING_METRICS.items():
        fake_package(tmp_path, name, METRIC.format(name=name, function=function), group="pgen.metrics")
    env = {**on_path(tmp_path), "COLUMNS": "250"}
    told = pgen("evaluate", "--help", env=env)
    for name, (_, cause) in BROKEN_METRICS.items():
        assert f"{name} 2.0 is broken" in told.stderr and cause in told.stderr
    assert "kpd" in told.stdout and "nowhere" in told.stdout
    for name, (_, cause) in FAILING_METRICS.items():
        refuses("evaluate", name, *SETS, "--out", "x", saying=cause, env=env, cwd=tmp_path)
        refuses("evaluate", name, *SETS, "--out", "x", saying=f"{name} 2.0 is broken", env=env, cwd=tmp_path)
    pgen("evaluate", "fpd", *SETS, "--out", "x", env=env, cwd=tmp_path)


HOOK = "from pgen import ModelSpec, hookimpl\n@hookimpl\ndef pgen_model():\n    return ModelSpec({name!r}, 'a model', 'a:B', 'a:C')\n"
BROKEN = {
    "raises": ("raise RuntimeError('its library is missing')", "RuntimeError: its library is missing"),
    "heavy": ("import torch\n" + HOOK.format(name="heavy"), "imports torch"),
    "nohook": ("", "returned None"),
    "misnamed": (HOOK.format(name="another"), "its spec says 'another'"),
    "nowhere": (HOOK.format(name="nowhere"), "'a:B' does not import"),
    "badhook": (HOOK.format(name="badhook") + "@hookimpl\ndef train(run, epochs):\n    pass\n", "epochs"),
}


def fake_package(folder: Path, name: str, code: str, group: str = "pgen.models") -> None:
    """What pip would leave behind of a one-module plug-in called ``name``."""
    (folder / f"{name}_module.py").write_text(code)
    info = folder / f"{name}-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}_module\n")


def test_broken_plug_ins_are_shown_with_their_cause(pgen, refuses, tmp_path: Path) -> None:
    for name, (code, _) in BROKEN.items():
        fake_package(tmp_path, name, code)
    env = {**on_path(tmp_path), "COLUMNS": "250"}
    listing = " ".join(pgen("models", env=env).stdout.split())
    assert "two perceptrons" in listing
    for name, (_, cause) in BROKEN.items():
        assert f"{name} 2.0 is broken" in listing
        refuses("train", name, "--data", IMAGES, saying=cause, env=env, cwd=tmp_path)
        refuses("train", name, "--data", IMAGES, saying=f"{name} 2.0", env=env, cwd=tmp_path)
    pgen("train", "gan", "--dry-run", env=env)


def test_one_name_from_two_packages(refuses, tmp_path: Path) -> None:
    fake_package(tmp_path, "gan", "")
    refuses("train", "gan", "--data", IMAGES, saying="offered by pgen", env=on_path(tmp_path), cwd=tmp_path)
