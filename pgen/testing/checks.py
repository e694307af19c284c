"""What is asked of a model: each check returns, or raises why it does not hold."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pgen.data import ArrayImages, write_images
from pgen.data.formats.codes import LatentCodes
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
from pgen.plugins.registry import Plugin
from pgen.plugins.requests import DeployRequest, SampleRequest
from pgen.plugins.specs import ModelConfig

#: Steps within which every parameter must have had a gradient.
MOST_STEPS = 300
BATCH = 16
#: Ends without an error if help of `pgen train NAME` can be shown, and no torch was needed for it.
_HELP = """
import sys
from pgen.cli.app import main
sys.argv = ["pgen", "train", sys.argv[1], "--help"]
try:
    main()
except SystemExit as end:
    if end.code:
        raise
assert "torch" not in sys.modules, "its options import torch; move that into the module of the model"
"""


class Skipped(Exception):
    """Raised by a check that does not concern this model, or this machine."""


@dataclass
class Subject:
    """The model that is asked, and what comes of earlier checks for later ones. steps: how many every parameter needs to get a gradient.
    failed: whether it could not be trained."""

    plugin: Plugin
    folder: Path
    data: str
    options: dict[str, Any]
    steps: int = 1
    failed: bool = False

    @cached_property
    def config(self) -> ModelConfig:
        return self.plugin.config_class().model_validate(self.options)

    def settings(self, name: str, **values: Any) -> TrainConfig:
        source = "data" if self.plugin.spec.inputs == "images" else "targets"
        common = {
            source: values.pop("data", self.data),
            "name": name,
            "save_root": str(self.folder),
            "device": "cpu",
            "batch_size": BATCH,
            "sample_size": 0,
            "num_epochs": 10**6,
            "lr_decay": 1.0,  # a rate that falls would depend on the length of a run, which differs from check to check
        }
        return TrainConfig.model_validate({**self.plugin.spec.settings, **common, **values})

    @cached_property
    def untrained(self) -> Run:
        return create_run(self.plugin.spec.name, self.settings("untrained"), self.config).run

    @cached_property
    def trained(self) -> Run:
        """A run that was trained for twice as many steps as needed, without a break."""
        if self.failed:
            raise Skipped("training failed, as told above")
        self.failed = True
        run = self.train("trained", max_steps=2 * self.steps)
        self.failed = False
        return run

    def train(self, name: str, **values: Any) -> Run:
        session = create_run(self.plugin.spec.name, self.settings(name, **values), self.config)
        hooks.train_session(session)
        return session.run

    def batch(self, run: Run) -> Tensor:
        """A batch of images, or all targets, as the engine would give them."""
        if self.plugin.spec.inputs == "images":
            return run.data.read(range(min(BATCH, len(run.data)))).to(run.device)
        return run.data.targets(ProcessGroup().shards(len(run.data))[0], sparse=self.plugin.spec.sparse).to(run.device)

    def steps_of(self, run: Run, model: nn.Module) -> Iterator[tuple[Trainer, dict[str, Tensor]]]:
        """Training steps without the engine's loop."""
        trainer = Trainer(model.optimizers(), run.device, run.settings)  # type: ignore[operator]
        batch, (part,) = self.batch(run), ProcessGroup().shards(BATCH)
        model.train()
        for step in range(MOST_STEPS):
            trainer.start_step(step, 0.0)
            trainer.start_microbatch(part, 0, 1)
            yield trainer, model.training_step(batch, trainer)  # type: ignore[operator]


def has(model: nn.Module, *methods: str) -> bool:
    return all(callable(getattr(model, name, None)) for name in methods)


def own_training(subject: Subject) -> bool:
    return bool(subject.plugin.manager.hook.train.get_hookimpls())


def help_is_shown(subject: Subject) -> None:
    command = [sys.executable, "-c", _HELP, subject.plugin.spec.name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    said = done.stderr.strip().splitlines() or ["it says nothing"]
    assert done.returncode == 0, said[-1].removeprefix("AssertionError: ").removeprefix("Error: ")


def options_are_sound(subject: Subject) -> None:
    undescribed = [name for name, field in subject.plugin.config_class().model_fields.items() if not field.description]
    assert not undescribed, f"{', '.join(undescribed)}: no description, which is the help text of an option"
    _ = subject.config
    subject.settings("unused")


def model_is_built(subject: Subject) -> None:
    model = subject.untrained.new_model()
    assert isinstance(model, nn.Module), f"it is a {type(model).__name__}, wanted a torch.nn.Module"
    optimizers = model.optimizers()  # type: ignore[operator]
    kind = torch.optim.Optimizer
    sound = isinstance(optimizers, dict) and all(isinstance(each, kind) for each in optimizers.values())
    assert sound, f"optimizers() returned {optimizers!r}, wanted a dictionary of name and torch.optim.Optimizer"
    still = parameters_without_optimizer(model, optimizers)
    assert not still, f"{', '.join(still)}: in no optimiser, so never trained; add them, or set requires_grad to False"


def gradients_reach_all(subject: Subject) -> None:
    if own_training(subject):
        raise Skipped("it has a train hook of its own")
    run = subject.untrained
    model = run.new_model()
    waiting = {name for name, p in model.named_parameters() if p.requires_grad}
    still: set[str] = set()
    for step, (trainer, metrics) in enumerate(subject.steps_of(run, model)):
        check_metrics(subject.plugin, "training_step", metrics)
        _assert_finite("training_step", metrics, f"after {step + 1} step(s)")
        still = (still if step else set(trainer.optimizers)) - trainer.updated
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), f"the gradient of {name} is not finite"
                waiting.discard(name)
        if not waiting:
            told = ", ".join(sorted(still))
            assert not still, f"{told}: not moved; training_step must give trainer.update the optimiser's name and its loss"
            subject.steps = step + 1
            return
    raise AssertionError(f"{', '.join(sorted(waiting))}: no gradient in {MOST_STEPS} steps; does trainer.update get a loss of them?")


