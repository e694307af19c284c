"""What training moves: model, optimisers and the running average of weights, as this rank holds them."""

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
from pgen.engine.run import Run
from pgen.engine.runtime.device import configure_backend, precision_context
from pgen.engine.training.ema import ExponentialMovingAverage
from pgen.engine.training.sync_layers import sync_batch_layers
from pgen.engine.training.trainer import Trainer
from pgen.errors import PgenError, one_line
from pgen.utils.resources import describe_shortage, is_out_of_memory


class TrainState:
    """On several ranks all is alike, but for the state that a model names in ``per_target``: of that, each rank holds the rows of its
    targets. A checkpoint holds it whole, and so does not depend on how many ranks there are.

    targets: which of all targets are this rank's.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        configure_backend(run.device, deterministic=run.settings.deterministic)
        ranks, settings = run.ranks, run.settings
        names = getattr(run.plugin.model_class(), "per_target", ())
        self._shared: tuple[str, ...] = tuple(names) if ranks.count > 1 else ()
        self.targets = (ranks if self._shared else ProcessGroup()).parts(run.info.count)[0]
        self.model = run.new_model(replace(run.info, count=self.targets.count) if self._shared else run.info)
        check_extra_state(run.plugin, self.model.state_dict())
        self.trainer = Trainer(self.model.optimizers(), run.device, settings, ranks, run.log)  # type: ignore[operator]
        self._average = ExponentialMovingAverage(self.model, settings.ema) if settings.ema else None
        if ranks.count * settings.accumulate > 1:
            sync_batch_layers(self.model, self.trainer)
        if settings.compile:
            for part in self.model.children():
                part.compile()

    def training_step(self, batch: Tensor) -> dict[str, Tensor]:
        """The model's step on a part of a batch. UserError where the machine cannot do it."""
        settings = self.run.settings
        try:
            with precision_context(self.run.device, settings.precision):
                metrics = self.model.training_step(batch, self.trainer)  # type: ignore[operator]
            check_metrics(self.run.plugin, "training_step", metrics)
            return metrics
        except Exception as error:
            if is_out_of_memory(error):
                pieces = " or --accumulate 2" if self.run.plugin.spec.inputs == "images" else ""
                raise PgenError(
                    f"--batch-size {settings.batch_size}: a step does not fit into the memory of {self.run.device} "
                    f"({describe_shortage(error)}); begin a run with a smaller one, or with --precision bf16{pieces}."
                ) from error
            if not (settings.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))):
                raise
            raise PgenError(f"--compile: {one_line(error)}; install what is missing, or leave --compile out.") from error

    def update_ema(self) -> None:
        """After a step."""
        if self._average and self.trainer.has_stepped:
            self._average.update(self.model)

    def capture(self, step: int) -> Checkpoint:
        """All of it after ``step`` steps, to be called by every rank."""
        if self._average:
            self._average.copy_rest(self.model)
        average = self._average.state() if self._average else None
        state = self.model.state_dict()
        check_extra_state(self.run.plugin, state)
        return Checkpoint(
            step,
            self._gather_state(state),
            {name: optimizer.state_dict() for name, optimizer in self.trainer.optimizers.items()},
            average=None if average is None else {**average, "model": self._gather_state(average["model"])},
        )

    def restore(self, saved: Checkpoint, path: Path) -> None:
        """Go on from a checkpoint. UserError where it is another model's."""
        try:
            load_state(self.model, self._shard_state(saved.model), path)
            for name, optimizer in self.trainer.optimizers.items():
                _load_optimizer(optimizer, saved.optimizers[name])
            if self._average and saved.average:
                self._average.load({**saved.average, "model": self._shard_state(saved.inference_state)})
        except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise
            name = self.run.plugin.spec.name
            raise PgenError(
                f"{path} does not fit model and optimisers of {name!r} ({one_line(error)}); train with the version of "
                "the model that wrote it, or start a new run."
            ) from error

    def inference_model(self, saved: Checkpoint) -> nn.Module:
        """The model as it would be used after this checkpoint, whole, in evaluation mode."""
        if not self._shared:
            return self._average.model if self._average else self.model.eval()
        model = self.run.new_model()
        model.load_state_dict(saved.inference_state)
        return model.eval()

    def _gather_state(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, **{name: self.run.ranks.gather(state[name], self.targets.counts) for name in self._shared}}

    def _shard_state(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, **{name: self.targets.of(state[name]) for name in self._shared}}


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """What an optimiser remembers of each weight, from a checkpoint; how it works stays as the options say. ValueError, or whatever torch
    raises, for a state that is no such thing."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
        states = [(parameter, optimizer.state[parameter]) for parameter in group["params"] if parameter in optimizer.state]
        # All weights of a group are moved alike.
        if len({tuple(sorted((key, type(value).__name__) for key, value in each.items())) for _, each in states}) > 1:
            raise ValueError("state of several kinds in one group of weights")
        for parameter, each in states:
            if any(value.ndim and value.shape != parameter.shape for value in each.values() if isinstance(value, Tensor)):
                raise ValueError("state of another shape than its weights")
