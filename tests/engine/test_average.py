"""The EMA of weights (--ema) and the state that is not averaged: extra state, counters, buffers of any type."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pgen.engine import hooks
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.weights import save_weights
from pgen.engine.run import Run
from pgen.engine.training.ema import ExponentialMovingAverage
from pgen.errors import PgenError
from tests.helpers.packages import fake_package
from tests.helpers.trained import trained

IMAGES = "simulate:n=40,size=8,seed=5"


class Counter(nn.Module):
    """A module with extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, object] = {"steps": 0, "recent": torch.zeros(2)}

    def get_extra_state(self) -> dict[str, object]:
        return self.values

    def set_extra_state(self, state: dict[str, object]) -> None:
        self.values = state


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(2, 2), Counter()])
        self.register_buffer("hits", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("is_hit", torch.zeros(3, dtype=torch.bool), persistent=False)
        self.order = nn.Parameter(torch.arange(4), requires_grad=False)


def test_state_that_is_not_averaged_is_copied_from_the_model() -> None:
    model = Nested()
    ema = ExponentialMovingAverage(model, 0.9)
    for step in range(1, 4):
        with torch.no_grad():
            model.parts[0].weight.fill_(step)
        model.parts[1].values["steps"] = step
        model.parts[1].values["recent"].fill_(step)
        model.hits += 2
        model.is_hit = torch.tensor([True, False, step > 2])  # another tensor than before
        model.order.data = model.order.data.flip(0)
        ema.update(model)
    copied = ema.model
    assert copied.parts[1].values["steps"] == 3 and copied.parts[1].values["recent"].tolist() == [3, 3]
    assert copied.hits.tolist() == [6, 6, 6] and copied.is_hit.tolist() == [True, False, True] and copied.order.tolist() == [3, 2, 1, 0]
    assert 1 < copied.parts[0].weight[0, 0] < 3
    model.parts[1].values["recent"].fill_(9)
    assert copied.parts[1].values["recent"].tolist() == [3, 3]  # a copy


@pytest.mark.parametrize("model", [nn.Linear(3, 1), nn.Sequential(nn.ReLU()), nn.BatchNorm2d(2, affine=False)])
def test_models_without_buffers_or_without_parameters_can_be_averaged(model: nn.Module) -> None:
    ema = ExponentialMovingAverage(model, 0.5)
    for _ in range(2):
        ema.update(model)
    assert ema.updates == 2 and ema.model.state_dict().keys() == model.state_dict().keys()


def test_models_that_cannot_be_averaged_are_refused() -> None:
    model = nn.Linear(2, 2)
    ema = ExponentialMovingAverage(model, 0.5)
    model.late = nn.Parameter(torch.zeros(1))
    with pytest.raises(PgenError, match="`ema`: late of the model appeared, vanished or changed shape"):
        ema.update(model)
    with pytest.raises(PgenError, match="weight of the model"):
        ExponentialMovingAverage(nn.LazyLinear(3), 0.5)
    model = nn.Linear(2, 2)
    model.handle = (line for line in ())
    with pytest.raises(PgenError, match=r"`ema=0.5`: the model cannot be copied \(TypeError"):
        ExponentialMovingAverage(model, 0.5)


OPTIONS = """
from pgen import ModelConfig, ModelSpec, hookimpl
class Config(ModelConfig):
    pass
@hookimpl
def pgen_model():
    return ModelSpec("{name}", "a model", "{name}_module:Config", "{name}_torch:Model")
"""
MODEL = """
import torch
class Steps(torch.nn.Module):
    count = 0
    def get_extra_state(self):
        return {"count": self.count, "log": [1.5, None, torch.ones(2)], "odd": ODD}
    def set_extra_state(self, state):
        self.count = state["count"]
class Model(torch.nn.Module):
    def __init__(self, config, data):
        super().__init__()
        self.shape, self.steps = data.shape, Steps()
        self.mean = torch.nn.Parameter(torch.zeros(data.shape))
    def optimizers(self):
        return {"mean": torch.optim.SGD([self.mean], lr=0.1)}
    def training_step(self, batch, trainer):
        self.steps.count += len(batch)
        loss = (batch - self.mean).square().mean()
        trainer.update("mean", loss)
        return {"mse": loss}
    def sample(self, n, *, generator):
        assert self.steps.count, "drawn from an untrained model"
        return self.mean.expand(n, *self.shape)
"""


@pytest.fixture
def make_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def make(name: str, odd: str = "1") -> str:
        fake_package(tmp_path, name, OPTIONS.replace("{name}", name))
        (tmp_path / f"{name}_torch.py").write_text(MODEL.replace("ODD", odd))
        return name

    monkeypatch.syspath_prepend(tmp_path)
    return make


def test_extra_state_of_plain_values_survives_training_and_a_resume(make_package, tmp_path: Path) -> None:
    from pgen.engine.training.setup import resume_run

    run = trained(make_package("counting"), IMAGES, tmp_path / "runs", ema=0.8, batch_size=8, max_steps=3, sample_size=2)
    assert run.load_model("best").steps.count == run.load_model("last:raw").steps.count == 24
    resumed = resume_run(run.folder.path, run.settings.model_copy(update={"max_steps": 5}))
    hooks.train_session(resumed)
    assert Run.open(run.folder.path).load_model().steps.count == 40


def test_extra_state_that_cannot_be_restored_is_refused_before_training(make_package, tmp_path: Path) -> None:
    with pytest.raises(PgenError, match=r"Plug-in 'odd' of odd 2.0 is broken: get_extra_state returned a dict as steps._extra_state"):
        trained(make_package("odd", odd="slice(3)"), IMAGES, tmp_path / "runs", max_steps=1)


def test_ema_weights_of_an_earlier_version_get_the_extra_state_of_their_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained("flow", IMAGES, tmp_path, n_hidden=8, coupling="independent", num_epochs=3, batch_size=16)
    averaged, raw = run.load_model("best"), run.load_model("last:raw")
    assert run.settings.ema and (averaged.seen, averaged.count) == (raw.seen, raw.count) == (raw.seen, 40)
    assert not torch.equal(next(averaged.parameters()), next(raw.parameters()))

    # As earlier versions wrote it.
    untrained = {**averaged.state_dict(), "_extra_state": torch.zeros(2, dtype=torch.float64)}
    saved = checkpoints.load(run.folder)
    saved.average["model"] = untrained
    checkpoints.save(run.folder, saved, keep=3)
    save_weights(run.folder.weights, untrained, model="flow", config=run.config, data=run.info, step=saved.step)
    for checkpoint in ("best", "last", str(saved.step)):
        model = Run.open(run.folder.path).load_model(checkpoint)
        assert (model.seen, model.count) == (raw.seen, 40)
        assert torch.equal(next(model.parameters()), next(averaged.parameters()))

    checkpoints.path_of(run.folder, saved.step).unlink()
    old = Run.open(run.folder.path)
    caplog.clear()
    assert old.load_model("best").count == 0
    assert len(caplog.messages) == 1 and "that of the untrained model" in caplog.messages[0]


def test_weights_without_ema_keep_the_bytes_of_earlier_versions(tmp_path: Path) -> None:
    run = trained("flow", IMAGES, tmp_path, n_hidden=8, coupling="independent", num_epochs=1, batch_size=16, ema=0)
    assert b"trained_extra_state" not in run.folder.weights.read_bytes() and b"packed" not in run.folder.weights.read_bytes()
