"""Checks of a model against the plug-in API: each returns, or raises with what is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pgen.data import ArrayImages, write_images
from pgen.data.latents import LatentCodes
from pgen.engine import hooks
from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.weights import extra_state, pack
from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.inference.sampler import generate_samples, make_sampler
from pgen.engine.output_checks import check_held_out, check_metrics, parameters_without_optimizer
from pgen.engine.run import Run
from pgen.engine.training.setup import create_run, resume_run
from pgen.engine.training.trainer import Trainer
from pgen.errors import PgenError
from pgen.plugins.protocols import Model, RunInfo
from pgen.plugins.registry import Plugin
from pgen.plugins.requests import DeployRequest, SampleRequest
from pgen.plugins.specs import ModelConfig

#: Steps within which every parameter must get a gradient.
MOST_STEPS = 300
BATCH = 16
#: Fails if `pgen train NAME --help` fails or imports torch.
_HELP = """
import sys
from pgen.cli.app import main
sys.argv = ["pgen", "train", sys.argv[1], "--help"]
try:
    main()
except SystemExit as end:
    if end.code:
        raise
assert "torch" not in sys.modules, "its options import torch; import it in the module of the model only"
"""


class Skipped(Exception):
    """Raised by a check that does not apply to this model or this machine."""


@dataclass
class Subject:
    """The model under test, and the results of earlier checks that later ones use.

    Attributes:
        plugin: The model.
        folder: A temporary folder for runs.
        data: The source to train on.
        options: The model's options.
        steps: Steps that every parameter needs to get a gradient.
        failed: Whether training failed.
    """

    plugin: Plugin
    folder: Path
    data: str
    options: dict[str, Any]
    steps: int = 1
    failed: bool = False

    @cached_property
    def config(self) -> ModelConfig:
        """The validated options."""
        return self.plugin.config_class().model_validate(self.options)

    def settings(self, name: str, **values: Any) -> TrainConfig:
        """Return the engine's options for a run of this name."""
        source = "data" if self.plugin.spec.inputs == "images" else "targets"
        common = {
            source: values.pop("data", self.data),
            "name": name,
            "save_root": str(self.folder),
            "device": "cpu",
            "batch_size": BATCH,
            "sample_size": 0,
            "num_epochs": 10**6,
            "lr_decay": 1.0,  # or learning rates would depend on the length of the run
        }
        return TrainConfig.model_validate({**self.plugin.spec.settings, **common, **values})

    @cached_property
    def untrained_run(self) -> Run:
        """A run before training."""
        return create_run(self.plugin.spec.name, self.settings("untrained"), self.config).run

    @cached_property
    def trained_run(self) -> Run:
        """A run that was trained for twice as many steps as needed, without interruption."""
        if self.failed:
            raise Skipped("training failed, see above")
        self.failed = True
        run = self.train("trained", max_steps=2 * self.steps)
        self.failed = False
        return run

    def train(self, name: str, **values: Any) -> Run:
        """Train a new run with these options of the engine."""
        session = create_run(self.plugin.spec.name, self.settings(name, **values), self.config)
        hooks.train_session(session)
        return session.run

    def batch(self, run: Run) -> Tensor:
        """Return a batch of images, or all targets, as the engine would."""
        if self.plugin.spec.inputs == "images":
            return run.data.read(range(min(BATCH, len(run.data)))).to(run.device)
        return run.data.targets(ProcessGroup().shards(len(run.data))[0], sparse=self.plugin.spec.sparse).to(run.device)

    def steps_of(self, run: Run, model: nn.Module) -> Iterator[tuple[Trainer, dict[str, Tensor]]]:
        """Do training steps without the engine's loop, and yield the metrics of each."""
        trainer = Trainer(cast(Model, model).optimizers(), run.device, run.settings)
        batch, (part,) = self.batch(run), ProcessGroup().shards(BATCH)
        model.train()
        for step in range(MOST_STEPS):
            trainer.start_step(step, 0.0)
            trainer.start_microbatch(part, 0, 1)
            yield trainer, cast(Model, model).training_step(batch, trainer)


def has_methods(model: nn.Module, *methods: str) -> bool:
    """Whether a model has all of these methods."""
    return all(callable(getattr(model, name, None)) for name in methods)


