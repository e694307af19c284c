"""Write the package of a new model plug-in, which installs and trains as it is."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from string import Template

from pgen._version import __version__
from pgen.errors import PluginError, option
from pgen.plugins import registry
from pgen.utils.files import Outputs

#: Template files, and the paths they are written to.
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "package/__init__.py.txt": "$package/__init__.py",
    "package/model.py.txt": "$package/model.py",
    "tests/test_model.py.txt": "tests/test_model.py",
    "github/test.yml.txt": ".github/workflows/test.yml",
    "gitignore.txt": ".gitignore",
}


def new_plugin(name: str, parent: Path) -> Path:
    """Write the folder ``parent/pgen-NAME``.

    Args:
        name: The model's name.
        parent: The folder to write into.

    Returns:
        The new folder.

    Raises:
        PluginError: The name is not valid, or already taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise PluginError(
            f"{name!r} cannot be the name of a model: use lower-case letters and digits, with single hyphens, as in my-model."
        )
    if name in registry.names():
        raise PluginError(f"A model called {name!r} is installed already; choose another name.")
    folder = parent / f"pgen-{name}"
    fields = {"name": name, "distribution": folder.name, "package": folder.name.replace("-", "_"), "version": __version__}
    if folder.exists():
        raise PluginError(f"{folder} exists already; choose another name, or another {option('out')}.")
    templates = files("pgen.plugins") / "template"
    with Outputs(overwrite=False) as outputs:
        draft = outputs.add(folder, folder=True)
        for source, place in _FILES.items():
            path = draft / Template(place).substitute(fields)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template((templates / source).read_text(encoding="utf-8")).substitute(fields), encoding="utf-8")
    return folder
