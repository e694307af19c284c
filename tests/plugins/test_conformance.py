"""pgen's checks of a model find each fault that they are for, and pass what has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgen.testing import check_model, run_checks
from tests.helpers.packages import fake_package

#: A model in two modules, the second of which is the one that has the fault: (old text, new text).
OPTIONS = """
from pgen import ModelConfig, ModelSpec, hookimpl
from pydantic import Field
class Config(ModelConfig):
    lr: float = Field(0.1, description="Learning rate.")
@hookimpl
def pgen_model():
    return ModelSpec("{name}", "a model", "{name}_module:Config", "{name}_torch:Model")
"""
MODEL = """
import torch
class Model(torch.nn.Module):
    def __init__(self, config, data):
        super().__init__()
        self.config, self.shape = config, data.shape
        self.mean = torch.nn.Parameter(torch.zeros(data.shape))
        self.spare = torch.nn.Parameter(torch.zeros(2), requires_grad=False)
        self.count = 0
    def optimizers(self):
        return {"mean": torch.optim.SGD([self.mean], lr=self.config.lr)}
    def training_step(self, batch, trainer):
        self.count += 1
        loss = (batch - self.mean).square().mean()
        trainer.update("mean", loss)
        return {"mse": loss}
    def held_out_step(self, batch):
        return {"mse": (batch - self.mean).square().mean()}
    def noise(self, n, *, generator):
        return torch.randn(n, 3, generator=generator, device=generator.device)
    def forward(self, noise):
        return self.mean + 1e-4 * noise.sum(dim=1)[:, None, None, None]
    def sample(self, n, *, generator):
        return self(self.noise(n, generator=generator))
"""
FAULTS = {
    "undescribed": (OPTIONS, ', description="Learning rate."', "", "lr: no description"),
    "untrained": (MODEL, "torch.zeros(2), requires_grad=False", "torch.zeros(2)", "spare: in no optimiser"),
    "idle": (
        MODEL.replace("torch.zeros(2), requires_grad=False", "torch.zeros(2)"), "[self.mean]", "self.parameters()",
        "spare: no gradient in 300 steps",
    ),
    "listed": (MODEL, 'return {"mean": torch.optim.SGD([self.mean], lr=self.config.lr)}', "return []", "optimizers() returned []"),
    "plain": (MODEL, 'return {"mse": loss}', 'return {"mse": loss.item()}', "expected a scalar tensor"),
    "half": (
        MODEL.replace('return {"mean":', 'return {"other": torch.optim.SGD([self.spare], lr=0.1), "mean":'),
        "torch.zeros(2), requires_grad=False)", "torch.zeros(2)); self.spare.grad = torch.ones(2)", "other: never updated",
    ),
    "nothing": (MODEL, 'return {"mse": loss}', "pass", "training_step returned NoneType, expected a dictionary of scalar tensors"),
    "still": (MODEL, 'trainer.update("mean", loss)', "loss.backward()", "mean: never updated"),
    "misjudged": (OPTIONS, '"{name}_torch:Model"', '"{name}_torch:Model", best="held_out_mse"', "but held_out_step returns mse"),
    "bright": (MODEL, "return self.mean +", "return 1000 + self.mean +", "expected 0 to 1"),
    "infinite": (MODEL, 'return {"mse": loss}', 'return {"mse": loss / 0}', "metric mse of training_step is inf"),
    "forgetful": (MODEL, "(batch - self.mean)", "(batch - self.count * self.mean)", "mean: different after resumed training"),
    "random": (MODEL, "return self(self.noise(n, generator=generator))", "return self(torch.randn(n, 3))", "one seed gives different"),
    "flat": (MODEL, "return self(self.noise(n, generator=generator))", "return torch.zeros(n, 5)", "has the shape (1, 5), expected (1, 1,"),
    "positive": (
        MODEL, "return self.mean + 1e-4 * noise.sum(dim=1)[:, None, None, None]",
        "return (self.mean + 1e-4 * noise.sum(dim=1)[:, None, None, None]).clamp(0, 1)", "generates no negative charge",
    ),
    "unexportable": (MODEL, "return self.mean +", "noise.tolist(); return self.mean +", "generator.pt2"),
}  # fmt: skip


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A model that is installed for the length of a test, in this process and in those that it starts."""

    def offer(name: str, options: str = OPTIONS, model: str = MODEL) -> str:
        fake_package(tmp_path, name, options.replace("{name}", name))
        (tmp_path / f"{name}_torch.py").write_text(model)
        return name

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return offer


