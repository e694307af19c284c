"""Plug-ins of other people: a whole one, installed with pip, and broken ones, which must not take pgen down."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import open_images, read_all
from pgen.data.io.plugin_sources import get_source
from pgen.data.transforms.charge_scales import Scale
from pgen.plugins import hookspecs
from tests.helpers.packages import blocks, fake_package, on_path, pip_install, write_files

EXAMPLE = Path(__file__).parents[2] / "examples/pgen-dcgan"
IMAGES = "simulate:n=24,size=16,seed=1"
TINY = ("--n-layers", 2, "--depth", 4, "--batch-size", 12, "--num-epochs", 2)


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


def test_examples_of_the_hooks_run(pgen, tmp_path: Path) -> None:
    """What the docstrings of the hooks show, taken together, is a plug-in that pip installs and pgen uses."""
    files = blocks(hookspecs.pgen_model.__doc__)
    assert set(files) == {"pyproject.toml", "pgen_mean/__init__.py", "pgen_mean/model.py"}
    whole = {**files, "pgen_mean/__init__.py": files["pgen_mean/__init__.py"]}
    for hook in (hookspecs.train, hookspecs.deploy, hookspecs.sample):
        whole["pgen_mean/__init__.py"] += "\n" + blocks(hook.__doc__)[""]
    for name, contents in (("plain", files), ("hooks", whole)):
        env = on_path(pip_install(write_files(tmp_path / name, contents), tmp_path / f"{name}-site"))
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
    env = on_path(pip_install(write_files(tmp_path / "plugin", files), tmp_path / "site"))
    assert "contrast" in pgen("evaluate", "--help", env=env).stdout
    pgen("evaluate", "contrast", *SETS, "--out", "report", env=env, cwd=tmp_path)
    (found,) = json.loads((tmp_path / "report/results.json").read_text())["generated"].values()
    assert [measure["name"] for measure in found["metrics"]["contrast"]["measures"]] == ["brightest pixel"]


def test_examples_of_a_source_and_a_scale_run(pgen, refuses, tmp_path: Path) -> None:
    for name, text in (("rings", get_source.__doc__), ("cubic", Scale.__doc__)):
        files = {file or "pyproject.toml": code for file, code in blocks(text).items()}
        assert set(files) == {"pyproject.toml", f"pgen_{name}.py"}
        pip_install(write_files(tmp_path / name, files), tmp_path / "site")
    env = on_path(tmp_path / "site")
    tiny = ("--n-hidden", 8, "--max-steps", 2, "--sample-size", 0)
    pgen("train", "gan", "--data", "rings:n=40,size=16", "--scale", "cbrt", *tiny, "--name", "x", env=env, cwd=tmp_path)
    # The curve is in the exported program too.
    pgen("deploy", "runs/x", env=env, cwd=tmp_path)
    for what, out in (("runs/x", "run.npz"), ("runs/x/deploy/generator.pt2", "program.npz")):
        pgen("sample", what, "-n", 4, "--out", out, env=env, cwd=tmp_path)
    run, program = (read_all(open_images(str(tmp_path / out))) for out in ("run.npz", "program.npz"))
    assert run.shape == (4, 1, 16, 16) and np.allclose(run, program, rtol=1e-4, atol=1e-3) and run.max() > 1
    refuses("train", "gan", "--data", "rings:sizes=1", saying="unknown option sizes=. Did you mean size=?", env=env, cwd=tmp_path)
    refuses(
        "train", "gan", "--data", "rings", "--scale", "cube", saying="expected one of linear, sqrt, log, asinh, cbrt", env=env, cwd=tmp_path
    )
    # Without the plug-in its run says what it lacks.
    refuses("sample", "runs/x", "-n", 1, "--out", "y.h5", saying="--scale cbrt: expected one of", cwd=tmp_path)


def test_broken_sources_and_scales_are_named(pgen, refuses, tmp_path: Path) -> None:
    fake_package(tmp_path, "nothing", "def f(src, root): return [1]", group="pgen.sources", attribute="f")
    fake_package(tmp_path, "crashing", "def f(src, root): return {}['rings']", group="pgen.sources", attribute="f")
    fake_package(tmp_path, "missing", "import surely_not_there", group="pgen.sources", attribute="f")
    fake_package(tmp_path, "curve", "f = 1", group="pgen.scales", attribute="f")
    for name, curve, _ in CURVES:
        fake_package(
            tmp_path, name, f"from pgen.data.transforms.charge_scales import Scale\nf = Scale({curve})", group="pgen.scales", attribute="f"
        )
    env = on_path(tmp_path)
    for name, cause in (("nothing", "lacks name, shape"), ("crashing", "KeyError: 'rings'"), ("missing", "surely_not_there")):
        refuses("data", "info", name, saying=cause, env=env, cwd=tmp_path)
        refuses("data", "info", name, saying=f"{name} 2.0", env=env, cwd=tmp_path)
    refuses(
        "train",
        "gan",
        "--data",
        IMAGES,
        "--scale",
        "curve",
        saying="it offers 1, expected a pgen.data.transforms.charge_scales.Scale",
        env=env,
        cwd=tmp_path,
    )
    for name, _, cause in CURVES:
        refuses("train", "gan", "--data", IMAGES, "--scale", name, saying=f"{name} 2.0 is broken: {cause}", env=env, cwd=tmp_path)
    pgen("data", "info", IMAGES, env=env, cwd=tmp_path)


CURVES = [
    ("falling", "lambda x: -x, lambda y: -y", "its forward gives f(0) = -0, f(0) = -0, f(0.005) = -0.005; expected 0 at 0, and increasing"),
    ("raised", "lambda x: x + 1, lambda y: y - 1", "its forward gives f(0) = 1; expected 0 at 0"),
    ("oneway", "lambda x: x ** 0.25, lambda y: y**2", "its inverse does not undo its forward"),
    ("dipping", "lambda x: x * (x - 0.5) ** 2, lambda y: y", "its forward gives f(0) = 0, f(0.165) = 0.0185, f(0.17) = 0.0185; expected"),
    ("wordless", "lambda x: x.sqr(), lambda y: y", "AttributeError: 'Tensor' object has no attribute 'sqr'"),
]
METRIC = (
    "from pgen import MetricSpec, hookimpl\n@hookimpl\ndef pgen_metrics():\n    return [MetricSpec({name!r}, 'a metric', {function!r})]\n"
)
BROKEN_METRICS = {
    "raises": ("raise RuntimeError('its library is missing')", "its library is missing"),
    "heavy": ("import torch\n" + METRIC.format(name="heavy", function="a:b"), "imports torch"),
    "nospec": ("from pgen import hookimpl\n@hookimpl\ndef pgen_metrics():\n    return ['physics']\n", "expected pgen.MetricSpec"),
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
    told = pgen("evaluate", "--help", env=env, fresh=True)  # nothing has imported torch yet
    for name, (_, cause) in BROKEN_METRICS.items():
        assert f"{name} 2.0 is broken" in told.stderr and cause in told.stderr
    assert "kpd" in told.stdout and "nowhere" in told.stdout
    for name, (_, cause) in FAILING_METRICS.items():
        refuses("evaluate", name, *SETS, "--out", "x", saying=cause, env=env, cwd=tmp_path)
        refuses("evaluate", name, *SETS, "--out", "x", saying=f"{name} 2.0 is broken", env=env, cwd=tmp_path)
    pgen("evaluate", "fpd", *SETS, "--out", "x", env=env, cwd=tmp_path)


HOOK = "from pgen import ModelSpec, hookimpl\n@hookimpl\ndef pgen_model():\n    return ModelSpec({name!r}, 'a model', 'a:B', 'a:C')\n"
#: A model whose options and module are one; torch comes where it is used.
CRASHING = """
from pgen import ModelConfig, ModelSpec, hookimpl
@hookimpl
def pgen_model():
    return ModelSpec({name!r}, 'a model', '{name}_module:Config', '{name}_module:Model')
