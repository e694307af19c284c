"""The training loop.

It reads from top to bottom: step, log now and then, save now and then, stop.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor

from pgen.engine.dataloading.loaders import Batch, BatchLoader, TargetLoader
from pgen.engine.monitoring.loggers import open_loggers
from pgen.engine.monitoring.meters import MetricAccumulator
from pgen.engine.monitoring.profiler import Profiler
from pgen.engine.output_checks import parameters_without_optimizer
from pgen.engine.runtime.device import memory_in_use
from pgen.engine.runtime.progress import TrainingStatus
from pgen.engine.runtime.signals import StopSignal
from pgen.engine.training.checkpointer import Checkpointer
from pgen.engine.training.session import TrainingSession
from pgen.engine.training.train_state import TrainState
from pgen.errors import option
from pgen.utils import resources

#: Seconds between two progress reports.
REPORT_EVERY = 0.2


class TrainingLoop:
    """Trains the model of a run, from its newest checkpoint if it has one. Every rank runs one."""

    def __init__(self, session: TrainingSession) -> None:
        self.session, self.run, self.group = session, session.run, session.group
        self.settings, self.spec = self.run.settings, self.run.plugin.spec
        with self.group.raise_together():
            is_batched = self.spec.inputs == "images"
            self.loader = BatchLoader(session.dataset, self.settings, self.run.device, self.group) if is_batched else None
            self.state = TrainState(session)
            self.checkpointer = Checkpointer(session, self.state)
        self.model, self.trainer = self.state.model, self.state.trainer
        self.metrics = MetricAccumulator(self.group)
        self.step = self.checkpointer.restore()
        self.group.on_rank_zero(lambda: session.attempt("metrics.jsonl", lambda: self.run.folder.truncate_metrics(self.step)))

    def run_to_end(self) -> Path:
        """Train until the last epoch or step, until patience runs out or a signal comes.

        Returns:
            The run directory.
        """
        self._log_start()
        selector = self.checkpointer.selector
        self.group.on_rank_zero(lambda: selector.sanity_check(self.model))
        saved_step = self.step if self.step else None
        self.started, self.first_step = time.monotonic(), self.step
        last_report = 0.0
        self.model.train()
        stop_signal = None
        with (
            StopSignal() as received,
            closing(self._load()) as batches,
            Profiler(self._save_profile, self.run.device, enabled=self.session.profile and self.group.rank == 0) as profiler,
            open_loggers(self._log_to(), self.run.folder.path, self.step, self.session.log) as self.session.loggers,
        ):
            while not (stop_signal or self._is_finished()):
                epoch = self._epoch()
                losses = self._do_step(batches)
                profiler.step()

                if self.step % self.settings.log_every == 0:
                    self._log(epoch)
                if self.step % self.settings.checkpoint == 0:
                    self._save(epoch)
                    saved_step = self.step
                now, is_last = time.monotonic(), self._is_finished()
                if is_last or now - last_report > REPORT_EVERY:
                    last_report = now
                    self._report(epoch, losses, is_last)
                stop_signal = self.group.any_rank_signal(received.signal)
            # Before the data are closed: whatever goes wrong then, nothing is lost.
            if saved_step != self.step:
                self._save(self._epoch())
        self.session.stopped_by = stop_signal
        self.session.log(self._describe_end(stop_signal))
        return self.run.folder.path

    def _log_to(self) -> str | None:
        return self.settings.log_to if self.group.rank == 0 else None

    def _save_profile(self, write: Callable[[Path], None]) -> None:
        def save() -> None:
            self.session.ensure_directory()
            write(self.run.folder.path)

        self.session.attempt("the profile", save, Exception)

    def _log_start(self) -> None:
        info, ranks = self.run.info, f" x {self.group.count} ranks" if self.group.count > 1 else ""
        skipped = getattr(self.session.dataset.samples, "left_out", None)
        samples = f"{info.count} samples" + (f"; {skipped}" if skipped else "")
        self.session.log(f"training {self.spec.name} on {info.name} ({samples}), {self.run.device}{ranks}, from step {self.step}")
        threads = torch.get_num_threads()
        if self.run.device.type == "cpu" and threads > 1 and (load := resources.busy()):
            advice = f"{option('threads', 1)} may be as fast as {threads}"
            self.session.log(f"other processes keep this machine busy (load {load:.0f}, {os.cpu_count()} cores): {advice}")
        if constant := parameters_without_optimizer(self.model, self.trainer.optimizers):
            self.session.log(f"warning: {', '.join(constant)} of the model are in no optimiser and stay as they are")
        if self.step == 0 and (notice := self.checkpointer.selector.notice):
            self.session.log(notice)

    def _do_step(self, batches: Generator[Batch]) -> dict[str, Tensor]:
        self.trainer.start_step(self.step, self._fraction())
        for number in range(self.settings.accumulate):
            with torch.profiler.record_function("batch"):
                shard, samples, condition = next(batches)
            self.trainer.start_microbatch(shard, number, self.settings.accumulate, condition)
            with torch.profiler.record_function("training_step"):
                losses = self.state.training_step(samples)
            self.metrics.add(losses, self.trainer.fraction)
        self.state.update_ema()
        self.step += 1
        return losses

    def _load(self) -> Generator[Batch]:
        if self.loader is not None:
            yield from self.loader.stream(self.step)
        targets = TargetLoader(self.session.dataset, self.state.targets, self.run.device, self.settings.seed, sparse=self.spec.sparse)
        (shard,) = self.group.shards(self.settings.batch_size)
        for samples in targets.stream(self._epoch):
            yield Batch(shard, samples, targets.condition)

    def _epoch(self) -> float:
        """Epochs done; a model that is given all targets counts its own outer iterations."""
        return self.step / self.loader.steps_per_epoch if self.loader else float(self.model.epoch)  # type: ignore[arg-type]

    def _is_finished(self) -> bool:
        max_steps = self.settings.max_steps
        at_end = self._epoch() >= self.settings.num_epochs or (max_steps is not None and self.step >= max_steps)
        return at_end or self.checkpointer.selector.is_out_of_patience(self.step)

    def _describe_end(self, stop_signal: int | None) -> str:
        out_of_patience = self.checkpointer.selector.is_out_of_patience(self.step)
        if self.step == self.first_step and not stop_signal:
            limit = "patience" if out_of_patience else "num_epochs" if self._epoch() >= self.settings.num_epochs else "max_steps"
            return f"nothing was left to do at step {self.step}; for more, pass a larger {option(limit)}"
        reason = "stopped by a signal" if stop_signal else "out of patience" if out_of_patience else "finished"
        return f"{reason} at step {self.step} after {time.monotonic() - self.started:.0f} s"

    def _fraction(self) -> float:
        """Fraction of the run that is done, by the nearer of its limits on epochs and steps."""
        of_steps = self.step / self.settings.max_steps if self.settings.max_steps else 0.0
        return min(1.0, max(of_steps, self._epoch() / self.settings.num_epochs))

    def _rate(self) -> float:
        """Samples per second since this process began to train."""
        return (self.step - self.first_step) * self.settings.batch_size / (time.monotonic() - self.started)

    def _report(self, epoch: float, losses: dict[str, Tensor], is_last: bool) -> None:
        values = {name: float(value.detach()) for name, value in losses.items()}
        memory = memory_in_use(self.run.device)
        self.run.progress.training(
            TrainingStatus(self.step, int(epoch) + 1, self.settings.num_epochs, self._fraction(), self._rate(), values, memory, is_last)
        )

    def _log(self, epoch: float) -> None:
        means = self.metrics.compute_and_reset()
        if diverged := [name for name, value in means.items() if not math.isfinite(value)]:
            raise self.checkpointer.divergence_error(", ".join(diverged), self.step)
        if means:
            self.session.record(self.step, {"epoch": int(epoch), "samples_per_second": round(self._rate(), 1), **means})

    def _save(self, epoch: float) -> None:
        self._log(epoch)
        with torch.profiler.record_function("save"):
            self.checkpointer.save(self.step, epoch)
