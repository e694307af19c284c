"""Folders for what libraries compile or fetch, where their usual ones cannot be written: installations of others, jobs without a home."""

from __future__ import annotations

import atexit
import getpass
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


def provide_caches() -> None:
    """Name another folder, by its environment variable, to each library that could not write its own. Call it before they load."""
    usual = {
        "MPLCONFIGDIR": [_home("XDG_CONFIG_HOME", ".config")],
        "NUMBA_CACHE_DIR": [PACKAGE / "ot" / "__pycache__", cache_home()],
        "TRITON_CACHE_DIR": [_home("", ".triton")],
        # Among temporary files, by the name of the user, who may have none in a container.
        "TORCHINDUCTOR_CACHE_DIR": [_temporary()] if _has_name() else [],
    }
    for variable, folders in usual.items():
        if variable not in os.environ and not any(map(is_writable, folders)) and (folder := lasting_folder()) is not None:
            os.environ[variable] = str(folder / variable.partition("_")[0].lower())


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """``numba.njit`` whose machine code is kept for other processes, where there is a place for it."""
    provide_caches()
    from numba import njit
    from numba.core import config

    config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")  # type: ignore[attr-defined]  # it may have been imported before

    def compile_later(function: Callable) -> Callable:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder is writable
            return njit(**options)(function)

    return compile_later


def cache_home() -> Path | None:
    """The user's folder for caches; None without a home."""
    return _home("XDG_CACHE_HOME", ".cache")


@cache
def lasting_folder() -> Path | None:
    """Where pgen keeps caches: in the user's folder for them or, where that cannot be written, in a private one among temporary files,
    which is removed at the end where its usual name is not free; None where there is neither."""
    home = cache_home()
    if home is not None and is_writable(home):
        return home / "pgen"
    if (temporary := _temporary()) is None:
        return None
    folder = temporary / f"pgen-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        # Code in it will run, so nobody else may write it.
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077 and is_writable(folder):
            return folder
    folder = Path(tempfile.mkdtemp(prefix="pgen-", dir=temporary))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def is_writable(folder: Path | None) -> bool:
    """Whether a folder is there, or can be made, and can be written."""
    if folder is None:
        return False
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()  # which root, too, cannot do everywhere
    except OSError:
        return False
    return True


def _home(variable: str, name: str) -> Path | None:
    """The folder that ``variable`` names, or ``name`` in the user's home."""
    if os.environ.get(variable):
        return Path(os.environ[variable])
    try:
        return Path.home() / name
    except RuntimeError:  # a user without a home
        return None


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def _has_name() -> bool:
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError):
        return False
