"""`pgen train MODEL`: a command for each installed model, built when it is used."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pgen.cli.commands import presets
from pgen.cli.console import console, echo, print_next_steps, show_progress
from pgen.errors import ConfigError, PgenError, RunError, Stopped, option, option_name
from pgen.utils.paths import expand
from pgen.utils.text import printable

if TYPE_CHECKING:
    from pgen.engine.config import TrainConfig
    from pgen.engine.training.session import TrainingSession
    from pgen.plugins import registry
    from pgen.plugins.specs import ModelConfig

_PANEL = "Run"
HELP = "Train a model, for example `pgen train gan --data images.h5`. See its options by `pgen train MODEL --help`."
#: Value of --resume in a job script that may be started again.
AUTO = "auto"


class ModelGroup(TyperGroup):
    """Lists the installed models, and builds the command of the one that is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the models."""
        return _names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a stub with the summary of a model, for the help page."""
        if cmd_name not in _names():
            return None
        stub = typer.Typer()
        stub.command(name=cmd_name, help=_summary(cmd_name))(lambda: None)
        return get_command(stub)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of the model that is named."""
        return args[0], model_command(args[0]), args[1:]


class PlainCommand(TyperCommand):
    """Prints help in plain text: frames around fifty options would take a third of the time."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, grouped by panel."""
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
    # Imported here, because the registry needs pydantic, which would double the time of `pgen
    # --help`.
    from pgen.plugins import registry

    return registry.names()


def _summary(name: str) -> str:
    from pgen.plugins import registry
    from pgen.plugins.entry_points import MODELS, entries

    entry = next(entry for entry in entries(MODELS) if entry.name == name)
    # For the plug-in of another package the summary is that of the package: importing it may be
    # slow or fail.
    return printable(registry.load(name).spec.summary if entry.is_builtin else entry.summary)


def model_command(name: str) -> Any:
    """Build the command of one model, with its own options and those of training.

    Raises:
        PgenError: The model does not load, or its options are invalid.
    """
    from pgen.cli.options import make_parameters
    from pgen.engine.config import TrainConfig
    from pgen.plugins import registry
    from pgen.plugins.entry_points import plugin_error

    plugin = registry.load(name)
    config = plugin.config_class()
    own = inspect.signature(_train).parameters
    clash = sorted(set(config.model_fields) & (set(TrainConfig.model_fields) | set(own)))
    if clash:
        raise plugin_error(plugin.entry, f"its options {', '.join(map(option_name, clash))} are also options of pgen; rename them")
    if unknown := sorted(set(plugin.spec.settings) - set(TrainConfig.model_fields)):
        raise plugin_error(plugin.entry, f"its spec has settings for {', '.join(unknown)}, which are not options of pgen train")
    if required := [option_name(key) for key, field in config.model_fields.items() if field.is_required()]:
        raise plugin_error(plugin.entry, f"its options {', '.join(required)} have no default")
    try:
        model_parameters = make_parameters(config, f"Options of {name}", {})
    except PgenError as error:
        raise plugin_error(plugin.entry, str(error).rstrip(".")) from error

    def command(**values: Any) -> None:
        run_options = {key: values.pop(key) for key in own if key in values}
        _train(plugin, {key: value for key, value in values.items() if value is not None}, **run_options)

    run_parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for key, p in inspect.signature(_options).parameters.items()]
    parameters = [*model_parameters, *make_parameters(TrainConfig, "Training", plugin.spec.settings), *run_parameters]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    single = typer.Typer(pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None)
    text = printable(f"Train {name}: {plugin.spec.summary}.")
    single.command(name=name, cls=PlainCommand, help=text, context_settings={"max_content_width": 120})(command)
    return get_command(single)


def _options(
    resume: Annotated[
        str | None,
        typer.Option(help="Continue the training of this run folder; auto: of the run --name, if it exists.", rich_help_panel=_PANEL),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Start from tested options: {', '.join(presets.preset_names())}.", rich_help_panel=_PANEL)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML or JSON file of options. Options on the command line take precedence.", rich_help_panel=_PANEL)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the values of all options and exit.", rich_help_panel=_PANEL)] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Profile 20 training steps.", rich_help_panel=_PANEL)] = False,
    requeue_exit_code: Annotated[
        int | None,
        typer.Option(min=1, max=255, help="Exit code after a stop by a signal, for schedulers that restart jobs.", rich_help_panel=_PANEL),
    ] = None,
) -> None:
    """Options of the command itself."""


# A synthetic signature needs annotations that are objects, not strings as `annotations` makes them.
_options.__annotations__ = inspect.get_annotations(_options, eval_str=True)
_options.__signature__ = inspect.signature(_options, eval_str=True)  # type: ignore[attr-defined]


