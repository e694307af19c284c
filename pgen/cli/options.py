"""From pydantic fields to command-line options, and back to validated settings. The only file that knows Typer's insides."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pgen.errors import PgenError, option_name, validation_messages
from pgen.utils import resources
from pgen.utils.formats import Format
from pgen.utils.paths import expand, expand_option

IMAGES = "Images: a file, a folder, 'a*pattern', mnist or simulate; options after a colon, as in FILE:limit=100,plane=2."
Source = Annotated[str, typer.Argument(metavar="SOURCE", help=IMAGES)]
DataRoot = Annotated[str | None, typer.Option(help="Folder that relative paths of images start from.", callback=expand_option)]
Decoder = Annotated[
    str | None,
    typer.Option(
        help="Run folder of the auto-encoder that makes images of codes, where the run has none of its own.", callback=expand_option
    ),
]
MaxSkipped = Annotated[
    str | None,
    typer.Option(help="Odd events to skip at most, as doubled planes: a number, or a fraction as 0.1 or 10%.", show_default="10%"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]
FileFormat = Annotated[
    Format | None, typer.Option(help="Format, where the name of the file leaves a choice: .h5 is a store, or larcv3.", show_default=False)
]


def _limit_threads(count: int | None) -> int | None:
    """Limit threads while the command line is parsed: before the libraries load that are to be limited."""
    resources.limit_threads(count)
    return count


Threads = Annotated[
    int | None,
    typer.Option(min=1, callback=_limit_threads, help="Threads that compute.", show_default="the cores that this job may use"),
]


def parameters(config: type[BaseModel], panel: str, defaults: dict[str, Any]) -> list[inspect.Parameter]:
    """One keyword parameter for each field. All default to None, "not given", so that a config file can stand between."""
    return [
        _parameter(name, field, panel, defaults.get(name, None if field.is_required() else field.get_default(call_default_factory=True)))
        for name, field in config.model_fields.items()
    ]


def _parameter(name: str, field: FieldInfo, panel: str, default: Any) -> inspect.Parameter:
    kind = _option_type(name, field.annotation)
    declarations = [f"{option_name(name)}/--no-{name.replace('_', '-')}"] if kind is bool else [option_name(name)]
    shown = str(default).lower() if kind is bool else default
    one_line = field.description or ""
    text = one_line if default is None else f"{one_line} [default: {shown}]"
    option = typer.Option(*declarations, help=text, rich_help_panel=panel, show_default=False)
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def _option_type(name: str, annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        inner = [part for part in get_args(annotation) if part is not NoneType]
        if len(inner) == 1:
            return _option_type(name, inner[0])
    if annotation in (bool, int, float, str) or get_origin(annotation) is Literal:
        return annotation
    raise PgenError(
        f"Option {option_name(name)} has type {annotation}, which cannot be given on a command line; wanted bool, int, float, str or a Literal."
    )


def more_options(words: list[str]) -> dict[str, str]:
    """``--name value`` and ``--name=value`` that a command does not know itself, by name. UserError for anything else."""
    found: dict[str, str] = {}
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if not re.fullmatch(r"--[A-Za-z]\S*", name):
            raise PgenError(f"{name}: not expected here; wanted --OPTION VALUE.")
        if not equals:
            if not left or left[0].startswith("--"):
                raise PgenError(f"{name}: no such option, or one without its value.")
            value = left.pop(0)
        found[name[2:].replace("-", "_")] = value
    return found


def read_config(path: Path | None) -> dict[str, Any]:
    """Options from a TOML or JSON file, names in either spelling; a run's config.json gives that run's options."""
    if path is None:
        return {}
    try:
        text = expand(path).read_text(encoding="utf-8")
        values = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise PgenError(f"--config {path}: {error}; wanted a TOML or JSON file of options.".replace("\n", " ")) from error
    if not isinstance(values, dict):
        raise PgenError(f"--config {path}: found a {type(values).__name__}, wanted a table of options.")
    if values.get("format") == "pgen-run-1":
        # A name, and leave to delete the run that has it, are not inherited.
        parts: list[Any] = [values.get(part) for part in ("settings", "config")]
        if not all(isinstance(part, dict) for part in parts):
            raise PgenError(f"--config {path}: its settings and config must be tables of names and values; wanted a run's config.json.")
        values = {k: v for part in parts for k, v in part.items() if k not in ("name", "overwrite")}
    return {key.replace("-", "_"): value for key, value in values.items()}


def validate(parts: list[tuple[type[BaseModel], dict[str, Any]]], given: dict[str, Any]) -> list[BaseModel]:
    """Options by class: defaults, then what was given. All problems are told at once."""
    known = {name for config, _ in parts for name in config.model_fields}
    wrong = [f"{option_name(name)}: no such option" for name in given if name not in known]
    models = []
    for config, defaults in parts:
        own = {name: value for name, value in given.items() if name in config.model_fields}
        try:
            models.append(config.model_validate({**defaults, **own}))
        except ValidationError as error:
            wrong += validation_messages(error)
    if wrong:
        raise PgenError("; ".join(wrong) + ".")
    return models