def _has_train_hook(subject: Subject) -> bool:
    return bool(subject.plugin.manager.hook.train.get_hookimpls())


def check_help(subject: Subject) -> None:
    """Check that the help of the options works, without torch."""
    command = [sys.executable, "-c", _HELP, subject.plugin.spec.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = done.stderr.strip().splitlines() or ["no output"]
    assert done.returncode == 0, lines[-1].removeprefix("AssertionError: ").removeprefix("Error: ")


def check_options(subject: Subject) -> None:
    """Check that all options have defaults and descriptions."""
    undescribed = [name for name, field in subject.plugin.config_class().model_fields.items() if not field.description]
    assert not undescribed, f"{', '.join(undescribed)}: no description, which is the help text of an option"
    _ = subject.config
    subject.settings("unused")


def check_model_and_optimizers(subject: Subject) -> None:
    """Check that the model builds, with every parameter in an optimiser."""
    model = subject.untrained_run.new_model()
    assert isinstance(model, nn.Module), f"expected a torch.nn.Module, got {type(model).__name__}"
    optimizers = cast(Model, model).optimizers()
    is_valid = isinstance(optimizers, dict) and all(isinstance(value, torch.optim.Optimizer) for value in optimizers.values())
    assert is_valid, f"optimizers() returned {optimizers!r}, expected a dictionary of name and torch.optim.Optimizer"
    missing = parameters_without_optimizer(model, optimizers)
    assert not missing, f"{', '.join(missing)}: in no optimiser, so never trained; add them, or set requires_grad to False"


def check_gradients(subject: Subject) -> None:
    """Check that every parameter gets a finite gradient, and every optimiser steps."""
    if _has_train_hook(subject):
        raise Skipped("it has its own train hook")
    run = subject.untrained_run
    model = run.new_model()
    waiting = {name for name, p in model.named_parameters() if p.requires_grad}
    idle: set[str] = set()
    for step, (trainer, metrics) in enumerate(subject.steps_of(run, model)):
        check_metrics(subject.plugin, "training_step", metrics)
        _assert_finite("training_step", metrics, f"after {step + 1} step(s)")
        idle = (idle if step else set(trainer.optimizers)) - trainer.updated
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), f"the gradient of {name} is not finite"
                waiting.discard(name)
        if not waiting:
            names = ", ".join(sorted(idle))
            assert not idle, f"{names}: never updated; training_step must call trainer.update with the optimiser's name and its loss"
            subject.steps = step + 1
            return
    raise AssertionError(
        f"{', '.join(sorted(waiting))}: no gradient in {MOST_STEPS} steps; does the loss in trainer.update depend on them?"
    )


def check_held_out_metrics(subject: Subject) -> None:
    """Check what ``held_out_step`` returns."""
    run, best = subject.untrained_run, subject.plugin.spec.best
    model = run.new_model().eval()
    if not has_methods(model, "held_out_step"):
        assert best is None, f"its spec names {best!r} as best, but there is no held_out_step to return it"
        raise Skipped("it has no held_out_step")
    with torch.no_grad():
        metrics = model.held_out_step(run.data.read(range(min(4, len(run.data)))))  # type: ignore[operator]
    check_held_out(subject.plugin, metrics)
    _assert_finite("held_out_step", metrics, "before training")


def check_resume(subject: Subject) -> None:
    """Check that resumed training gives the same weights as uninterrupted training."""
    if _has_train_hook(subject):
        raise Skipped("it has its own train hook")
    subject.train("resumed", max_steps=subject.steps)
    path = subject.folder / "resumed"
    session = resume_run(path, subject.settings("resumed", max_steps=2 * subject.steps))
    hooks.train_session(session)
    straight, broken = checkpoints.load(subject.trained_run.folder), checkpoints.load(session.run.folder)
    differ = [name for name, value in straight.model.items() if not _same(value, broken.model[name])]
    assert not differ, (
        f"{', '.join(differ)}: different after resumed training than after uninterrupted training. State must be in state_dict(), and "
        "random numbers must come from trainer.generator() or trainer.sample_noise()"
    )