class Config(ModelConfig):
    pass
class Model:
    def __new__(cls, config, data):
        import torch
        class Real(torch.nn.Module):
            def __init__(self):
                super().__init__()
                {crash}  # __init__
                self.mean = torch.nn.Parameter(torch.zeros(data.shape))
            def optimizers(self):
                return {{'mean': torch.optim.SGD([self.mean], lr=0.1)}}
            def training_step(self, batch, trainer):
                {crash}  # training_step
                loss = (batch - self.mean).square().mean()
                trainer.update('mean', loss)
                return {{'mse': loss}}
        return Real()
    def optimizers(self): ...
    def training_step(self, batch, trainer): ...

"""
BROKEN = {
    "raises": ("raise RuntimeError('its library is missing')", "RuntimeError: its library is missing"),
    "heavy": ("import torch\n" + HOOK.format(name="heavy"), "imports torch"),
    "nohook": ("", "returned None"),
    "misnamed": (HOOK.format(name="another"), "its spec says 'another'"),
    "nowhere": (HOOK.format(name="nowhere"), "'a:B' does not import"),
    "wrongtype": (
        HOOK.format(name="wrongtype").replace("a:B", "wrongtype_module:Config") + "class Config:\n    lr: float = 1.0\n",
        "expected a subclass of pgen.ModelConfig",
    ),
    "clash": (
        HOOK.format(name="clash").replace("a:B", "clash_module:Config")
        + "from pgen import ModelConfig\nclass Config(ModelConfig):\n    batch_size: int = 1\n",
        "--batch-size are also options of pgen; rename them",
    ),
    "unshowable": (
        HOOK.format(name="unshowable").replace("a:B", "unshowable_module:Config")
        + "from pgen import ModelConfig\nclass Config(ModelConfig):\n    layers: list[int] = [1]\n",
        "--layers has type list[int]",
    ),
    "newer": (HOOK.format(name="newer").replace("'a:C'", "'a:C', api=99"), "version 99 of pgen's plug-in API"),
    "badhook": (HOOK.format(name="badhook") + "@hookimpl\ndef train(run, epochs):\n    pass\n", "epochs"),
}


def fails(pgen, tmp_path: Path, name: str, *saying: str) -> None:
    """Trained, it ends with one sentence that names package, version and cause."""
    done = pgen("train", name, "--data", IMAGES, "--max-steps", 1, code=2, env=on_path(tmp_path), cwd=tmp_path, fresh=name == "heavy")
    sentence = " ".join(done.stderr.split())
    assert "Traceback" not in sentence and all(said in sentence for said in (f"{name} 2.0", *saying)), sentence


def test_broken_plug_ins_are_shown_with_their_cause(pgen, tmp_path: Path) -> None:
    for name, (code, _) in BROKEN.items():
        fake_package(tmp_path, name, code)
    fake_package(tmp_path, "slow", "import time\ntime.sleep(0.6)\n" + CRASHING.format(name="slow", crash="pass"))
    env = {**on_path(tmp_path), "COLUMNS": "250"}
    listing = " ".join(pgen("models", env=env, fresh=True).stdout.split())
    assert "two MLPs" in listing
    assert "slow 2.0 takes" in listing
    for name, (_, cause) in BROKEN.items():
        assert f"{name} 2.0 is broken" in listing
        fails(pgen, tmp_path, name, cause)
    pgen("train", "gan", "--dry-run", env=env)
    pgen("train", "gan", "--data", IMAGES, "--max-steps", 1, "--sample-size", 0, "--name", "sound", env=env, cwd=tmp_path)
    pgen("sample", "runs/sound", "-n", 2, "--out", "x.h5", env=env, cwd=tmp_path)
    pgen("evaluate", "losses", "runs/sound", env=env, cwd=tmp_path)


@pytest.mark.parametrize(
    ("where", "crash"),
    [("__init__", "{}['weights']"), ("training_step", "raise RuntimeError('two lines\\nof it')"), ("hook", "1 / 0")],
)
def test_a_crash_in_a_plug_in_names_it_and_the_line(where: str, crash: str, pgen, tmp_path: Path) -> None:
    code = CRASHING.format(name="crash", crash="pass")
    if where == "hook":
        code += f"@hookimpl\ndef train(run):\n    {crash}\n"
    else:
        code = code.replace(f"pass  # {where}", crash)
    fake_package(tmp_path, "crash", code)
    line = next(number for number, text in enumerate(code.splitlines(), 1) if crash in text)
    cause = {"__init__": "KeyError: 'weights'", "training_step": "RuntimeError: two lines of it", "hook": "ZeroDivisionError"}[where]
    place = f"crash_module.py:{line}, in {'train' if where == 'hook' else where}"
    fails(pgen, tmp_path, "crash", cause, place)
    told = pgen("--debug", "train", "crash", "--data", IMAGES, code=1, env=on_path(tmp_path), cwd=tmp_path)
    assert "Traceback" in told.stderr


def test_one_name_from_two_packages(refuses, tmp_path: Path) -> None:
    fake_package(tmp_path, "gan", "")
    refuses("train", "gan", "--data", IMAGES, saying="offered by pgen", env=on_path(tmp_path), cwd=tmp_path)
