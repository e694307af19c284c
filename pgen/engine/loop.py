"""The training loop. It reads from top to bottom: open, step, once in a while log, once in a while save, stop."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from pgen.engine import checkpoint as checkpoints
from pgen.engine import pictures
from pgen.engine.batches import Batches
from pgen.engine.best_by import BestBy
from pgen.engine.device import memory_in_use
from pgen.engine.reporter import Progress
from pgen.engine.run import Run
from pgen.engine.seeds import derive
from pgen.engine.signals import StopSignal
from pgen.engine.tracker import Tracker
from pgen.engine.trainer import Trainer
from pgen.engine.weights import load_state, read_header
from pgen.errors import UserError

#: Seconds between two progress reports.
REPORT_EVERY = 0.2


class TrainingLoop:
    """Trains the model of a run, from its newest checkpoint if it has one."""

    def __init__(self, run: Run) -> None:
        self.run, self.settings, self.spec = run, run.settings, run.plugin.spec
        if self.spec.inputs == "images":
            self.batches: Batches | None = Batches(run.data, run.settings, run.device)
        else:
            self.batches = None
        self.model = run.new_model()
        self.trainer = Trainer(
            self.model.optimizers(),  # type: ignore[operator]
            run.device,
            seed=self.settings.seed,
            batch_size=self.settings.batch_size,
            shuffle=self.settings.shuffle,
        )
        self.best: tuple[int, float] | None = None
        self.best_by = BestBy(run) if self.settings.best_by else None
        self.since_log = Tracker()
        self.step = self._restore() if checkpoints.steps(run.folder) else 0
        run.folder.cut_metrics(self.step)

    def run_to_end(self) -> Path:
        """Train until the last epoch or step, or until SIGINT or SIGTERM; save; return the run folder."""
        self._say(
            f"training {self.spec.name} on {self.run.info.name} ({self.run.info.count} samples), {self.run.device}, from step {self.step}"
        )
        saved_at = self.step if self.step else None
        self.began, self.first = time.monotonic(), self.step
        reported = 0.0
        self.model.train()
        with StopSignal() as stop, closing(self._stream()) as batches:
            while not (self._finished() or stop.signal):
                epoch = self._epoch_now()
                metrics = self._do_step(next(batches))
                self.since_log.add(metrics)

                if self.step % self.settings.log_every == 0:
                    self._log(epoch)
                if self.step % self.settings.checkpoint == 0:
                    self._save(epoch)
                    saved_at = self.step
                now = time.monotonic()
                if now - reported > REPORT_EVERY:
                    reported = now
                    self._report(epoch, metrics)
            # While the data are still open: whatever happens when they are closed, nothing is lost.
            if saved_at != self.step:
                self._save(self._epoch_now())
        self.run.stopped_by = stop.signal
        if self.step == self.first and not stop.signal:
            limit = "--num-epochs" if self._epoch_now() >= self.settings.num_epochs else "--max-steps"
            self._say(f"nothing was left to do at step {self.step}; for more, pass a larger {limit}")
        else:
            ended = "stopped by a signal" if stop.signal else "finished"
            self._say(f"{ended} at step {self.step} after {time.monotonic() - self.began:.0f} s")
        return self.run.folder.path

    def _do_step(self, batch: Tensor) -> dict[str, Tensor]:
        # Seeded anew each step, so that dropout and the like do not depend on where a run was interrupted.
        torch.manual_seed(derive(self.settings.seed, "step", self.step))
        self.trainer.step = self.step
        self.trainer.set_rates(self._epoch_now() / self.settings.num_epochs, self.settings.lr_decay)
        # A step may move the weights more than once: a cache of rounded ones would be stale.
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16", cache_enabled=False):
            metrics = self.model.training_step(batch, self.trainer)  # type: ignore[operator]
        self.step += 1
        return metrics

    def _stream(self) -> Generator[Tensor]:
        if self.batches is not None:
            yield from self.batches.stream(self.step)
        targets = self.run.data.targets(sparse=self.spec.sparse).to(self.run.device)
        while True:
            yield targets

    def _epoch_now(self) -> float:
        """Epochs done. A model that is given all targets counts its own outer iterations."""
        return self.step / self.batches.steps_per_epoch if self.batches else float(self.model.epoch)  # type: ignore[arg-type]

    def _finished(self) -> bool:
        longest = self.settings.max_steps
        return self._epoch_now() >= self.settings.num_epochs or (longest is not None and self.step >= longest)

    def _fraction(self) -> float:
        by_steps = self.step / self.settings.max_steps if self.settings.max_steps else 0.0
        return min(1.0, max(by_steps, self._epoch_now() / self.settings.num_epochs))

    def _rate(self) -> float:
        """Samples a second since this process began to train."""
        return (self.step - self.first) * self.settings.batch_size / (time.monotonic() - self.began)

    def _report(self, epoch: float, metrics: dict[str, Tensor]) -> None:
        values = {name: float(value.detach()) for name, value in metrics.items()}
        memory = memory_in_use(self.run.device)
        self.run.reporter.progress(
            Progress(self.step, int(epoch) + 1, self.settings.num_epochs, self._fraction(), self._rate(), values, memory)
        )

    def _log(self, epoch: float) -> None:
        means = self.since_log.read()
        if not means:
            return
        if bad := [name for name, value in means.items() if not math.isfinite(value)]:
            raise self._diverged(", ".join(bad))
        self.run.folder.append_metrics({"step": self.step, "epoch": int(epoch), "samples_per_second": round(self._rate(), 1), **means})

    def _save(self, epoch: float) -> None:
        """Checkpoint, weights and pictures; nothing is written where training has diverged."""
        self._log(epoch)
        if not all(bool(torch.isfinite(value).all()) for value in self.model.parameters()):
            raise self._diverged("a weight")
        held_out = self._held_out()
        if known := {name: value for name, value in held_out.items() if math.isfinite(value)}:
            self.run.folder.append_metrics({"step": self.step, "epoch": int(epoch), **known})
        is_best = self._judge(held_out)
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.trainer.optimizers.items()}
        state = checkpoints.Checkpoint(self.step, self.model.state_dict(), optimizers, self.best)
        path = checkpoints.save(self.run.folder, state, keep=self.settings.keep_checkpoints)
        if is_best:
            self.run.save_weights(self.model.state_dict(), self.step)
        self.model.eval()
        pictures.draw(self.run, self.model, self.step)
        self.model.train()
        self._say(f"saved {path.name}" + (" (best)" if is_best and self.best else ""))

    def _diverged(self, what: str) -> UserError:
        steps = checkpoints.steps(self.run.folder)
        kept = f"The checkpoint of step {steps[-1]} is kept" if steps else "There was no checkpoint yet"
        return UserError(
            f"Training diverged: {what} became NaN or infinite at or before step {self.step}. {kept}; "
            "start again with a smaller learning rate (the --…lr options), or with --precision fp32."
        )

    def _judge(self, held_out: dict[str, float]) -> bool:
        """Whether this checkpoint is the one to use: the best so far by the model's own metric on held-out data, else simply the newest."""
        value = held_out.get(f"held_out_{self.settings.best_by or self.spec.best}")
        if value is None:
            return True
        if self.best is None or value < self.best[1] or math.isnan(self.best[1]):
            self.best = (self.step, value)
            return True
        return False

    @torch.no_grad()
    def _held_out(self) -> dict[str, float]:
        held_out = self.run.held_out
        if held_out is None and self.best_by is None:
            return {}
        self.model.eval()
        if self.best_by is not None:
            value = self.best_by.ask(self.model)
            self.model.train()
            return {f"held_out_{self.settings.best_by}": value}
        assert held_out is not None
        sums: dict[str, float] = {}
        for start in range(0, len(held_out), 256):
            indices = range(start, min(start + 256, len(held_out)))
            for name, value in self.model.held_out_step(held_out.read(indices).to(self.run.device)).items():  # type: ignore[operator]
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
        self.model.train()
        return {f"held_out_{name}": total / len(held_out) for name, total in sums.items()}

    def _restore(self) -> int:
        folder = self.run.folder
        for path in checkpoints.set_aside_broken(folder):
            self._say(f"{path.stem} cannot be read and was moved aside to {path.name}; going on from the one before")
        saved = checkpoints.load(folder)
        path = checkpoints.path_of(folder, saved.step)
        load_state(self.model, saved.model, path)
        try:
            for name, optimizer in self.trainer.optimizers.items():
                optimizer.load_state_dict(saved.optimizers[name])
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path} does not fit the optimisers of {self.spec.name!r} ({type(error).__name__}: {error}); train with the version of "
                "the model that wrote it, or start a new run."
            ) from error
        self.best = saved.best
        self._mend_weights(saved)
        return saved.step

    def _mend_weights(self, saved: checkpoints.Checkpoint) -> None:
        """Write the weights file anew where it cannot be read, or where a kill came between a checkpoint and its weights."""
        step = saved.best[0] if saved.best else saved.step
        try:
            written = read_header(self.run.folder.weights).step
        except UserError:
            written = -1
        if written < step and step in checkpoints.steps(self.run.folder):
            state = saved if step == saved.step else checkpoints.load(self.run.folder, step)
            self.run.save_weights(state.model, step)

    def _say(self, text: str) -> None:
        self.run.folder.append_log(text)
        self.run.reporter.message(text)