def held_out_is_judged(subject: Subject) -> None:
    run, best = subject.untrained, subject.plugin.spec.best
    model = run.new_model().eval()
    if not has(model, "held_out_step"):
        assert best is None, f"its spec's best is {best!r}, which held_out_step would return, and there is none"
        raise Skipped("it has no held_out_step")
    with torch.no_grad():
        metrics = model.held_out_step(run.data.read(range(min(4, len(run.data)))))  # type: ignore[operator]
    check_held_out(subject.plugin, metrics)
    _assert_finite("held_out_step", metrics, "before training")


def training_goes_on(subject: Subject) -> None:
    if own_training(subject):
        raise Skipped("it has a train hook of its own")
    subject.train("resumed", max_steps=subject.steps)
    path = subject.folder / "resumed"
    session = resume_run(path, subject.settings("resumed", max_steps=2 * subject.steps))
    hooks.train_session(session)
    straight, broken = checkpoints.load(subject.trained.folder), checkpoints.load(session.run.folder)
    differ = [name for name, value in straight.model.items() if not _same(value, broken.model[name])]
    assert not differ, (
        f"{', '.join(differ)}: other values after training in two goes than in one. State must be in state_dict(), and random numbers "
        "must come from trainer.generator() or trainer.sample_noise()"
    )


def weights_are_kept(subject: Subject) -> None:
    run = subject.trained
    again = Run.open(run.folder.path).load_model()
    assert not again.training, "a loaded model must be in evaluation mode"
    if not own_training(subject):
        _assert_kept(run, again)


def weights_are_averaged(subject: Subject) -> None:
    if own_training(subject):
        raise Skipped("it has a train hook of its own")
    run = subject.train("averaged", max_steps=subject.steps, ema=0.9)
    model = Run.open(run.folder.path).load_model()
    _assert_kept(run, model)
    saved = checkpoints.load(run.folder)
    loaded, trained = extra_state(model.state_dict()), extra_state(saved.model)
    differ = [name for name, value in trained.items() if not _same(value, loaded.get(name))]
    assert not differ, f"{', '.join(differ)}: with averaged weights another extra state than that of the trained model"


def _assert_kept(run: Run, model: nn.Module) -> None:
    expected, state = checkpoints.load(run.folder).inference_state, model.state_dict()
    differ = [name for name, value in expected.items() if name not in state or not _same(value, state[name])]
    assert not differ, f"{', '.join(differ)}: other values in model/weights.safetensors than in the checkpoint"


def samples_are_repeatable(subject: Subject) -> None:
    run = subject.trained
    model = run.load_model()
    if not has(model, "sample"):
        raise Skipped("it has no sample")
    for n in (1, 5):
        one, two = (generate_samples(run, model, n, torch.Generator().manual_seed(7)) for _ in range(2))
        assert torch.isfinite(one).all(), "samples are not finite"
        assert torch.equal(one, two), "one seed gives different samples; draw from the generator that is passed, and from nothing else"
    if run.info.kind == "images":
        _assert_range(one, run)
    to_images = run.image_decoder()
    images, _ = make_sampler(run, model, to_images).draw(5, torch.Generator().manual_seed(7))
    assert torch.isfinite(images).all(), "samples in charge units are not finite"
    assert to_images.transform.signed or (images >= 0).all(), "samples of unsigned charge are negative"