def check_saved_weights(subject: Subject) -> None:
    """Check that a loaded model has the trained weights."""
    run = subject.trained_run
    again = Run.open(run.folder.path).load_model()
    assert not again.training, "a loaded model must be in evaluation mode"
    if not _has_train_hook(subject):
        _assert_kept(run, again)


def check_averaged_weights(subject: Subject) -> None:
    """Check that a model can be trained and loaded with averaged weights."""
    if _has_train_hook(subject):
        raise Skipped("it has its own train hook")
    run = subject.train("averaged", max_steps=subject.steps, ema=0.9)
    model = Run.open(run.folder.path).load_model()
    _assert_kept(run, model)
    saved = checkpoints.load(run.folder)
    loaded, trained = extra_state(model.state_dict()), extra_state(saved.model)
    differ = [name for name, value in trained.items() if not _same(value, loaded.get(name))]
    assert not differ, f"{', '.join(differ)}: the extra state with averaged weights differs from that of the trained model"


def _assert_kept(run: Run, model: nn.Module) -> None:
    expected, state = checkpoints.load(run.folder).inference_state, model.state_dict()
    differ = [name for name, value in expected.items() if name not in state or not _same(value, state[name])]
    assert not differ, f"{', '.join(differ)}: different in model/weights.safetensors than in the checkpoint"


