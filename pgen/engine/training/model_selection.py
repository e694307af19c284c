"""Which checkpoint is the best, by held-out data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from pgen.engine.output_checks import check_held_out
from pgen.engine.run import Run

if TYPE_CHECKING:
    from pgen.engine.training.metric_score import MetricScore


def best_step(errors: Mapping[int, float]) -> int | None:
    """Of the checkpoints, step to error on held-out data, the best: the one with the smallest error,
    the earliest among equals. None where no error is a finite number: such a one is never the best."""
    finite = {step: error for step, error in sorted(errors.items()) if math.isfinite(error)}
    return min(finite, key=lambda step: finite[step], default=None)


def criterion_of(run: Run) -> str:
    """The metric by which a run judges its checkpoints, as it is logged."""
    return f"held_out_{run.settings.best_by or run.plugin.spec.best}"


class ModelSelector:
    """Knows the best checkpoint so far. best: (step, error), or None before there was one."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._best_by: MetricScore | None = None
        if run.settings.best_by is not None and run.ranks.rank == 0:
            from pgen.engine.training.metric_score import MetricScore  # not at the top: metrics need libraries that take long to load

            self._best_by = MetricScore(run)
        self.best: tuple[int, float] | None = None

    def is_best(self, step: int, found: dict[str, float]) -> bool:
        """Whether the checkpoint of ``step`` is the one to use: the best so far by what was ``found`` of it; the newest while none is."""
        if (error := found.get(self.criterion)) is None:
            return True
        before = {} if self.best is None else {-1: self.best[1]}
        best = best_step({**before, step: error})
        if best == step:
            self.best = (step, error)
        return best in (None, step)

    @property
    def criterion(self) -> str:
        """The metric that judges, as it is logged."""
        return criterion_of(self._run)

    @property
    def notice(self) -> str:
        """What it means that there are no held-out images; empty where there are, or they would be of no use."""
        model = self._run.plugin.model_class()
        by_itself, generates = (callable(getattr(model, name, None)) for name in ("held_out_step", "sample"))
        if self._run.settings.held_out is not None or not (by_itself or generates):
            return ""
        options = "--held-out SRC" if by_itself else "--held-out SRC --best-by fpd"
        return f"no held-out images: overfitting goes unseen, and the newest checkpoint is used; {options} keeps the best one"

    def out_of_patience(self, step: int) -> bool:
        """Whether as many checkpoints as --patience says have not been better than the best."""
        patience, every = self._run.settings.patience, self._run.settings.checkpoint
        return patience is not None and self.best is not None and step - self.best[0] >= patience * every

    @torch.no_grad()
    def sanity_check(self, model: nn.Module) -> None:
        """Ask the model of a few held-out images before it is trained: what is wrong with its answer is not to be found after hours."""
        held_out = self._run.held_out
        if held_out is not None:
            model.eval()
            few = held_out.read(range(min(4, len(held_out)))).to(self._run.device)
            check_held_out(self._run.plugin, model.held_out_step(few))  # type: ignore[operator]
            model.train()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """What held-out data say of ``model``, in evaluation mode; nothing without any."""
        if self._best_by is not None:
            return {f"held_out_{self._run.settings.best_by}": self._best_by.__call__(model)}
        held_out = self._run.held_out
        if held_out is None:
            return {}
        sums: dict[str, float] = {}
        for start in range(0, len(held_out), 256):
            indices = range(start, min(start + 256, len(held_out)))
            metrics = model.held_out_step(held_out.read(indices).to(self._run.device))  # type: ignore[operator]
            check_held_out(self._run.plugin, metrics)
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
        return {f"held_out_{name}": total / len(held_out) for name, total in sums.items()}