DATA = "simulate:n=20,size=8,seed=1"


def test_a_sound_model_passes(offered) -> None:
    found = check_model(offered("sound"), data=DATA)
    assert {check.name: check.skipped for check in found if check.skipped}.keys() <= {
        "codes: encode and decode",
        "conditional samples",
        "GPU",
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, offered) -> None:
    source, old, new, told = FAULTS[fault]
    assert old in source
    changed = source.replace(old, new)
    name = offered(fault, **{"options" if "ModelSpec" in source else "model": changed})
    problem = next(check.problem for check in run_checks(name, data=DATA) if check.problem)
    assert told in problem


def test_a_model_that_encodes_and_generates_is_deployed_as_both(offered, pgen, tmp_path: Path) -> None:
    coder = MODEL + "    def encode(self, images):\n        return images.flatten(1)[:, :3]\n    decode = forward\n"
    arguments = ("train", offered("both", model=coder), "--data", DATA, "--max-steps", 1, "--sample-size", 0, "--name", "x")
    pgen(*arguments, cwd=tmp_path)
    said = pgen("deploy", "runs/x", cwd=tmp_path).stdout
    assert {path.name for path in (tmp_path / "runs/x/deploy").iterdir()} == {
        "codes.pt", "decoder.safetensors", "reconstructions.h5", "reconstructions.png", "generator.pt2",
    }  # fmt: skip
    assert "--targets runs/x/deploy/codes.pt" in said and "pgen sample runs/x/deploy/generator.pt2" in said


def test_all_faults_are_told_at_once(offered) -> None:
    model = MODEL
    for fault in ("forgetful", "random"):
        _, old, new, _ = FAULTS[fault]
        model = model.replace(old, new)
    with pytest.raises(AssertionError, match=r"resumed training(.|\n)*one seed gives different"):
        check_model(offered("several", model=model), data=DATA)


@pytest.mark.parametrize(("old", "new", "told"), [
    ('return {"mse": loss}', "pass", "training_step returned NoneType, expected a dictionary"),
    ("return self(self.noise(n, generator=generator))", "return torch.zeros(n, 4)", "sample(16) has the shape (16, 4), expected (16, 1,"),
    ('return {"mse": (batch - self.mean)', 'return {"error": (batch - self.mean)', "its best is 'mse', but held_out_step returns error"),
    ("return {\"mse\": (batch - self.mean).square().mean()}", "pass", "held_out_step returned NoneType"),
])  # fmt: skip
def test_training_tells_what_does_not_fit_as_the_plug_ins_fault(old: str, new: str, told: str, offered, refuses, tmp_path: Path) -> None:
    assert old in MODEL
    name = offered("odd", OPTIONS.replace('"{name}_torch:Model"', '"{name}_torch:Model", best="mse"'), MODEL.replace(old, new))
    arguments = ("train", name, "--data", DATA, "--held-out", "simulate:n=4,size=8,seed=2", "--max-steps", 2, "--name", "x")
    refuses(*arguments, saying=f"Plug-in 'odd' of odd 2.0 is broken: {told}", cwd=tmp_path)


def test_parameters_that_stay_as_they_are_are_told_at_the_start(offered, pgen, tmp_path: Path) -> None:
    model = MODEL.replace("torch.zeros(2), requires_grad=False", "torch.zeros(2)")
    said = pgen("train", offered("part", model=model), "--data", DATA, "--max-steps", 1, "--name", "x", cwd=tmp_path).stderr
    assert "warning: spare of the model are in no optimiser" in said