def signs_are_kept(subject: Subject) -> None:
    samples = subject.untrained.data.samples
    if isinstance(samples, LatentCodes):
        raise Skipped("the data are codes")
    pixels = samples.read(range(min(4 * BATCH, len(samples)))).copy()
    pixels[..., ::2] *= -1
    path = write_images(subject.folder / "signed.npz", ArrayImages(pixels))
    try:
        run = subject.train("signed", data=str(path), max_steps=subject.steps)
    except PgenError as error:
        raise Skipped(f"it refuses signed charge: {error}") from error
    model = run.load_model()
    if has(model, "sample"):
        output = generate_samples(run, model, BATCH, torch.Generator().manual_seed(7))
    elif has(model, "encode", "decode"):
        with torch.no_grad():
            output = model.decode(model.encode(run.data.read(range(min(BATCH, len(run.data))))))  # type: ignore[operator]
    else:
        raise Skipped("it has neither sample nor encode and decode")
    _assert_range(output, run)
    advice = "end in tanh, not in a sigmoid, where data.signed, or refuse such data by a UserError"
    assert (output < 0).any(), f"trained on charge of both signs, it generates none that is negative; {advice}"


def labels_are_told(subject: Subject) -> None:
    if not (subject.plugin.spec.conditional and {"pdg", "momentum"} <= set(subject.untrained.info.labels)):
        raise Skipped("its spec does not say that it is conditional, or the data have no labels pdg and momentum")
    run = subject.train("conditional", condition="type,momentum", max_steps=subject.steps)
    if has(model := run.load_model(), "sample"):
        images, labels = make_sampler(run, model, run.image_decoder()).draw(5, torch.Generator().manual_seed(7))
        assert torch.isfinite(images).all() and len(labels["pdg"]) == 5


def samples_are_written(subject: Subject) -> None:
    run = subject.trained
    if not has(run.load_model(), "sample") and not subject.plugin.manager.hook.sample.get_hookimpls():
        raise Skipped("it has no sample")
    from pgen.data import open_images

    path = hooks.call(run, "sample", request=SampleRequest(n=5, out=subject.folder / "samples.h5"))
    written = open_images(str(path))
    assert len(written) == 5, f"the sample hook wrote {len(written)} images, wanted 5"
    assert written.unit == run.image_decoder().unit, (
        f"the samples are in {written.unit!r}, the training images in {run.image_decoder().unit!r}"
    )


def codes_come_back(subject: Subject) -> None:
    run = subject.trained
    model = run.load_model()
    if not has(model, "encode", "decode"):
        raise Skipped("it has no encode and decode")
    images = run.data.read(range(min(3, len(run.data))))
    with torch.no_grad():
        codes = model.encode(images)  # type: ignore[operator]
        decoded = model.decode(codes)  # type: ignore[operator]
    assert codes.ndim == 2 and len(codes) == len(images), f"encode of {len(images)} images gives {tuple(codes.shape)}, wanted (n, D)"
    size = getattr(model, "latent_size", codes.shape[1])
    assert size == codes.shape[1], f"latent_size is {size}, but encode gives codes of {codes.shape[1]}"
    assert decoded.shape == images.shape, f"decode has the shape {tuple(decoded.shape)}, wanted {tuple(images.shape)}"


def deploys(subject: Subject) -> None:
    run = subject.trained
    out = subject.folder / "deploy"
    written = hooks.call(run, "deploy", request=DeployRequest(out=out))
    assert written and all(path.is_file() for path in written), f"the deploy hook says it wrote {written!r}, wanted files that are there"
    for path in written:
        if path.name == "generator.pt2":
            from pgen.engine.artifacts.exported_program import load_program

            program, facts = load_program(path, torch.device("cpu"))
            images = program(torch.zeros(2, *facts["noise"]))
            assert len(images) == 2, f"generator.pt2 turns noise of 2 into {len(images)} images"


def runs_on_cuda(subject: Subject) -> None:
    if not torch.cuda.is_available():
        raise Skipped("no GPU on this machine")
    run = subject.train("cuda", max_steps=2, device="cuda")
    model = run.load_model()
    if has(model, "sample"):
        generate_samples(run, model, 2, torch.Generator(run.device).manual_seed(0))


def _assert_range(samples: Tensor, run: Run) -> None:
    low, high, lowest = float(samples.min()), float(samples.max()), -1 if run.info.signed else 0
    message = f"samples lie between {low:.3g} and {high:.3g}, wanted {lowest} to 1, as the images of a batch"
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
    "help of its options, without torch": help_is_shown,
    "options have defaults and descriptions": options_are_sound,
    "model and optimisers": model_is_built,
    "every parameter gets a gradient, and moves": gradients_reach_all,
    "held-out images are judged": held_out_is_judged,
    "training in two goes is training in one": training_goes_on,
    "weights are kept": weights_are_kept,
    "weights are averaged (--ema)": weights_are_averaged,
    "samples: shape, one seed one sample": samples_are_repeatable,
    "signed charge": signs_are_kept,
    "samples are made for labels": labels_are_told,
    "samples are written in charge units": samples_are_written,
    "codes: encode and decode": codes_come_back,
    "deploy": deploys,
    "a GPU": runs_on_cuda,
}
#: Checks without which the rest make no sense.
NEEDED = (help_is_shown, options_are_sound, model_is_built, gradients_reach_all)
