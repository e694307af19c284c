"""The state of training on this rank: model, optimisers and EMA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pgen.engine.artifacts.checkpoint import Checkpoint
from pgen.engine.artifacts.weights import load_state
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.output_checks import check_extra_state, check_metrics
from pgen.engine.runtime.device import configure_backend, precision_context
from pgen.engine.training.ema import ExponentialMovingAverage
from pgen.engine.training.session import TrainingSession
from pgen.engine.training.sync_layers import sync_batch_layers
from pgen.engine.training.trainer import Trainer
from pgen.errors import ConfigError, DeviceError, RunError, one_line, option
from pgen.utils.resources import describe_shortage, is_out_of_memory


class TrainState:
    """Model, optimisers and EMA of this rank.

    All ranks hold the same, but of the state that a model names in ``per_target`` each holds the
    rows of its targets. A checkpoint holds all rows, so it does not depend on the number of ranks.

    Attributes:
        model: The model that is trained.
        trainer: What its training_step is given.
        targets: The shard of the targets that this rank holds.
    """

    def __init__(self, session: TrainingSession) -> None:
        run, group = session.run, session.group
        self.run, self.group = run, group
        configure_backend(run.device, deterministic=run.settings.deterministic)
        settings = run.settings
        names = getattr(run.plugin.model_class(), "per_target", ())
        self._sharded: tuple[str, ...] = tuple(names) if group.count > 1 else ()
        self.targets = (group if self._sharded else ProcessGroup()).shards(run.info.count)[0]
        self.model = run.new_model(replace(run.info, count=self.targets.count) if self._sharded else run.info)
        check_extra_state(run.plugin, self.model.state_dict())
        self.trainer = Trainer(self.model.optimizers(), run.device, settings, group, session.log)  # type: ignore[operator]
        self._ema = ExponentialMovingAverage(self.model, settings.ema) if settings.ema else None
        if group.count * settings.accumulate > 1:
            sync_batch_layers(self.model, self.trainer)
        if settings.compile:
            for child in self.model.children():
                child.compile()

    def training_step(self, batch: Tensor) -> dict[str, Tensor]:
        """Call the model's training_step on a micro-batch.

        Raises:
            DeviceError: It does not fit into memory.
            ConfigError: The model cannot be compiled here.
        """
        settings = self.run.settings
        try:
            with precision_context(self.run.device, settings.precision):
                metrics = self.model.training_step(batch, self.trainer)  # type: ignore[operator]
            check_metrics(self.run.plugin, "training_step", metrics)
            return metrics
        except Exception as error:
            if is_out_of_memory(error):
                microbatches = f" or {option('accumulate', 2)}" if self.run.plugin.spec.inputs == "images" else ""
                raise DeviceError(
                    f"{option('batch_size', settings.batch_size)}: a step does not fit into the memory of {self.run.device} "
                    f"({describe_shortage(error)}); begin a run with a smaller one, or with {option('precision', 'bf16')}{microbatches}."
                ) from error
            if not (settings.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))):
                raise
            raise ConfigError(f"{option('compile')}: {one_line(error)}; install what is missing, or leave it out.") from error

    def update_ema(self) -> None:
        """Update the EMA after a step."""
        if self._ema and self.trainer.has_stepped:
            self._ema.update(self.model)

    def capture(self, step: int) -> Checkpoint:
        """Return the checkpoint after ``step`` steps; every rank must call this."""
        if self._ema:
            self._ema.copy_rest(self.model)
        average = self._ema.state() if self._ema else None
        state = self.model.state_dict()
        check_extra_state(self.run.plugin, state)
        return Checkpoint(
            step,
            self._gather_state(state),
            {name: optimizer.state_dict() for name, optimizer in self.trainer.optimizers.items()},
            average=None if average is None else {**average, "model": self._gather_state(average["model"])},
        )

    def restore(self, saved: Checkpoint, path: Path) -> None:
        """Restore a checkpoint read from ``path``.

        Raises:
            RunError: It is of another model.
        """
        try:
            load_state(self.model, self._shard_state(saved.model), path)
            for name, optimizer in self.trainer.optimizers.items():
                _load_optimizer(optimizer, saved.optimizers[name])
            if self._ema and saved.average:
                self._ema.load({**saved.average, "model": self._shard_state(saved.inference_state)})
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            name = self.run.plugin.spec.name
            raise RunError(
                f"{path} does not fit model and optimisers of {name!r} ({one_line(error)}); train with the version of "
                "the model that wrote it, or start a new run."
            ) from error

    def inference_model(self, saved: Checkpoint) -> nn.Module:
        """Return the model for inference, with the state of all targets, in evaluation mode."""
        if not self._sharded:
            return self._ema.model if self._ema else self.model.eval()
        model = self.run.new_model()
        model.load_state_dict(saved.inference_state)
        return model.eval()

    def _gather_state(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, **{name: self.group.gather(state[name], self.targets.counts) for name in self._sharded}}

    def _shard_state(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, **{name: self.targets.take(state[name]) for name in self._sharded}}


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of each weight from a checkpoint; hyperparameters stay as the options say.

    Raises:
        ValueError: The state is not one of these weights; torch may raise others.
    """
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
        states = [(parameter, optimizer.state[parameter]) for parameter in group["params"] if parameter in optimizer.state]
        # All weights of a group are updated alike.
        if len({tuple(sorted((key, type(value).__name__) for key, value in values.items())) for _, values in states}) > 1:
            raise ValueError("state of several kinds in one group of weights")
        for parameter, values in states:
            if any(value.ndim and value.shape != parameter.shape for value in values.values() if isinstance(value, Tensor)):
                raise ValueError("state of another shape than its weights")
