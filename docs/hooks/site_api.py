"""The public API: signatures and docstrings of all names that others may import."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from site_docstrings import markdown_of

from pgen.plugins import hookspecs

#: Where a name is imported from, and which names; None: those of ``__all__``.
MODULES: dict[str, tuple[str, list[str] | None]] = {
    "models": ("pgen", None),
    "trainer": ("pgen.engine.training.trainer", ["Trainer"]),
    "testing": ("pgen.testing", None),
    "metrics": ("pgen.metrics", ["EvaluationSets"]),
    "findings": ("pgen.metrics", ["MetricResult", "Measurement", "measure", "PerSet"]),
    "loggers": ("pgen.engine.monitoring.loggers", ["Logger"]),
    "sources": ("pgen.data.io.plugin_sources", ["get_source"]),
    "scales": ("pgen.data.transforms.charge_scales", ["Scale"]),
    "data": ("pgen.data", None),
    "requests": ("pgen.plugins.requests", ["DeployRequest", "SampleRequest"]),
    "run": ("pgen.engine.run", ["Run"]),
    "ot": ("pgen.ot", None),
}
#: Of names that have no docstring of their own.
_TOLD = {
    "hookimpl": "A marker for functions that are hooks.",
    "API_VERSION": "The version of this page, a whole number. It rises when an old plug-in would no longer work.",
}
#: What only the engine calls.
_ENGINE = {"begin", "begin_part", "fill", "facts", "mend_folder", "record", "hooks", "held_out_fingerprint"}


def _names(key: str) -> Iterator[str]:
    module_name, names = MODULES[key]
    module = importlib.import_module(module_name)
    for name in sorted(names or module.__all__, key=lambda each: (not each[0].isupper(), each.lower())):
        if not name.startswith("__"):
            yield from _of(getattr(module, name), name, module_name)


def hooks() -> str:
    lines: list[str] = []
    for name, value in vars(hookspecs).items():
        if getattr(value, "pgen_spec", None) is not None:
            lines += _function(value, name, "###")
    return "\n".join(lines)


def _of(value: Any, name: str, module: str) -> Iterator[str]:
    if inspect.isclass(value):
        yield from _class(value, name, module)
    elif callable(value) and hasattr(value, "__code__"):
        yield from _function(value, name, "###", f"from {module} import {name}")
    else:
        what = _TOLD.get(name, f"`{value!r}`")
        yield from (f"### {name} {{ #{name} }}", "", f"```python\nfrom {module} import {name}\n```", "", what, "")


def _class(value: type, name: str, module: str) -> Iterator[str]:
    yield from (f"### {name} {{ #{name} }}", "", f"```python\nfrom {module} import {name}\n```", "")
    if not issubclass(value, Exception) and "__init__" in vars(value) and not getattr(value, "_is_protocol", False):
        yield from (f"```python\n{_signature(value, name)}\n```", "")
    yield from (_own_docstring(value), "")
    for key, member in vars(value).items():
        if key.startswith("_") or key in _ENGINE or not (doc := inspect.getdoc(getattr(value, key, None))):
            continue
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(function):
            yield from (f"```python\n{_signature(function, f'{name}.{key}')}\n```", "", markdown_of(doc), "")
        elif isinstance(member, property) or type(member).__name__ == "cached_property":
            yield from (f"`{name}.{key}`: {markdown_of(doc)}", "")


def _function(value: Any, name: str, level: str, how: str = "") -> list[str]:
    imported = f"{how}\n\n" if how else ""
    code = f"```python\n{imported}{_signature(value, name)}\n```"
    return [f"{level} {name} {{ #{name} }}", "", code, "", markdown_of(inspect.getdoc(value)), ""]


def _own_docstring(value: type) -> str:
    """Without the signature that dataclasses write where there is none."""
    doc = value.__doc__ or ""
    return "" if doc.startswith(f"{value.__name__}(") else markdown_of(doc)


def _signature(value: Any, name: str) -> str:
    """``name(...)``, an argument a line where it is long."""
    found = inspect.signature(value)
    arguments: list[str] = []
    for each in found.parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in arguments:
            arguments.append("*")
        if each.name not in ("self", "cls"):
            arguments.append(_argument(each))
    end = "" if found.return_annotation in (found.empty, None, "None") else f" -> {_type(found.return_annotation)}"
    line = f"{name}({', '.join(arguments)}){end}"
    return line if len(line) <= 100 else f"{name}(\n    " + ",\n    ".join(arguments) + f",\n){end}"


def _argument(parameter: inspect.Parameter) -> str:
    text = parameter.name if parameter.annotation is parameter.empty else f"{parameter.name}: {_type(parameter.annotation)}"
    if parameter.default is parameter.empty:
        return text
    # The value of a dataclass that is made anew each time has no name.
    default = "..." if repr(parameter.default) == "<factory>" else repr(parameter.default)
    return f"{text} = {default}"


def _type(annotation: Any) -> str:
    """A type without the modules that its names are from."""
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", inspect.formatannotation(annotation).strip("'\""))


def _part(key: str):
    return lambda: "\n".join(_names(key))


PARTS = {"api hooks": hooks, **{f"api {key}": _part(key) for key in MODULES}}
