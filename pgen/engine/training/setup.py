"""Create or resume a run. All input is checked before anything is written."""

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
from pgen.engine.dataloading.dataset import TrainingDataset, count_shared, open_held_out, open_training_data
from pgen.engine.dataloading.moved_sources import locate_sources, resolve_moved
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.monitoring.loggers import logger_classes
from pgen.engine.run import Run
from pgen.engine.runtime.device import choose_device
from pgen.engine.runtime.progress import Progress
from pgen.engine.training.session import TrainingSession
from pgen.errors import ConfigError, DataError, option
from pgen.plugins import registry
from pgen.plugins.registry import Plugin
from pgen.plugins.specs import DataInfo, ModelConfig
from pgen.utils.files import Outputs
from pgen.utils.resources import limit_threads


def create_run(
    model: str,
    settings: TrainConfig,
    config: ModelConfig,
    *,
    progress: Progress | None = None,
    group: ProcessGroup | None = None,
    profile: bool = False,
) -> TrainingSession:
    """Create a run with its config.json.

    Args:
        model: Name of the model.
        settings: Options of training.
        config: Options of the model.
        progress: What training reports to.
        group: The processes that train it; None for this one only.
        profile: Whether to measure where the time of some steps goes.

    Returns:
        The session that trains it.

    Raises:
        PgenError: Data, options and model do not fit together; nothing has been written.
    """
    group, settings = group or ProcessGroup(), _with_threads(settings)
    with group.raise_together():
        session = _validate(model, settings, config, group)
    run = session.run
    group.require_distinct_gpus(run.device)
    session.profile, run.progress = profile, progress or Progress()
    run.folder = RunDirectory(
        group.on_rank_zero(lambda: next_run_path(settings.save_root, settings.name, model, overwrite=settings.overwrite))
    )
    path = group.on_rank_zero(lambda: _make_directory(session))
    if run.folder.path != path:  # on another rank, where the number is taken by now
        run.folder = RunDirectory(path)
    _log_notes(session)
    return session


def resume_run(
    path: str | Path,
    settings: TrainConfig,
    *,
    progress: Progress | None = None,
    group: ProcessGroup | None = None,
    profile: bool = False,
) -> TrainingSession:
    """Open a run to train it further with ``settings``, which its config.json then holds.

    Args:
        path: Directory of the run.
        settings: Options of training.
        progress: What training reports to.
        group: The processes that train it; None for this one only.
        profile: Whether to measure where the time of some steps goes.

    Returns:
        The session that trains it.

    Raises:
        PgenError: The run cannot be resumed; it is unchanged.
    """
    group, settings = group or ProcessGroup(), _with_threads(settings)
    with group.raise_together():
        run = Run.open(path, device=choose_device(settings.device, settings.gpu, group), progress=progress)
        saved = run.folder.read_config()
        settings_before, run.processes = TrainConfig.model_validate(saved["settings"]), group.count
        settings = resolve_moved(settings, settings_before)
        run.settings = locate_sources(settings, run.began_in)
        if run.settings == settings:
            run.began_in = str(Path.cwd())
        session = TrainingSession(run, group, profile)
        _check_divisible(settings, run.plugin, run.info, group)
        logger_classes(settings.log_to)
        _ = run.data  # a run that cannot be resumed is left as it was
        _check_held_out_unchanged(session)
    group.require_distinct_gpus(run.device)
    group.on_rank_zero(lambda: _resume_in_place(session, settings_before))
    _log_notes(session)
    return session


def _with_threads(settings: TrainConfig) -> TrainConfig:
    """Limit threads as the settings say, or note how many torch uses: the rounding of sums depends on it."""
    threads = torch.get_num_threads() if settings.threads is None else limit_threads(settings.threads)
    return settings.model_copy(update={"threads": threads})


