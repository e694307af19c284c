"""Libraries find a folder for what they compile, where neither the installation nor a home can be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ("MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
#: Makes the folder of the sources read-only for what it runs, which is root in a namespace of its own.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
CODE = f"""
import json, os, sys, tempfile
from pathlib import Path
from pgen.utils import caches
import pgen.ot.assignment.numba_kernels, pgen.metrics.memorisation.inverted_index
names = {{name: os.environ.get(name) for name in {NAMES}}}
print(json.dumps([names, str(caches.lasting_folder()), pgen.ot.assignment.numba_kernels.scan_dense._cache.cache_path]))
"""


def environment(**values: str) -> dict[str, str]:
    spare = {"HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", *NAMES}
    return {name: value for name, value in os.environ.items() if name not in spare} | {"PYTHONPATH": str(ROOT), **values}


def in_read_only_folder(*command: str, env: dict[str, str], cwd: Path) -> str:
    if subprocess.run(["unshare", "-rm", "sh", "-c", READ_ONLY, ROOT, "true"], capture_output=True, check=False).returncode:
        pytest.skip("it needs a mount namespace, which this machine does not allow")
    words = ["unshare", "-rm", "sh", "-c", READ_ONLY, str(ROOT), *command]
    done = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_home(tmp_path: Path) -> None:
    env = environment(HOME="/proc/nobody", TMPDIR=str(tmp_path), USER="nobody")
    names, folder, numba = json.loads(in_read_only_folder(sys.executable, "-c", CODE, env=env, cwd=tmp_path))
    assert Path(folder).parent == tmp_path and Path(folder).stat().st_mode & 0o777 == 0o700
    assert names.pop("TORCHINDUCTOR_CACHE_DIR") is None  # its own folder can be written
    assert all(value.startswith(f"{folder}/") for value in names.values()) and numba.startswith(folder)


def test_doctor_says_so(pgen, tmp_path: Path) -> None:
    text = pgen("doctor", env=environment(HOME="/proc/nobody", TMPDIR=str(tmp_path)), cwd=tmp_path).stdout
    assert "/proc/nobody/.cache is not writable, so caches are in " in text


def test_a_folder_of_others_is_not_used(tmp_path: Path) -> None:
    """One that others may write could hold code of theirs."""
    (tmp_path / f"pgen-{os.getuid()}").mkdir()
    (tmp_path / f"pgen-{os.getuid()}").chmod(0o777)
    code = "from pgen.utils import caches; print(caches.lasting_folder())"
    env = environment(HOME="/proc/nobody", TMPDIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True, timeout=60)
    folder = Path(done.stdout.strip())
    assert folder.parent == tmp_path and folder.name != f"pgen-{os.getuid()}" and not folder.exists()


def test_a_home_is_left_as_it_is(tmp_path: Path) -> None:
    code = (
        f"import os; from pgen.utils import caches; caches.provide_caches(); print(caches.lasting_folder(), *map(os.environ.get, {NAMES}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(HOME=str(tmp_path)), check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [f"{tmp_path}/.cache/pgen", *["None"] * len(NAMES)] and not list(tmp_path.iterdir())


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels are then compiled in each process anew."""
    from numba.core.caching import CacheImpl

    from pgen.utils.caches import compiled

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])

    @compiled(nogil=True)
    def double(x):
        return 2 * x

    assert double(4) == 8
