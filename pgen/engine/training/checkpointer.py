"""Keeping what training has come to: checkpoints, the weights to use, pictures; and finding the way back."""

from __future__ import annotations

import math
from functools import partial

import torch

from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.artifacts.checkpoint import Checkpoint
from pgen.engine.artifacts.weights import read_header
from pgen.engine.run import Run
from pgen.engine.training import previews as pictures
from pgen.engine.training.model_selection import ModelSelector
from pgen.engine.training.train_state import TrainState
from pgen.errors import PgenError


class Checkpointer:
    """Its methods are called by all ranks; the first one reads and writes."""

    def __init__(self, run: Run, state: TrainState) -> None:
        self.run, self.state, self.judge = run, state, ModelSelector(run)

    def save(self, step: int, epoch: float) -> None:
        """Checkpoint, weights and pictures; nothing is written where training has diverged."""
        if not all(bool(torch.isfinite(value).all()) for value in self.state.model.parameters()):
            raise self.diverged("a weight", step)
        saved = self.state.capture(step)
        self.judge.best = self.run.ranks.on_rank_zero(lambda: self._write(saved, epoch))
        self.state.model.train()

    def restore(self) -> int:
        """Go on from the newest checkpoint that can be read; its step, 0 where there is none."""
        step = self.run.ranks.on_rank_zero(self._newest)
        if step is None:
            return 0
        with self.run.ranks.raise_together():
            saved = checkpoints.load(self.run.folder, step)
            self.state.restore(saved, checkpoints.path_of(self.run.folder, step))
        if saved.best and not math.isfinite(saved.best[1]):
            saved.best = None  # of an earlier version
        self.judge.best = saved.best
        self.run.ranks.on_rank_zero(lambda: self._mend_weights(saved))
        return step

    def diverged(self, what: str, step: int) -> BaseException:
        steps = checkpoints.steps(self.run.folder)
        kept = f"The checkpoint of step {steps[-1]} is kept" if steps else "There was no checkpoint yet"
        return self.run.ranks.error(
            PgenError(
                f"Training diverged: {what} became NaN or infinite at or before step {step}. {kept}; "
                "start again with a smaller learning rate (the --…lr options), --max-grad-norm 1, or --precision fp32. "
                "In a model of your own look for the logarithm or the root of 0; --log-every 1 tells the step."
            )
        )

    def _write(self, saved: Checkpoint, epoch: float) -> tuple[int, float] | None:
        run, step = self.run, saved.step
        run.ensure_directory()
        model = run.prepare_sampling(self.state.inference_model(saved), lambda text: None)
        saved.inference_state = model.state_dict()
        found = self.judge.validate(model)
        if known := {name: value for name, value in found.items() if math.isfinite(value)}:
            run.record(step, {"epoch": int(epoch), **known})
        run.ensure_directory()  # judging may have taken long
        if not math.isfinite(found.get(self.judge.criterion, 0.0)):
            run.log(f"warning: {self.judge.criterion} of step {step} is {found[self.judge.criterion]}, so it cannot be the best checkpoint")
        is_used = self.judge.is_best(step, found)
        saved.best = self.judge.best
        path = checkpoints.save(run.folder, saved, keep=run.settings.keep_checkpoints)
        if is_used:
            run.save_weights(saved.inference_state, step)
        run.attempt("pictures", partial(pictures.draw, run, model, step), Exception)
        best = saved.best if saved.best and saved.best[0] == step else None
        run.log(f"saved {path.name}" + (f" (best: {self.judge.criterion} {best[1]:.4g})" if best else ""))
        return saved.best

    def _newest(self) -> int | None:
        folder = self.run.folder
        for path in checkpoints.quarantine_corrupt(folder):
            self.run.log(f"{path.stem} cannot be read and was moved aside to {path.name}; going on from the one before")
        if steps := checkpoints.steps(folder):
            return steps[-1]  # which was just read
        if broken := sorted(folder.checkpoints.glob("*.broken")):
            raise PgenError(f"{folder.path} has no checkpoint but {broken[-1].name}; restore one, or begin a run of another --name.")
        return None

    def _mend_weights(self, saved: Checkpoint) -> None:
        """Write the weights file anew where it cannot be read, or where a kill came between a checkpoint and its weights."""
        step = saved.best[0] if saved.best else saved.step
        try:
            written = read_header(self.run.folder.weights).step
        except PgenError:
            written = -1
        if written < step and step in checkpoints.steps(self.run.folder):
            state = saved if step == saved.step else checkpoints.load(self.run.folder, step)
            self.run.save_weights(state.inference_state, step)
