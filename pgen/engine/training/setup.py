"""Beginning to train: a new run, or one that goes on. What can be wrong with the input is found before anything is written."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from pgen.data.io.sources import files_of
from pgen.engine.artifacts.decoder import load_decoder
from pgen.engine.artifacts.run_directory import RunDirectory, next_run_path
from pgen.engine.artifacts.weights import check_size
from pgen.engine.config import TrainConfig
from pgen.engine.dataloading.dataset import count_shared, open_held_out, open_training_data
from pgen.engine.dataloading.moved_sources import locate_sources, resolve_moved
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.monitoring.loggers import logger_classes
from pgen.engine.run import Run
from pgen.engine.runtime.device import choose_device
from pgen.engine.runtime.progress import Reporter
from pgen.errors import PgenError
from pgen.plugins import registry
from pgen.plugins.registry import Plugin
from pgen.plugins.specs import DataInfo, ModelConfig
from pgen.utils.files import Outputs
from pgen.utils.resources import limit_threads


def create(
    model: str, settings: TrainConfig, config: ModelConfig, reporter: Reporter | None = None, ranks: ProcessGroup | None = None
) -> Run:
    """A new run with its config.json, to be trained by this process alone or by all of ``ranks``."""
    ranks, settings = ranks or ProcessGroup(), _with_threads(settings)
    with ranks.raise_together():
        run = _validate(model, settings, config, ranks)
    ranks.require_distinct_gpus(run.device)
    run.folder = RunDirectory(
        ranks.on_rank_zero(lambda: next_run_path(settings.save_root, settings.name, model, overwrite=settings.overwrite))
    )
    run.reporter = reporter or Reporter()
    path = ranks.on_rank_zero(lambda: _make_folder(run))
    if run.folder.path != path:  # on another rank, where the number has come to be taken
        run.folder = RunDirectory(path)
    _say_notes(run)
    return run


def resume(path: str | Path, settings: TrainConfig, reporter: Reporter | None = None, ranks: ProcessGroup | None = None) -> Run:
    """The run in a folder, to be trained further with ``settings``, which its config.json then holds."""
    ranks, settings = ranks or ProcessGroup(), _with_threads(settings)
    with ranks.raise_together():
        run = Run.open(path, device=choose_device(settings.device, settings.gpu, ranks), reporter=reporter)
        saved = run.folder.read_config()
        before, run.ranks = TrainConfig.model_validate(saved["settings"]), ranks
        settings = resolve_moved(settings, before)
        run.settings = locate_sources(settings, run.began_in)
        if run.settings == settings:
            run.began_in = str(Path.cwd())
        _check_division(settings, run.plugin, run.info, ranks)
        logger_classes(settings.log_to)
        _ = run.data  # what cannot go on leaves the run as it was
        _check_held_out(run)
    ranks.require_distinct_gpus(run.device)
    ranks.on_rank_zero(lambda: _resume_in_place(run, before))
    _say_notes(run)
    return run


def _with_threads(settings: TrainConfig) -> TrainConfig:
    """Limit threads as the settings say, or note in them how many torch uses: the last digits of sums depend on it."""
    threads = torch.get_num_threads() if settings.threads is None else limit_threads(settings.threads)
    return settings.model_copy(update={"threads": threads})


def _validate(model: str, settings: TrainConfig, config: ModelConfig, ranks: ProcessGroup) -> Run:
    plugin = registry.load(model)
    device = choose_device(settings.device, settings.gpu, ranks)
    data = open_training_data(settings, plugin.spec, ranks.count)
    by_itself = callable(getattr(plugin.model_class(), "held_out_step", None))
    if settings.held_out is not None and settings.best_by is None and not by_itself:
        raise PgenError(
            f"--held-out {settings.held_out}: model {model!r} has no use for it while it trains; leave it out, "
            "or say by which metric it shall judge checkpoints, as in --best-by fpd."
        )
    if settings.patience is not None and settings.best_by is None and plugin.spec.best is None:
        raise PgenError(f"--patience {settings.patience}: model {model!r} does not say which checkpoint is better; add --best-by METRIC.")
    held_out = open_held_out(settings, data.info, ranks.count)
    decoder = data.decoder()
    images = data.info if data.info.kind == "images" else None  # what samples become
    if decoder is not None:
        images = load_decoder(decoder, data.info)[1].data  # one of another training is refused here
    judged_by = None if held_out is None else held_out.samples
    if settings.best_by is not None:
        from pgen.engine.training.metric_score import check_best_by  # not at the top: metrics need libraries that take long to load

        judged_by = check_best_by(settings, settings.best_by, plugin.model_class(), data.info, images, ranks.count)
    check_size(plugin, config, data.info, device)
    plugin.model_class()(config, data.info)  # options that do not fit the data are refused here
    _check_division(settings, plugin, data.info, ranks)
    logger_classes(settings.log_to)
    _refuse_deleting_inputs(settings)
    shared, total = count_shared(judged_by, data.samples)
    if shared and shared == total:
        raise PgenError(f"--held-out {settings.held_out} holds training images alone; name images that the model does not see.")
    if shared:
        note = f"warning: {shared} of the {total} held-out images are training images too, so overfitting is taken for quality; split again"
        data = replace(data, notes=(*data.notes, note))
    run = Run(RunDirectory(settings.save_root), plugin, settings, config, device, ranks=ranks, began_in=str(Path.cwd()))
    # What was opened for the checks is not opened again.
    run.__dict__.update(data=data, held_out=held_out, info=data.info)
    return run


def _make_folder(run: Run) -> Path:
    """With all that makes it a run, or not at all; where it lies."""
    settings, path = run.settings, run.folder.path
    former = RunDirectory(path)
    if settings.overwrite and path.exists():
        former.acquire_lock()  # nobody trains it
    again = None if settings.name else partial(next_run_path, settings.save_root, None, run.plugin.spec.name, overwrite=False)
    with Outputs(overwrite=settings.overwrite) as outputs:
        draft = RunDirectory(outputs.add(path, folder=True, check=lambda _: former.is_in_place(), alternative=again))
        draft.path.mkdir()
        run.write_metadata(draft)
        draft.acquire_lock()  # before another process can see it
    former.release()
    run.folder = draft.renamed(outputs.targets[0])
    return run.folder.path


def _say_notes(run: Run) -> None:
    for note in (*run.data.notes, *(run.held_out.notes if run.held_out else ())):
        run.log(note)


def _resume_in_place(run: Run, before: TrainConfig) -> None:
    run.folder.acquire_lock()
    if (count := run.folder.read_config().get("ranks", 1)) != run.ranks.count:
        run.log(f"{count} rank(s) trained this run before, now {run.ranks.count}")
    if run.device.type == "cpu" and before.threads not in (None, run.settings.threads):
        run.log(
            f"{before.threads} thread(s) trained this run before, now {run.settings.threads}: from here on sums are rounded differently"
        )
    lengths = [_length(settings) for settings in (run.settings, before)]
    if lengths[0] != lengths[1] and run.settings.lr_decay < 1:
        run.log(f"learning rates from here on are those of a run of {lengths[0]}, no longer of {lengths[1]}")
    run.folder.write_config(run.metadata())


def _length(settings: TrainConfig) -> str:
    """How long a run is to be."""
    return f"{settings.num_epochs} epochs" + ("" if settings.max_steps is None else f" or {settings.max_steps} steps")


def _check_held_out(run: Run) -> None:
    """UserError where the held-out data are no longer those that the checkpoints so far were judged by."""
    saved = run.folder.read_config().get("held_out")
    if saved and run.settings.held_out and saved != run.held_out_fingerprint:
        raise PgenError(
            f"--held-out {run.settings.held_out} has changed since {run.folder.path} was judged by it, or is another set; restore it, or "
            "name where it lies now."
        )


def _check_division(settings: TrainConfig, plugin: Plugin, info: DataInfo, ranks: ProcessGroup) -> None:
    """UserError where samples or targets cannot be shared out to the ranks. (Batches of images look for themselves.)"""
    if info.count < ranks.count:
        raise PgenError(f"{info.name} holds {info.count} samples, fewer than the {ranks.count} ranks; launch fewer.")
    if plugin.spec.inputs == "targets" and settings.batch_size % ranks.count:
        raise PgenError(f"--batch-size {settings.batch_size}: wanted a multiple of the {ranks.count} ranks; give another.")


def _refuse_deleting_inputs(settings: TrainConfig) -> None:
    """UserError where --overwrite would delete the run folder that the run's own input lies in."""
    if not settings.overwrite or settings.name is None:
        return
    doomed = (Path(settings.save_root) / settings.name).resolve()
    for source in filter(None, (settings.source, settings.targets, settings.held_out)):
        if any(path.resolve().is_relative_to(doomed) for path in files_of(source, data_root=settings.data_root)):
            raise PgenError(f"--overwrite would delete {doomed}, which holds the input {source}; choose another --name.")
