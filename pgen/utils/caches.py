"""Cache folders for libraries whose usual ones are read-only.

That happens in shared installations and in jobs without a home folder.
"""

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
    """Set the environment variable of each library whose usual cache folder is not writable.

    Call this before the libraries are imported.
    """
    usual_folders = {
        "MPLCONFIGDIR": [_home("XDG_CONFIG_HOME", ".config")],
        "NUMBA_CACHE_DIR": [PACKAGE / "ot" / "__pycache__", cache_home()],
        "TRITON_CACHE_DIR": [_home("", ".triton")],
        # In the temporary folder, named after the user, who may have no name in a container.
        "TORCHINDUCTOR_CACHE_DIR": [_temporary()] if _has_user_name() else [],
    }
    for variable, folders in usual_folders.items():
        if variable not in os.environ and not any(map(is_writable, folders)) and (folder := lasting_folder()) is not None:
            os.environ[variable] = str(folder / variable.partition("_")[0].lower())


def compiled(**options: Any) -> Callable[[Callable], Callable]:
    """Return `numba.njit` with its machine code cached on disk, if there is a writable folder."""
    provide_caches()
    from numba import njit
    from numba.core import config

    config.CACHE_DIR = os.environ.get("NUMBA_CACHE_DIR", "")  # type: ignore[attr-defined]  # Numba may have been imported before

    def decorate(function: Callable) -> Callable:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # no folder is writable
            return njit(**options)(function)

    return decorate


def cache_home() -> Path | None:
    """Return the user's cache folder, or None without a home folder."""
    return _home("XDG_CACHE_HOME", ".cache")


@cache
def lasting_folder() -> Path | None:
    """Return the folder for pgen's caches.

    Returns:
        A folder in the user's cache folder or, if that is not writable, a private one in the
        temporary folder; None if neither is possible. If the usual name of the private folder is
        taken, a new one is made that is removed when the process ends.
    """
    home = cache_home()
    if home is not None and is_writable(home):
        return home / "pgen"
    if (temporary := _temporary()) is None:
        return None
    folder = temporary / f"pgen-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        # Code in it will run, so nobody else may write to it.
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077 and is_writable(folder):
            return folder
    folder = Path(tempfile.mkdtemp(prefix="pgen-", dir=temporary))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def is_writable(folder: Path | None) -> bool:
    """Return whether a folder is writable, or can be created."""
    if folder is None:
        return False
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        tempfile.TemporaryFile(dir=existing).close()  # os.access says yes to root, even for a read-only disk
    except OSError:
        return False
    return True


def _home(variable: str, name: str) -> Path | None:
    """Return the folder that the environment variable names, or ``name`` in the user's home."""
    if os.environ.get(variable):
        return Path(os.environ[variable])
    try:
        return Path.home() / name
    except RuntimeError:  # the user has no home
        return None


def _temporary() -> Path | None:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def _has_user_name() -> bool:
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError):
        return False
