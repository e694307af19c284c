"""Save and restore training: checkpoints, inference weights and preview images."""

from __future__ import annotations

import math
from functools import partial

import torch

from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.checkpoint import Checkpoint
from pgen.engine.artifacts.weights import read_header
from pgen.engine.training import previews
from pgen.engine.training.model_selection import ModelSelector
from pgen.engine.training.session import TrainingSession
from pgen.engine.training.train_state import TrainState
from pgen.errors import PgenError, RunError, option


class Checkpointer:
    """Saves and restores training. All ranks call its methods; rank 0 reads and writes."""

    def __init__(self, session: TrainingSession, state: TrainState) -> None:
        self.session, self.run, self.state = session, session.run, state
        self.selector = ModelSelector(session)

    def save(self, step: int, epoch: float) -> None:
        """Save a checkpoint, inference weights and previews.

        Raises:
            RunError: Training has diverged; nothing is written.
        """
        if not all(bool(torch.isfinite(value).all()) for value in self.state.model.parameters()):
            raise self.divergence_error("a weight", step)
        checkpoint = self.state.capture(step)
        self.selector.best = self.session.group.on_rank_zero(lambda: self._write(checkpoint, epoch))
        self.state.model.train()

    def restore(self) -> int:
        """Restore the newest checkpoint that can be read.

        Returns:
            Its step; 0 if there is none.
        """
        group, folder = self.session.group, self.run.folder
        step = group.on_rank_zero(self._find_newest)
        if step is None:
            return 0
        with group.raise_together():
            checkpoint = checkpoints.load(folder, step)
            self.state.restore(checkpoint, checkpoints.path_of(folder, step))
        if checkpoint.best and not math.isfinite(checkpoint.best[1]):
            checkpoint.best = None  # written by an earlier version
        self.selector.best = checkpoint.best
        group.on_rank_zero(lambda: self._repair_weights(checkpoint))
        return step

    def divergence_error(self, what: str, step: int) -> BaseException:
        """Return the error for ``what`` having become NaN or infinite."""
        steps = checkpoints.steps(self.run.folder)
        left = f"The checkpoint of step {steps[-1]} is kept" if steps else "There was no checkpoint yet"
        return self.session.group.error(
            RunError(
                f"Training diverged: {what} became NaN or infinite at or before step {step}. {left}; "
                f"start again with a smaller learning rate (the --…lr options), {option('max_grad_norm', 1)}, or "
                f"{option('precision', 'fp32')}. "
                f"In a model of your own look for the logarithm or the root of 0; {option('log_every', 1)} tells the step."
            )
        )

    def _write(self, checkpoint: Checkpoint, epoch: float) -> tuple[int, float] | None:
        run, session, step, criterion = self.run, self.session, checkpoint.step, self.selector.criterion
        session.ensure_directory()
        model = run.prepare_sampling(self.state.inference_model(checkpoint))
        checkpoint.inference_state = model.state_dict()
        metrics = self.selector.validate(model)
        if finite := {name: value for name, value in metrics.items() if math.isfinite(value)}:
            session.record(step, {"epoch": int(epoch), **finite})
        session.ensure_directory()  # validation may have taken long
        if not math.isfinite(metrics.get(criterion, 0.0)):
            session.log(f"warning: {criterion} of step {step} is {metrics[criterion]}, so it cannot be the best checkpoint")
        is_best = self.selector.is_best(step, metrics)
        checkpoint.best = self.selector.best
        path = checkpoints.save(run.folder, checkpoint, keep=run.settings.keep_checkpoints)
        if is_best:
            run.save_weights(checkpoint.inference_state, step)
        session.attempt("pictures", partial(previews.draw, session, model, step), Exception)
        best = checkpoint.best if checkpoint.best and checkpoint.best[0] == step else None
        session.log(f"saved {path.name}" + (f" (best: {criterion} {best[1]:.4g})" if best else ""))
        return checkpoint.best

    def _find_newest(self) -> int | None:
        folder = self.run.folder
        for path in checkpoints.quarantine_corrupt(folder):
            self.session.log(f"{path.stem} cannot be read and was moved aside to {path.name}; resuming from the one before")
        if steps := checkpoints.steps(folder):
            return steps[-1]  # which was just read
        if corrupt := sorted(folder.checkpoints.glob("*.broken")):
            raise RunError(
                f"{folder.path} has no checkpoint but {corrupt[-1].name}; restore one, or begin a run of another {option('name')}."
            )
        return None

    def _repair_weights(self, checkpoint: Checkpoint) -> None:
        """Write the weights file again if it is damaged or older than its checkpoint."""
        step = checkpoint.best[0] if checkpoint.best else checkpoint.step
        try:
            step_of_weights = read_header(self.run.folder.weights).step
        except PgenError:
            step_of_weights = -1
        if step_of_weights < step and step in checkpoints.steps(self.run.folder):
            best = checkpoint if step == checkpoint.step else checkpoints.load(self.run.folder, step)
            self.run.save_weights(best.inference_state, step)
