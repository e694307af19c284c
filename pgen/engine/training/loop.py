"""The training loop. It reads from top to bottom: open, step, once in a while log, once in a while save, stop."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from pgen.engine.dataloading.loaders import Batches
from pgen.engine.dataloading.target_loader import AllTargets
from pgen.engine.distributed.group import BatchShard
from pgen.engine.monitoring.loggers import opened_sinks
from pgen.engine.monitoring.meters import MetricAccumulator
from pgen.engine.monitoring.profiler import Profile
from pgen.engine.output_checks import parameters_without_optimizer
from pgen.engine.run import Run
from pgen.engine.runtime.device import memory_in_use
from pgen.engine.runtime.progress import Progress
from pgen.engine.runtime.signals import StopSignal
from pgen.engine.training.checkpointer import Checkpointer
from pgen.engine.training.train_state import TrainState
from pgen.utils import resources

#: A part of a batch, its samples, and what the model is told of their labels.
Item = tuple[BatchShard, Tensor, Tensor | None]
#: Seconds between two progress reports.
REPORT_EVERY = 0.2


class TrainingLoop:
    """Trains the model of a run, from its newest checkpoint if it has one; on several ranks, each runs one."""

    def __init__(self, run: Run) -> None:
        self.run, self.settings, self.spec, self.ranks = run, run.settings, run.plugin.spec, run.ranks
        with self.ranks.raise_together():
            self.batches = Batches(run.data, run.settings, run.device, run.ranks) if self.spec.inputs == "images" else None
            self.state = TrainState(run)
            self.keeper = Checkpointer(run, self.state)
        self.model, self.trainer = self.state.model, self.state.trainer
        self.since_log = MetricAccumulator(run.ranks)
        self.step = self.keeper.restore()
        self.ranks.on_rank_zero(lambda: run.attempt("metrics.jsonl", lambda: run.folder.truncate_metrics(self.step)))

    def run_to_end(self) -> Path:
        """Train until the last epoch or step, --patience is out, or a signal comes; save; return the run folder."""
        info, several = self.run.info, f" x {self.ranks.count} ranks" if self.ranks.count > 1 else ""
        skipped = getattr(self.run.data.samples, "left_out", None)
        samples = f"{info.count} samples" + (f"; {skipped}" if skipped else "")
        self.run.log(f"training {self.spec.name} on {info.name} ({samples}), {self.run.device}{several}, from step {self.step}")
        self._warn_of_busy_machine()
        if still := parameters_without_optimizer(self.model, self.trainer.optimizers):
            self.run.log(f"warning: {', '.join(still)} of the model are in no optimiser and stay as they are")
        if self.step == 0 and (notice := self.keeper.judge.notice):
            self.run.log(notice)
        self.ranks.on_rank_zero(lambda: self.keeper.judge.sanity_check(self.model))
        saved_at = self.step if self.step else None
        self.began, self.first_step = time.monotonic(), self.step
        reported = 0.0
        self.model.train()
        stopped = None
        profile = Profile(self.run)
        with StopSignal() as stop, closing(self._stream()) as batches, profile, opened_sinks(self.run, self.step):
            while not (stopped or self._finished()):
                epoch = self._epoch_now()
                metrics = self._do_step(batches)
                profile.step()

                if self.step % self.settings.log_every == 0:
                    self._log(epoch)
                if self.step % self.settings.checkpoint == 0:
                    self._save(epoch)
                    saved_at = self.step
                now, is_last = time.monotonic(), self._finished()
                if is_last or now - reported > REPORT_EVERY:
                    reported = now
                    self._report(epoch, metrics, is_last)
                stopped = self.ranks.any_rank_signal(stop.signal)
            # While the data are still open: whatever happens when they are closed, nothing is lost.
            if saved_at != self.step:
                self._save(self._epoch_now())
        self.run.stopped_by = stopped
        self.run.log(self._ending(stopped))
        return self.run.folder.path

    def _warn_of_busy_machine(self) -> None:
        threads = torch.get_num_threads()
        if self.run.device.type == "cpu" and threads > 1 and (load := resources.busy()):
            self.run.log(
                f"other processes keep this machine busy (load {load:.0f}, {os.cpu_count()} cores): --threads 1 may be as fast as {threads}"
            )

    def _do_step(self, batches: Generator[Item]) -> dict[str, Tensor]:
        self.trainer.start_step(self.step, self._fraction())
        for piece in range(self.settings.accumulate):
            with torch.profiler.record_function("batch"):
                part, batch, condition = next(batches)
            self.trainer.start_microbatch(part, piece, self.settings.accumulate, condition)
            with torch.profiler.record_function("training_step"):
                metrics = self.state.training_step(batch)
            self.since_log.add(metrics, self.trainer.share)
        self.state.update_ema()
        self.step += 1
        return metrics

    def _stream(self) -> Generator[Item]:
        if self.batches is not None:
            yield from self.batches.stream(self.step)
        every = AllTargets(self.run.data, self.state.targets, self.run.device, self.settings.seed, sparse=self.spec.sparse)
        (part,) = self.ranks.parts(self.settings.batch_size)
        for targets in every.stream(self._epoch_now):
            yield part, targets, every.condition

    def _epoch_now(self) -> float:
        """Epochs done. A model that is given all targets counts its own outer iterations."""
        return self.step / self.batches.steps_per_epoch if self.batches else float(self.model.epoch)  # type: ignore[arg-type]

    def _finished(self) -> bool:
        longest = self.settings.max_steps
        at_end = self._epoch_now() >= self.settings.num_epochs or (longest is not None and self.step >= longest)
        return at_end or self.keeper.judge.out_of_patience(self.step)

    def _ending(self, stopped: int | None) -> str:
        patience = self.keeper.judge.out_of_patience(self.step)
        if self.step == self.first_step and not stopped:
            limit = "--patience" if patience else "--num-epochs" if self._epoch_now() >= self.settings.num_epochs else "--max-steps"
            return f"nothing was left to do at step {self.step}; for more, pass a larger {limit}"
        why = "stopped by a signal" if stopped else "out of patience" if patience else "finished"
        return f"{why} at step {self.step} after {time.monotonic() - self.began:.0f} s"

    def _fraction(self) -> float:
        """How much of the run is done, by the limit of its length that is nearer: --num-epochs or --max-steps."""
        by_steps = self.step / self.settings.max_steps if self.settings.max_steps else 0.0
        return min(1.0, max(by_steps, self._epoch_now() / self.settings.num_epochs))

    def _rate(self) -> float:
        """Samples a second since this process began to train."""
        return (self.step - self.first_step) * self.settings.batch_size / (time.monotonic() - self.began)

    def _report(self, epoch: float, metrics: dict[str, Tensor], is_last: bool) -> None:
        values = {name: float(value.detach()) for name, value in metrics.items()}
        memory = memory_in_use(self.run.device)
        self.run.reporter.progress(
            Progress(self.step, int(epoch) + 1, self.settings.num_epochs, self._fraction(), self._rate(), values, memory, is_last)
        )

    def _log(self, epoch: float) -> None:
        means = self.since_log.read()
        if bad := [name for name, value in means.items() if not math.isfinite(value)]:
            raise self.keeper.diverged(", ".join(bad), self.step)
        if means:
            self.run.record(self.step, {"epoch": int(epoch), "samples_per_second": round(self._rate(), 1), **means})

    def _save(self, epoch: float) -> None:
        self._log(epoch)
        with torch.profiler.record_function("save"):
            self.keeper.save(self.step, epoch)