def _train(
    plugin: registry.Plugin,
    options: dict[str, Any],
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

    options = {**read_config(config), **options}
    preset_options = presets.load_preset(preset, plugin.spec.name)
    if "dataset" in options:
        preset_options.pop("data", None)  # two names of one option
    options = {**preset_options, **options}
    if dry_run:
        _, settings, model_config = _resolve_options(plugin, options, resume)
        values = {"settings": settings.model_dump(mode="json"), "config": model_config.model_dump(mode="json")}
        console.print_json(data={"model": plugin.spec.name, **values}, ensure_ascii=True)
        return
    limit_threads()  # before ranks connect, which imports torch
    with _exit_code_of_stop(requeue_exit_code), process_group() as group, show_progress("starting", silent=group.rank > 0) as progress:
        # Together, so that --resume auto does not find the run that a faster rank has just created.
        with group.raise_together():
            path, settings, model_config = _resolve_options(plugin, options, resume)
        limit_threads(settings.threads)
        from pgen.engine import hooks
        from pgen.engine.training.setup import create_run, resume_run

        start = partial(create_run, plugin.spec.name, settings, model_config) if path is None else partial(resume_run, path, settings)
        session = start(progress=progress, group=group, profile=profile)
        hooks.train_session(session)
    if group.rank == 0:
        _suggest_next_steps(plugin, session)
    if session.stopped_by is not None:
        raise typer.Exit(requeue_exit_code or 128 + session.stopped_by)


@contextmanager
def _exit_code_of_stop(exit_code: int | None) -> Iterator[None]:
    """Set the exit code of a signal that ends the block, also before or after training."""
    try:
        yield
    except Stopped as stop:
        stop.exit_code = exit_code or stop.exit_code
        raise


def _suggest_next_steps(plugin: registry.Plugin, session: TrainingSession) -> None:
    from pgen.cli.next_steps import suggest_next_steps

    path = session.run.folder.path
    echo(f"Run: {path}")
    if session.stopped_by is not None:
        print_next_steps(("train", plugin.spec.name, "--resume", path))
    else:
        print_next_steps(*list(suggest_next_steps(path))[:2])


def _resolve_options(plugin: registry.Plugin, options: dict[str, Any], resume: str | None) -> tuple[Path | None, TrainConfig, ModelConfig]:
    """Return the run to resume, if any, the options of training and those of the model."""
    from pgen.engine.config import TrainConfig, validate_options

    parts: list[Any] = [(TrainConfig, dict(plugin.spec.settings)), (plugin.config_class(), {})]
    path = None if resume is None else expand(resume)
    if resume == AUTO:
        train_config, _ = validate_options(parts, options)
        path = _find_run(train_config)  # type: ignore[arg-type]
    if path is not None:
        settings, config = _load_options(plugin.spec.name, path, options)
        parts = [(TrainConfig, settings), (plugin.config_class(), config)]
    train_config, model_config = validate_options(parts, options)
    return path, train_config, model_config  # type: ignore[return-value]


def _find_run(settings: TrainConfig) -> Path | None:
    """Return the folder of the run of this name, if there is one."""
    from pgen.utils.drafts import restore

    if settings.name is None or settings.overwrite:
        raise ConfigError(f"{option('resume', AUTO)} needs {option('name')}, the run to resume, and no {option('overwrite')}.")
    path = Path(settings.save_root) / settings.name
    restore(path)
    return path if path.exists() else None


def _load_options(name: str, resume: Path, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load the options of a run to be resumed.

    Args:
        name: The model.
        resume: The run folder.
        options: New values of options.

    Returns:
        The options of training without those that ``options`` replaces, and the options of the
        model.

    Raises:
        RunError: The run is of another model, or ``options`` would make it a different run.
    """
    from pgen.engine.artifacts.run_directory import RunDirectory
    from pgen.engine.config import MOVABLE, RESUMABLE, TrainConfig
    from pgen.utils.resources import cores

    saved = RunDirectory.open(resume).read_config()
    if saved["model"] != name:
        raise RunError(f"{option('resume', resume)} is a run of {saved['model']}; use `pgen train {saved['model']} --resume {resume}`.")
    # Runs of earlier versions lack newer options.
    before = {**TrainConfig.model_validate({}).model_dump(mode="json"), **saved["settings"], **saved["config"]}
    # A run without held-out data cannot start to choose its checkpoints by them.
    has_held_out = bool(before["held_out"] and options.get("held_out"))
    changeable = RESUMABLE | (MOVABLE if has_held_out else MOVABLE - {"held_out"})
    changed = [
        f"{option(key)} from {before[key]} to {value}"
        for key, value in options.items()
        if key in before and before[key] != value and key not in changeable
    ]
    if changed:
        raise RunError(
            f"{option('resume', resume)} cannot change {', '.join(changed)}; only run length, logging and data paths can change. "
            "Start a new run instead."
        )
    settings = dict(saved["settings"])
    if (sources := {"data", "dataset", "targets"}) & options.keys():
        settings = {key: value for key, value in settings.items() if key not in sources}
    if {"device", "gpu"} & options.keys():
        # Two options for the same thing: either replaces both.
        settings = {key: value for key, value in settings.items() if key not in ("device", "gpu")}
    if settings.get("threads"):
        # As many as before, because sums depend on it, but no more than this job may use.
        settings["threads"] = min(settings["threads"], cores())
    return settings, saved["config"]
