"""Choose the best checkpoint by held-out data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pgen.engine.artifacts.checkpoint import best_step
from pgen.engine.output_checks import check_held_out
from pgen.engine.training.session import TrainingSession
from pgen.errors import option

#: Held-out samples validated at once.
BATCH_SIZE = 256


class ModelSelector:
    """Validates checkpoints and remembers the best.

    Attributes:
        best: Step and error of the best checkpoint so far; None before there was one.
    """

    def __init__(self, session: TrainingSession) -> None:
        self._session, self._run = session, session.run
        self._score: Callable[[nn.Module], float] | None = None
        if self._run.settings.best_by is not None and session.group.rank == 0:
            from pgen.engine.training.metric_score import MetricScore  # metrics need libraries that load slowly

            self._score = MetricScore(session)
        self.best: tuple[int, float] | None = None

    def is_best(self, step: int, metrics: dict[str, float]) -> bool:
        """Whether the checkpoint of ``step`` is the best so far by its held-out ``metrics``."""
        if (error := metrics.get(self.criterion)) is None:
            return True
        former = {} if self.best is None else {-1: self.best[1]}
        best = best_step({**former, step: error})
        if best == step:
            self.best = (step, error)
        return best in (None, step)

    @property
    def criterion(self) -> str:
        """The metric by which checkpoints are compared, as it is logged."""
        return self._run.criterion

    @property
    def notice(self) -> str:
        """What it means that there are no held-out images.

        Empty where there are, or they would be of no use.
        """
        model = self._run.plugin.model_class()
        has_own_loss, generates = (callable(getattr(model, name, None)) for name in ("held_out_step", "sample"))
        if self._run.settings.held_out is not None or not (has_own_loss or generates):
            return ""
        way_out = option("held_out", "SRC") + ("" if has_own_loss else f" {option('best_by', 'fpd')}")
        return f"no held-out images: overfitting goes unseen, and the newest checkpoint is used; {way_out} keeps the best one"

    def is_out_of_patience(self, step: int) -> bool:
        """Whether as many checkpoints as `patience` says were not better than the best."""
        patience, every = self._run.settings.patience, self._run.settings.checkpoint
        return patience is not None and self.best is not None and step - self.best[0] >= patience * every

    @torch.no_grad()
    def sanity_check(self, model: nn.Module) -> None:
        """Run held_out_step on four images, so that a faulty model fails before training."""
        held_out = self._session.held_out
        if held_out is not None:
            model.eval()
            samples = held_out.read(range(min(4, len(held_out)))).to(self._run.device)
            check_held_out(self._run.plugin, model.held_out_step(samples))  # type: ignore[operator]
            model.train()

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Compute the held-out metrics of a model in evaluation mode.

        Empty without held-out data.
        """
        if self._score is not None:
            return {f"held_out_{self._run.settings.best_by}": self._score(model)}
        held_out = self._session.held_out
        if held_out is None:
            return {}
        sums: dict[str, float] = {}
        for start in range(0, len(held_out), BATCH_SIZE):
            indices = range(start, min(start + BATCH_SIZE, len(held_out)))
            metrics = model.held_out_step(held_out.read(indices).to(self._run.device))  # type: ignore[operator]
            check_held_out(self._run.plugin, metrics)
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
        return {f"held_out_{name}": total / len(held_out) for name, total in sums.items()}
