"""Every command and option of pgen, from the objects that the command line itself is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typer.main import get_command

from pgen.cli.app import app
from pgen.cli.commands import presets
from pgen.cli.commands.train import model_command
from pgen.engine.config import TrainConfig
from pgen.plugins import registry
from pgen.plugins.entry_points import MODELS, entries

_DEFAULT = re.compile(r"\s*\[default: (.+?)\]$")
#: Options that every command has, and that say nothing here.
_COMMON = {"--help", "--install-completion", "--show-completion"}
_NAMES = {int: "whole number", float: "number", str: "text", Path: "path", bool: "flag"}
_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def commands() -> str:
    root = get_command(app)
    return "\n".join([*_table("`pgen`, before any command", _options(root)), *_of_group(root, "pgen")])


def _of_group(group: Any, path: str) -> Iterator[str]:
    context = _context(group, path)
    for name in group.list_commands(context):
        if path == "pgen" and name == "train":
            yield from _training(group.get_command(context, name))
        elif path == "pgen" and name == "evaluate":
            yield from _evaluating(group.get_command(context, name))
        else:
            command = group.get_command(context, name)
            yield from _command(command, f"{path} {name}")
            if hasattr(command, "list_commands"):
                yield from _of_group(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    level = "##" if path.count(" ") == 1 else "###"
    yield from ("", f"{level} {path}", "", _plain(command.help), "")
    yield from _table("", [*_arguments(command), *_options(command)])


def _training(group: Any) -> Iterator[str]:
    """One command a model: what they share is told once."""
    yield from ("", "## pgen train", "", _plain(group.help), "")
    shared: dict[str, Any] = {}
    for name in (entry.name for entry in entries(MODELS) if entry.distribution == "pgen"):
        command, spec = model_command(name), registry.load(name).spec
        own = [each for each in _parameters(command) if _panel(each) == f"Options of {name}"]
        shared |= {each.name: each for each in _parameters(command) if each not in own and each.name not in shared}
        yield from ("", f"### pgen train {name}", "", f"{spec.summary}.", "")
        if spec.settings:
            usual = ", ".join(f"`--{key.replace('_', '-')} {value}`" for key, value in spec.settings.items())
            yield from (f"In place of the defaults that all models share: {usual}.", "")
        fields = registry.load(name).config_class().model_fields
        yield from _table("", (_option(each, fields[each.name]) for each in own))
    yield from ("", "### Options of every model", "", "Every model, those of plug-ins too, has these besides its own.", "")
    yield from _table("", (_option(each, TrainConfig.model_fields.get(each.name)) for each in shared.values()))
    yield from ("", "### Presets", "", "`--preset NAME` begins with these options; others of the command line come before them.", "")
    yield "| preset | model | options |\n|---|---|---|"
    for preset in presets.preset_names():
        for model, options in presets.load_tables(preset).items():
            told = ", ".join(f"`--{key.replace('_', '-')} {value}`" for key, value in options.items())
            yield f"| `{preset}` | `{model}` | {told} |"


def _evaluating(group: Any) -> Iterator[str]:
    """One command a metric, which all have the same options; and some more."""
    context = _context(group, "pgen evaluate")
    metrics = {name: spec.summary for name, (entry, spec) in registry.metrics()[0].items() if entry.distribution == "pgen"}
    yield from ("", "## pgen evaluate", "", _plain(group.help), "")
    yield from _command(group.get_command(context, "all"), "pgen evaluate all")
    yield from ("", "### pgen evaluate METRIC", "", "The same options as of `pgen evaluate all`, for one metric:", "")
    yield "| metric | what it asks |\n|---|---|"
    yield from (f"| `{name}` | {_cell(summary)} |" for name, summary in metrics.items())
    installed = registry.metrics()[0]
    for name in group.list_commands(context):
        if name != "all" and name not in installed:
            yield from _command(group.get_command(context, name), f"pgen evaluate {name}")


def _parameters(command: Any) -> list[Any]:
    return [each for each in command.params if each.param_type_name == "option" and not _COMMON & set(each.opts)]


def _options(command: Any) -> list[tuple[str, str, str, str]]:
    return [_option(each) for each in _parameters(command)]


def _arguments(command: Any) -> list[tuple[str, str, str, str]]:
    found = [each for each in command.params if each.param_type_name == "argument"]
    return [
        (f"`{(each.metavar or each.name.upper()).replace('|', ' or ')}`", _type(each), _needed(each), each.help or "") for each in found
    ]


def _option(option: Any, field: Any = None) -> tuple[str, str, str, str]:
    """A row of a table. field: of pydantic, where the option is one of a model's or of training; its defaults are the engine's."""
    text = option.help or ""
    found = _DEFAULT.search(text)
    if field is not None and (usual := field.get_default()) is not None:
        default = f"`{str(usual).lower() if isinstance(usual, bool) else usual}`"
    elif found:
        default = found[1] if " " in found[1] else f"`{found[1]}`"
    else:
        default = _needed(option)
    names = ", ".join(f"`{name}`{{ .option }}" for name in (*option.opts, *option.secondary_opts))
    return names, _type(option, _bounds_of(field) if field else ""), default, _DEFAULT.sub("", text)


def _needed(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", None)
    if parameter.required:
        return "required"
    if isinstance(shown, str):
        return shown
    value = parameter.default
    if callable(value) or value in (None, (), []) or value is False or type(value).__name__ == "Sentinel":
        return ""
    return f"`{', '.join(map(str, value)) if isinstance(value, list | tuple) else value}`"


def _type(parameter: Any, bounds: str = "") -> str:
    if getattr(parameter, "is_flag", False):
        return "flag"
    kind = parameter.type_descriptor.annotation
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    name = " or ".join(f"`{word}`" for word in get_args(kind)) if get_origin(kind) is Literal else _NAMES[kind]
    low, high = parameter.min, parameter.max
    bounds = bounds or _bounds(ge=low, le=high)
    return name + (f", {bounds}" if bounds else "") + (", several" if parameter.multiple or parameter.nargs == -1 else "")


def _bounds(**limits: Any) -> str:
    return " and ".join(f"{_SIGNS[name]} {_number(limit)}" for name, limit in limits.items() if limit is not None)


def _bounds_of(field: Any) -> str:
    """What a pydantic field allows."""
    return _bounds(**{name: getattr(each, name) for each in field.metadata for name in _SIGNS if hasattr(each, name)})


def _number(limit: float) -> str:
    return f"2^{limit.bit_length() - 1}" if isinstance(limit, int) and limit > 9999 and limit & (limit - 1) == 0 else f"{limit:,}"


def _panel(parameter: Any) -> str:
    return getattr(parameter, "rich_help_panel", None) or ""


def _table(title: str, rows: Iterable[tuple[str, str, str, str]]) -> list[str]:
    rows = list(rows)
    if not rows:
        return []
    head = [title, ""] if title else []
    return [
        *head,
        "| option | type | default | what |",
        "|---|---|---|---|",
        *("| " + " | ".join(map(_cell, row)) + " |" for row in rows),
        "",
    ]


def _plain(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", _plain(text)).replace("<", "&lt;")


def _context(group: Any, path: str) -> Any:
    return group.context_class(group, info_name=path)


PARTS = {"commands": commands}
