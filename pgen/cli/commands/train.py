"""`pgen train MODEL`: a command for each installed model, built when it is named."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pgen.cli.commands import presets
from pgen.cli.console import console, follow, training_progress
from pgen.errors import PgenError, Stopped, option_name
from pgen.utils.paths import expand
from pgen.utils.text import printable

if TYPE_CHECKING:
    from pgen.engine.config import TrainConfig
    from pgen.engine.training.session import TrainingSession
    from pgen.plugins import registry
    from pgen.plugins.specs import ModelConfig

_OWN = "Run"
HELP = "Train a model, as in `pgen train gan --data images.h5`; each has options of its own: `pgen train MODEL --help`."
AUTO = "auto"  #: what --resume says in a job script that may be started again


class ModelGroup(TyperGroup):
    """Lists the installed models with their summaries; the one that is named becomes a command with its own options."""

    def list_commands(self, ctx: Any) -> list[str]:
        return _names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _names():
            return None
        stub = typer.Typer()
        stub.command(name=cmd_name, help=_summary(cmd_name))(lambda: None)
        return get_command(stub)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return args[0], model_command(args[0]), args[1:]


class PlainCommand(TyperCommand):
    """Help in plain text, by panels: some fifty options in Rich's frames would take a third of the time of the help page."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Options", []).append(record)
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl([(printable(name), printable(text)) for name, text in rows])


app = typer.Typer(cls=ModelGroup, help=HELP, no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


def _names() -> list[str]:
    # Not at the top: pydantic, which the registry needs, would double the time of `pgen --help`.
    from pgen.plugins import registry

    return registry.names()


def _summary(name: str) -> str:
    from pgen.plugins import registry
    from pgen.plugins.entry_points import MODELS, entries

    entry = next(entry for entry in entries(MODELS) if entry.name == name)
    # Of another's plug-in what its package says of itself: one that is slow to import, or broken, must not be felt here.
    return printable(registry.load(name).spec.summary if entry.distribution == "pgen" else entry.summary)


def model_command(name: str) -> Any:
    """The command of one model: the engine's options and the model's own."""
    from pgen.cli.options import parameters
    from pgen.engine.config import TrainConfig
    from pgen.plugins import registry
    from pgen.plugins.entry_points import plugin_error

    plugin = registry.load(name)
    config = plugin.config_class()
    own = inspect.signature(_train).parameters
    clash = sorted(set(config.model_fields) & (set(TrainConfig.model_fields) | set(own)))
    if clash:
        raise plugin_error(plugin.entry, f"its options {', '.join(map(option_name, clash))} are the engine's, and must be renamed")
    if strange := sorted(set(plugin.spec.settings) - set(TrainConfig.model_fields)):
        raise plugin_error(plugin.entry, f"its spec's settings name {', '.join(strange)}, which pgen train has no option for")
    if bare := [option_name(key) for key, field in config.model_fields.items() if field.is_required()]:
        raise plugin_error(plugin.entry, f"its options {', '.join(bare)} have no default")
    try:
        its_own = parameters(config, f"Options of {name}", {})
    except PgenError as error:
        raise plugin_error(plugin.entry, str(error).rstrip(".")) from error

    def command(**values: Any) -> None:
        special = {key: values.pop(key) for key in own if key in values}
        _train(plugin, {key: value for key, value in values.items() if value is not None}, **special)

    run = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for key, p in inspect.signature(_options).parameters.items()]
    every = [*its_own, *parameters(TrainConfig, "Training", plugin.spec.settings), *run]
    command.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in every}
    single = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
    wide = {"max_content_width": 120}
    single.command(name=name, cls=PlainCommand, help=printable(f"Train {name}: {plugin.spec.summary}."), context_settings=wide)(command)
    return get_command(single)


def _options(
    resume: Annotated[
        str | None, typer.Option(help="Run folder to train further; auto: that of --name, if there is one.", rich_help_panel=_OWN)
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Begin with the options of a known job: {', '.join(presets.names())}.", rich_help_panel=_OWN)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML or JSON file of options; those of the command line come first.", rich_help_panel=_OWN)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print all options as they would be, and stop.", rich_help_panel=_OWN)] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Measure where the time of 20 steps goes.", rich_help_panel=_OWN)] = False,
    requeue_exit_code: Annotated[
        int | None,
        typer.Option(min=1, max=255, help="Exit code when a signal stops it, for schedulers that start again.", rich_help_panel=_OWN),
    ] = None,
) -> None:
    """Options of the command itself."""


# Annotations of a synthetic signature must be objects, not the strings that the future import makes of them.
_options.__annotations__ = inspect.get_annotations(_options, eval_str=True)
_options.__signature__ = inspect.signature(_options, eval_str=True)  # type: ignore[attr-defined]