def check_samples(subject: Subject) -> None:
    """Check the shape, range and reproducibility of samples."""
    run = subject.trained_run
    model = run.load_model()
    if not has_methods(model, "sample"):
        raise Skipped("it has no sample")
    for n in (1, 5):
        one, two = (generate_samples(run, model, n, torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.isfinite(one).all(), "samples are not finite"
        assert torch.equal(one, two), "one seed gives different samples; draw only from the generator that is passed"
    if run.info.kind == "images":
        _assert_range(one, run)
    to_images = run.image_decoder()
    images, _ = make_sampler(run, model, to_images).draw(5, torch.Generator().manual_seed(7))
    assert torch.isfinite(images).all(), "samples in charge units are not finite"
    assert to_images.transform.signed or (images >= 0).all(), "samples of unsigned charge are negative"


def check_signed_charge(subject: Subject) -> None:
    """Check that a model of signed charge generates, or reconstructs, negative charge."""
    samples = subject.untrained_run.data.samples
    if isinstance(samples, LatentCodes):
        raise Skipped("the data are codes")
    pixels = samples.read(range(min(4 * BATCH, len(samples)))).copy()
    pixels[..., ::2] *= -1
    path = write_images(subject.folder / "signed.npz", ArrayImages(pixels))
    try:
        run = subject.train("signed", data=str(path), max_steps=subject.steps)
    except PgenError as error:
        raise Skipped(f"it does not support signed charge: {error}") from error
    model = run.load_model()
    if has_methods(model, "sample"):
        output = generate_samples(run, model, BATCH, torch.Generator().manual_seed(7))
    elif has_methods(model, "encode", "decode"):
        with torch.no_grad():
            output = model.decode(model.encode(run.data.read(range(min(BATCH, len(run.data))))))  # type: ignore[operator]
    else:
        raise Skipped("it has neither sample nor encode and decode")
    _assert_range(output, run)
    advice = "end in tanh instead of a sigmoid if data.signed, or raise a PgenError for such data"
    assert (output < 0).any(), f"trained on charge of both signs, it generates no negative charge; {advice}"


def check_conditional_samples(subject: Subject) -> None:
    """Check that a conditional model trains and samples with labels."""
    if not (subject.plugin.spec.conditional and {"pdg", "momentum"} <= set(subject.untrained_run.info.labels)):
        raise Skipped("its spec is not conditional, or the data have no labels pdg and momentum")
    run = subject.train("conditional", condition="type,momentum", max_steps=subject.steps)
    if has_methods(model := run.load_model(), "sample"):
        images, labels = make_sampler(run, model, run.image_decoder()).draw(5, torch.Generator().manual_seed(7))
        assert torch.isfinite(images).all() and len(labels["pdg"]) == 5


def check_sample_hook(subject: Subject) -> None:
    """Check that ``pgen sample`` writes images."""
    run = subject.trained_run
    if not has_methods(run.load_model(), "sample") and not subject.plugin.manager.hook.sample.get_hookimpls():
        raise Skipped("it has no sample")
    from pgen.data import open_images

    path = hooks.call(run, "sample", request=SampleRequest(n=5, out=subject.folder / "samples.h5"))
    written = open_images(str(path))
    assert len(written) == 5, f"the sample hook wrote {len(written)} images, expected 5"
    assert written.unit == run.image_decoder().unit, (
        f"the samples are in {written.unit!r}, the training images in {run.image_decoder().unit!r}"
    )


def check_codes(subject: Subject) -> None:
    """Check the shapes of ``encode`` and ``decode``."""
    run = subject.trained_run
    model = run.load_model()
    if not has_methods(model, "encode", "decode"):
        raise Skipped("it has no encode and decode")
    images = run.data.read(range(min(3, len(run.data))))
    with torch.no_grad():
        codes = model.encode(images)  # type: ignore[operator]
        decoded = model.decode(codes)  # type: ignore[operator]
    assert codes.ndim == 2 and len(codes) == len(images), f"encode of {len(images)} images returned {tuple(codes.shape)}, expected (n, D)"
    size = getattr(model, "latent_size", codes.shape[1])
    assert size == codes.shape[1], f"latent_size is {size}, but encode returns codes of {codes.shape[1]}"
    assert decoded.shape == images.shape, f"decode returned {tuple(decoded.shape)}, expected {tuple(images.shape)}"


def check_deploy(subject: Subject) -> None:
    """Check that ``pgen deploy`` writes files, and that generator.pt2 runs."""
    run = subject.trained_run
    out = subject.folder / "deploy"
    written = hooks.call(run, "deploy", request=DeployRequest(out=out))
    assert written and all(path.is_file() for path in written), f"the deploy hook returned {written!r}, expected files that exist"
    for path in written:
        if path.name == "generator.pt2":
            from pgen.engine.artifacts.exported_program import load_program

            program, facts = load_program(path, torch.device("cpu"))
            images = program(torch.zeros(2, *facts["noise"]))
            assert len(images) == 2, f"generator.pt2 turns noise of 2 into {len(images)} images"


def check_gpu(subject: Subject) -> None:
    """Check that the model trains and samples on a GPU."""
    if not torch.cuda.is_available():
        raise Skipped("no GPU on this machine")
    run = subject.train("cuda", max_steps=2, device="cuda")
    model = run.load_model()
    if has_methods(model, "sample"):
        generate_samples(run, model, 2, torch.Generator(run.device).manual_seed(0))


def _assert_range(samples: Tensor, run: Run) -> None:
    low, high, lowest = float(samples.min()), float(samples.max()), -1 if run.info.signed else 0
    message = f"samples lie between {low:.3g} and {high:.3g}, expected {lowest} to 1, as in a batch"
    assert low > lowest - 0.01 and high < 1.01, message


def _assert_finite(method: str, metrics: dict[str, Tensor], when: str) -> None:
    for name, value in metrics.items():
        assert torch.isfinite(value).all(), f"metric {name} of {method} is {value.item()} {when}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) != isinstance(other, Tensor):
        return False
    one, other = (value if isinstance(value, Tensor) else pack(value) for value in (one, other))
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


CHECKS: dict[str, Callable[[Subject], None]] = {
    "help without torch": check_help,
    "options have defaults and descriptions": check_options,
    "model and optimisers": check_model_and_optimizers,
    "every parameter gets a gradient and is updated": check_gradients,
    "held-out metrics": check_held_out_metrics,
    "resumed training equals uninterrupted training": check_resume,
    "weights are saved": check_saved_weights,
    "weights are averaged (--ema)": check_averaged_weights,
    "samples: shape, range, reproducible": check_samples,
    "signed charge": check_signed_charge,
    "conditional samples": check_conditional_samples,
    "samples are written in units of charge": check_sample_hook,
    "codes: encode and decode": check_codes,
    "deploy": check_deploy,
    "GPU": check_gpu,
}
#: Checks whose failure ends the others.
REQUIRED = (check_help, check_options, check_model_and_optimizers, check_gradients)

if TYPE_CHECKING:

    def _run_provides_run_info(run: Run) -> RunInfo:
        return run
