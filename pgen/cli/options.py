"""Options that commands share, and the conversion of pydantic fields to options and back."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pgen.errors import ConfigError, PluginError, option, option_name
from pgen.utils import resources
from pgen.utils.paths import expand, expand_option
from pgen.utils.spelling import Format

IMAGES = "A file or folder of images, a pattern such as 'run*.h5', mnist or simulate. Options follow a colon: FILE:limit=100,plane=2."
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=IMAGES)]
OutFile = Annotated[
    Path, typer.Option(help="Output: FILE.h5 (image store), FILE.npz, or a folder of PNGs (no suffix).", callback=expand_option)
]
DataRoot = Annotated[str | None, typer.Option(help="Folder that relative paths of images start from.", callback=expand_option)]
Decoder = Annotated[
    str | None,
    typer.Option(help="Run folder of the auto-encoder that decodes latent codes, if RUN has no decoder.", callback=expand_option),
]
Checkpoint = Annotated[str, typer.Option(help="Checkpoint to use: best, last, or a step number.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images per batch. Smaller batches need less memory.")]
Device = Annotated[str, typer.Option(help="Device: auto (a GPU if there is one), cpu, cuda or cuda:i.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")]
MaxSkipped = Annotated[
    str | None,
    typer.Option(help="Most unusable events to skip: a number, or a fraction such as 0.1 or 10%.", show_default="10%"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
FileFormat = Annotated[
    Format | None, typer.Option(help="File format, if the suffix is ambiguous: .h5 is store (default) or larcv3.", show_default=False)
]


def _limit_threads(count: int | None) -> int | None:
    """Limit threads while options are parsed, before the numerical libraries are imported."""
    resources.limit_threads(count)
    return count


Threads = Annotated[int | None, typer.Option(min=1, callback=_limit_threads, help="CPU threads.", show_default="all cores of the job")]


def make_parameters(config: type[BaseModel], panel: str, defaults: dict[str, Any]) -> list[inspect.Parameter]:
    """Make an option of each field of a pydantic model.

    Args:
        config: The model.
        panel: Title of the options in the help.
        defaults: Defaults that differ from those of the fields.

    Returns:
        Keyword parameters with default None, which means "not given": a config file may give it.
    """
    return [
        _make_parameter(
            name, field, panel, defaults.get(name, None if field.is_required() else field.get_default(call_default_factory=True))
        )
        for name, field in config.model_fields.items()
    ]


def _make_parameter(name: str, field: FieldInfo, panel: str, default: Any) -> inspect.Parameter:
    kind = _option_type(name, field.annotation)
    declarations = [f"{option_name(name)}/--no-{name.replace('_', '-')}"] if kind is bool else [option_name(name)]
    shown = str(default).lower() if kind is bool else default
    description = field.description or ""
    text = description if default is None else f"{description} [default: {shown}]"
    declaration = typer.Option(*declarations, help=text, rich_help_panel=panel, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, declaration])


def _option_type(name: str, annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        types = [part for part in get_args(annotation) if part is not NoneType]
        if len(types) == 1:
            return _option_type(name, types[0])
    if annotation in (bool, int, float, str) or get_origin(annotation) is Literal:
        return annotation
    raise PluginError(f"Option {option(name)} has type {annotation}; a command-line option must be a bool, int, float, str or Literal.")


def parse_extra_options(words: list[str]) -> dict[str, str]:
    """Parse ``--name value`` and ``--name=value`` of options that a command does not define itself.

    Returns:
        Values by name.

    Raises:
        ConfigError: A word is not an option, or an option has no value.
    """
    values: dict[str, str] = {}
    remaining = list(words)
    while remaining:
        name, equals, value = remaining.pop(0).partition("=")
        if not re.fullmatch(r"--[A-Za-z]\S*", name):
            raise ConfigError(f"{name}: unexpected argument; options are written --OPTION VALUE.")
        if not equals:
            if not remaining or remaining[0].startswith("--"):
                raise ConfigError(f"{name}: no such option, or its value is missing.")
            value = remaining.pop(0)
        values[name[2:].replace("-", "_")] = value
    return values


def read_config(path: Path | None) -> dict[str, Any]:
    """Read options from a TOML or JSON file, or from the config.json of a run.

    Returns:
        Values by name; none without a path.

    Raises:
        ConfigError: The file cannot be read, or is not a table.
    """
    if path is None:
        return {}
    file = expand(path)
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{option('config', path)}: {error}; expected a TOML or JSON file of options.".replace("\n", " ")) from error
    if not isinstance(values, dict):
        raise ConfigError(f"{option('config', path)}: expected a table of options, got a {type(values).__name__}.")
    if values.get("format") == "pgen-run-1":
        # Neither the name of a run nor the permission to replace it is inherited.
        parts: list[Any] = [values.get(part) for part in ("settings", "config")]
        if not all(isinstance(part, dict) for part in parts):
            raise ConfigError(f"{option('config', path)}: expected the config.json of a run, but settings and config are not both tables.")
        values = {k: v for part in parts for k, v in part.items() if k not in ("name", "overwrite")}
    return {key.replace("-", "_"): value for key, value in values.items()}