def _validate(model: str, settings: TrainConfig, config: ModelConfig, group: ProcessGroup) -> TrainingSession:
    plugin = registry.load(model)
    device = choose_device(settings.device, settings.gpu, group)
    dataset = open_training_data(settings, plugin.spec, group.count)
    has_held_out_loss = callable(getattr(plugin.model_class(), "held_out_step", None))
    if settings.held_out is not None and settings.best_by is None and not has_held_out_loss:
        raise ConfigError(
            f"{option('held_out', settings.held_out)}: model {model!r} has no loss on held-out data; leave it out, "
            f"or name the metric that chooses the best checkpoint, as in {option('best_by', 'fpd')}."
        )
    if settings.patience is not None and settings.best_by is None and plugin.spec.best is None:
        raise ConfigError(
            f"{option('patience', settings.patience)}: model {model!r} does not say which checkpoint is better; add "
            f"{option('best_by', 'METRIC')}."
        )
    held_out = open_held_out(settings, dataset.info, group.count)
    image_info = dataset.info if dataset.info.kind == "images" else None  # of what samples become
    if (decoder := dataset.decoder()) is not None:
        image_info = load_decoder(decoder, dataset.info)[1].data  # a decoder of another training is refused here
    held_out_samples = None if held_out is None else held_out.samples
    if settings.best_by is not None:
        from pgen.engine.training.metric_score import check_best_by  # metrics need libraries that load slowly

        held_out_samples = check_best_by(settings, settings.best_by, plugin.model_class(), dataset.info, image_info, group.count)
    check_size(plugin, config, dataset.info, device)
    plugin.model_class()(config, dataset.info)  # options that do not fit the data are refused here
    _check_divisible(settings, plugin, dataset.info, group)
    logger_classes(settings.log_to)
    _refuse_deleting_inputs(settings)
    shared, total = count_shared(held_out_samples, dataset.samples)
    if shared and shared == total:
        raise DataError(f"{option('held_out', settings.held_out)} holds only training images; name images that the model does not see.")
    if shared:
        note = f"warning: {shared} of the {total} held-out images are training images too, which hides overfitting; split again"
        dataset = replace(dataset, notes=(*dataset.notes, note))
    run = Run(RunDirectory(settings.save_root), plugin, settings, config, device, processes=group.count, began_in=str(Path.cwd()))
    return TrainingSession.from_data(run, group, dataset, held_out)


def _make_directory(session: TrainingSession) -> Path:
    """Make the run directory with all that makes it a run, or nothing; return where it is."""
    run, settings = session.run, session.run.settings
    path = run.folder.path
    former = RunDirectory(path)
    if settings.overwrite and path.exists():
        former.acquire_lock()  # nobody trains it
    next_path = None if settings.name else partial(next_run_path, settings.save_root, None, run.plugin.spec.name, overwrite=False)
    with Outputs(overwrite=settings.overwrite) as outputs:
        draft = RunDirectory(outputs.add(path, folder=True, check=lambda _: former.is_in_place(), alternative=next_path))
        draft.path.mkdir()
        session.write_metadata(draft)
        draft.acquire_lock()  # before another process can see it
    former.release()
    run.folder = draft.follow_rename(outputs.targets[0])
    return run.folder.path


def _log_notes(session: TrainingSession) -> None:
    held_out: TrainingDataset | None = session.held_out
    for note in (*session.dataset.notes, *(held_out.notes if held_out else ())):
        session.log(note)


def _resume_in_place(session: TrainingSession, settings_before: TrainConfig) -> None:
    run = session.run
    run.folder.acquire_lock()
    if (count := run.folder.read_config().get("ranks", 1)) != session.group.count:
        session.log(f"{count} rank(s) trained this run before, now {session.group.count}")
    if run.device.type == "cpu" and settings_before.threads not in (None, run.settings.threads):
        before, now = settings_before.threads, run.settings.threads
        session.log(f"{before} thread(s) trained this run before, now {now}: from here on sums are rounded differently")
    length, length_before = _describe_length(run.settings), _describe_length(settings_before)
    if length != length_before and run.settings.lr_decay < 1:
        session.log(f"learning rates from here on are those of a run of {length}, no longer of {length_before}")
    run.folder.write_config(session.metadata())


def _describe_length(settings: TrainConfig) -> str:
    return f"{settings.num_epochs} epochs" + ("" if settings.max_steps is None else f" or {settings.max_steps} steps")


def _check_held_out_unchanged(session: TrainingSession) -> None:
    """Raise DataError if the held-out data are not those by which earlier checkpoints were compared."""
    settings, folder = session.run.settings, session.run.folder
    fingerprint = folder.read_config().get("held_out")
    if fingerprint and settings.held_out and fingerprint != session.held_out_fingerprint:
        raise DataError(
            f"{option('held_out', settings.held_out)} has changed since {folder.path} was compared with it, or is another set; restore it, "
            "or name where it is now."
        )


def _check_divisible(settings: TrainConfig, plugin: Plugin, info: DataInfo, group: ProcessGroup) -> None:
    """Raise ConfigError if samples or targets cannot be divided among the ranks. (The loader of images checks its batches.)"""
    if info.count < group.count:
        raise ConfigError(f"{info.name} holds {info.count} samples, fewer than the {group.count} ranks; launch fewer.")
    if plugin.spec.inputs == "targets" and settings.batch_size % group.count:
        raise ConfigError(f"{option('batch_size', settings.batch_size)}: expected a multiple of the {group.count} ranks; give another.")


def _refuse_deleting_inputs(settings: TrainConfig) -> None:
    """Raise ConfigError if `overwrite` would delete a directory that holds an input of the run."""
    if not settings.overwrite or settings.name is None:
        return
    target = (Path(settings.save_root) / settings.name).resolve()
    for source in filter(None, (settings.source, settings.targets, settings.held_out)):
        if any(path.resolve().is_relative_to(target) for path in files_of(source, data_root=settings.data_root)):
            raise ConfigError(
                f"{option('overwrite')} would delete {target}, which holds the input {source}; choose another {option('name')}."
            )