def _train(
    plugin: registry.Plugin,
    given: dict[str, Any],
    resume: str | None,
    preset: str | None,
    config: Path | None,
    dry_run: bool,
    profile: bool,
    requeue_exit_code: int | None,
) -> None:
    from pgen.cli.options import read_config
    from pgen.engine.distributed import process_group
    from pgen.utils.resources import limit_threads

    given = {**read_config(config), **given}
    known = presets.preset(preset, plugin.spec.name)
    if "dataset" in given:
        known.pop("data", None)  # two names of one option
    given = {**known, **given}
    if dry_run:
        _, settings, options = _resolved(plugin, given, resume)
        values = {"settings": settings.model_dump(mode="json"), "config": options.model_dump(mode="json")}
        console.print_json(data={"model": plugin.spec.name, **values}, ensure_ascii=True)
        return
    limit_threads()  # before ranks, which find each other by torch
    with _stopped_with(requeue_exit_code), process_group() as group, training_progress(silent=group.rank > 0) as progress:
        # The run that --resume auto finds is not to be one that a faster rank has just begun.
        with group.raise_together():
            path, settings, options = _resolved(plugin, given, resume)
        limit_threads(settings.threads)
        from pgen.engine.training.setup import create_run, resume_run

        common: Any = {"progress": progress, "group": group, "profile": profile}
        if path is None:
            session = create_run(plugin.spec.name, settings, options, **common)
        else:
            session = resume_run(path, settings, **common)
        session.train()
    if group.rank == 0:
        _print_next_steps(plugin, session)
    if session.stopped_by is not None:
        raise typer.Exit(requeue_exit_code or 128 + session.stopped_by)


@contextmanager
def _stopped_with(exit_code: int | None) -> Iterator[None]:
    """A block that a signal ends with that exit code, before training or after it, too."""
    try:
        yield
    except Stopped as stop:
        stop.exit_code = exit_code or stop.exit_code
        raise


def _print_next_steps(plugin: registry.Plugin, session: TrainingSession) -> None:
    from pgen.cli.next_steps import next_steps

    path = session.run.folder.path
    console.print(f"Run: {path}", markup=False, highlight=False, soft_wrap=True)
    if session.stopped_by is not None:
        follow(("train", plugin.spec.name, "--resume", path))
    else:
        follow(*list(next_steps(path))[:2])


def _resolved(plugin: registry.Plugin, given: dict[str, Any], resume: str | None) -> tuple[Path | None, TrainConfig, ModelConfig]:
    """The run to go on with, if any, and all options."""
    from pgen.cli.options import validate
    from pgen.engine.config import TrainConfig

    parts: list[Any] = [(TrainConfig, dict(plugin.spec.settings)), (plugin.config_class(), {})]
    path = None if resume is None else expand(resume)
    if resume == AUTO:
        fresh, _ = validate(parts, given)
        path = _run_of(fresh)  # type: ignore[arg-type]
    if path is not None:
        defaults, options = _resumed(plugin.spec.name, path, given)
        parts = [(TrainConfig, defaults), (plugin.config_class(), options)]
    settings, model_options = validate(parts, given)
    return path, settings, model_options  # type: ignore[return-value]


def _run_of(settings: TrainConfig) -> Path | None:
    """The folder of a run of this name, where there is one."""
    from pgen.utils.files import restore

    if settings.name is None or settings.overwrite:
        raise PgenError("--resume auto goes on with the run of a --name and never replaces it; give a --name, and no --overwrite.")
    path = Path(settings.save_root) / settings.name
    restore(path)
    return path if path.exists() else None


def _resumed(name: str, resume: Path, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the run, after checking that nothing is asked to change that would make it another run."""
    from pgen.engine.artifacts.run_directory import RunDirectory
    from pgen.engine.config import MOVABLE, RESUMABLE, TrainConfig
    from pgen.utils.resources import cores

    saved = RunDirectory.open(resume).read_config()
    if saved["model"] != name:
        raise PgenError(f"--resume {resume} holds a run of {saved['model']!r}; go on with `pgen train {saved['model']} --resume {resume}`.")
    # A run of an earlier version lacks options that have come since.
    before = {**TrainConfig.model_validate({}).model_dump(mode="json"), **saved["settings"], **saved["config"]}
    # A run without held-out data did not choose its checkpoints by any.
    judged = bool(before["held_out"] and given.get("held_out"))
    may_change = RESUMABLE | (MOVABLE if judged else MOVABLE - {"held_out"})
    changed = [
        f"{option_name(key)} from {before[key]} to {value}"
        for key, value in given.items()
        if key in before and before[key] != value and key not in may_change
    ]
    if changed:
        raise PgenError(
            f"--resume {resume} cannot change {', '.join(changed)}; only run length, logging and where the data lie may change. "
            "Start a new run instead."
        )
    settings = dict(saved["settings"])
    if (training := {"data", "dataset", "targets"}) & given.keys():
        settings = {key: value for key, value in settings.items() if key not in training}
    if {"device", "gpu"} & given.keys():
        # Two ways to name one thing: what is given stands in for both.
        settings = {key: value for key, value in settings.items() if key not in ("device", "gpu")}
    if settings.get("threads"):
        # As many as before, since sums depend on their number, but no more than this job may use.
        settings["threads"] = min(settings["threads"], cores())
    return settings, saved["config"]
