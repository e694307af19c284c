"""Beginning to train: a new run, or one that goes on. What can be wrong with the input is found before anything is written."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pgen.data.source import files_of
from pgen.engine.data import open_held_out, open_training_data
from pgen.engine.device import choose_device
from pgen.engine.folder import RunFolder, free_path
from pgen.engine.images import load_decoder
from pgen.engine.ranks import Ranks
from pgen.engine.reporter import Reporter
from pgen.engine.run import Run
from pgen.engine.settings import TrainSettings
from pgen.engine.sinks import sink_classes
from pgen.engine.weights import check_size
from pgen.errors import UserError
from pgen.files import Outputs
from pgen.plugins import registry
from pgen.plugins.contract import DataInfo, ModelConfig
from pgen.plugins.registry import Plugin


def create(model: str, settings: TrainSettings, config: ModelConfig, reporter: Reporter | None = None, ranks: Ranks | None = None) -> Run:
    """A new run with its config.json, to be trained by this process alone or by all of ``ranks``."""
    ranks = ranks or Ranks()
    with ranks.together():
        run = _checked(model, settings, config, ranks)
    ranks.stand_apart(run.device)
    run.folder = RunFolder(ranks.first(lambda: free_path(settings.save_root, settings.name, model, overwrite=settings.overwrite)))
    run.reporter = reporter or Reporter()
    path = ranks.first(lambda: _make_folder(run))
    if run.folder.path != path:  # on another rank, where the number has come to be taken
        run.folder = RunFolder(path)
    _say_notes(run)
    return run


def resume(path: str | Path, settings: TrainSettings, reporter: Reporter | None = None, ranks: Ranks | None = None) -> Run:
    """The run in a folder, to be trained further with ``settings``, which its config.json then holds."""
    ranks = ranks or Ranks()
    with ranks.together():
        run = Run.open(path, device=choose_device(settings.device, settings.gpu, ranks), reporter=reporter)
        before, run.settings, run.ranks = run.settings, settings, ranks
        _check_division(settings, run.plugin, run.info, ranks)
        sink_classes(settings.log_to)
        _ = run.data  # what cannot go on leaves the run as it was
        _check_held_out(run, before)
    ranks.stand_apart(run.device)
    ranks.first(lambda: _go_on(run, before))
    _say_notes(run)
    return run


def _checked(model: str, settings: TrainSettings, config: ModelConfig, ranks: Ranks) -> Run:
    plugin = registry.load(model)
    device = choose_device(settings.device, settings.gpu, ranks)
    data = open_training_data(settings, plugin.spec, ranks.count)
    by_itself = callable(getattr(plugin.model_class(), "held_out_step", None))
    if settings.held_out is not None and settings.best_by is None and not by_itself:
        raise UserError(
            f"--held-out {settings.held_out}: model {model!r} has no use for it while it trains; leave it out, "
            "or say by which metric it shall judge checkpoints, as in --best-by fpd."
        )
    if settings.patience is not None and settings.best_by is None and plugin.spec.best is None:
        raise UserError(f"--patience {settings.patience}: model {model!r} does not say which checkpoint is better; add --best-by METRIC.")
    held_out = open_held_out(settings, data.info, ranks.count)
    decoder = data.decoder()
    if decoder is not None:
        load_decoder(decoder, data.info)  # one of another training is refused here
    if settings.best_by is not None:
        from pgen.engine.best_by import check_best_by  # not at the top: metrics need libraries that take long to load

        check_best_by(settings, settings.best_by, plugin.model_class(), data.info)
    check_size(plugin, config, data.info, device)
    plugin.model_class()(config, data.info)  # options that do not fit the data are refused here
    _check_division(settings, plugin, data.info, ranks)
    sink_classes(settings.log_to)
    _spare_inputs(settings)
    run = Run(RunFolder(settings.save_root), plugin, settings, config, device, ranks=ranks)
    # What was opened for the checks is not opened again.
    run.__dict__.update(data=data, held_out=held_out, info=data.info)
    return run


def _make_folder(run: Run) -> Path:
    """With all that makes it a run, or not at all; where it lies."""
    settings, path = run.settings, run.folder.path
    former = RunFolder(path)
    if settings.overwrite and path.exists():
        former.claim()  # nobody trains it
    again = None if settings.name else partial(free_path, settings.save_root, None, run.plugin.spec.name, overwrite=False)
    with Outputs(overwrite=settings.overwrite) as outputs:
        draft = RunFolder(outputs.add(path, folder=True, check=lambda _: former.is_in_place(), otherwise=again))
        draft.path.mkdir()
        run.fill(draft)
        draft.claim()  # before another process can see it
    former.release()
    run.folder = draft.renamed(outputs.targets[0])
    return run.folder.path


def _say_notes(run: Run) -> None:
    for note in (*run.data.notes, *(run.held_out.notes if run.held_out else ())):
        run.say(note)


def _go_on(run: Run, before: TrainSettings) -> None:
    run.folder.claim()
    if (count := run.folder.read_config().get("ranks", 1)) != run.ranks.count:
        run.say(f"{count} rank(s) trained this run before, now {run.ranks.count}")
    if before.num_epochs != run.settings.num_epochs and run.settings.lr_decay < 1:
        epochs = f"{run.settings.num_epochs} epochs, no longer of {before.num_epochs}"
        run.say(f"learning rates from here on are those of a run of {epochs}")
    run.folder.write_config(run.facts())


def _check_held_out(run: Run, before: TrainSettings) -> None:
    """UserError where the held-out data are no longer those that the checkpoints so far were judged by."""
    saved = run.folder.read_config().get("held_out")
    if saved and before.held_out == run.settings.held_out and saved != run.held_out_fingerprint:
        raise UserError(f"--held-out {before.held_out} has changed since {run.folder.path} was judged by it; restore it or name another.")


def _check_division(settings: TrainSettings, plugin: Plugin, info: DataInfo, ranks: Ranks) -> None:
    """UserError where samples or targets cannot be shared out to the ranks. (Batches of images look for themselves.)"""
    if info.count < ranks.count:
        raise UserError(f"{info.name} holds {info.count} samples, fewer than the {ranks.count} ranks; launch fewer.")
    if plugin.spec.inputs == "targets" and settings.batch_size % ranks.count:
        raise UserError(f"--batch-size {settings.batch_size}: wanted a multiple of the {ranks.count} ranks; give another.")


def _spare_inputs(settings: TrainSettings) -> None:
    """UserError where --overwrite would delete the run folder that the run's own input lies in."""
    if not settings.overwrite or settings.name is None:
        return
    doomed = (Path(settings.save_root) / settings.name).resolve()
    for source in filter(None, (settings.source, settings.targets, settings.held_out)):
        if any(path.resolve().is_relative_to(doomed) for path in files_of(source, data_root=settings.data_root)):
            raise UserError(f"--overwrite would delete {doomed}, which holds the input {source}; choose another --name.")
