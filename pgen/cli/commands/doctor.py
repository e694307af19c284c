"""`pgen doctor`: what this machine has for pgen, and what is missing."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
import textwrap
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer

from pgen import __version__
from pgen.cli.console import console, follow
from pgen.errors import PgenError, one_line

#: Packages of compiled code, which may be there and yet not load: imported, not only looked up.
COMPILED = ("torch", "numpy", "h5py", "numba")
#: Packages that pgen does without: event files of --log-to, and, which only a GPU needs, kernels of the optimal transport.
OPTIONAL = ("tensorboard", "triton")
#: Bytes of disk below which a run may not fit.
LITTLE = 2**30


@dataclass
class Findings:
    """What there is, by section; what is missing, each with the way out; and whether it is something that pgen cannot do without."""

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    broken: bool = False

    def lacks(self, sentence: str, *, needed: bool = False) -> None:
        self.missing.append(sentence)
        self.broken |= needed


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False) -> None:
    """Look at this machine: versions, devices, plug-ins, disk; what is missing. For your first day, and for reports of errors.

    Exit code 1 where something that pgen needs is broken.
    """
    found = Findings()
    _packages(found)
    _devices(found)
    _plug_ins(found)
    _places(found)
    if as_json:
        console.print_json(data={**found.sections, "missing": found.missing}, ensure_ascii=True)
    else:
        _show(found)
    if found.broken:
        raise typer.Exit(1)


def _show(found: Findings) -> None:
    width = min(console.width, 120)
    key_width = 2 + max(len(key) for rows in found.sections.values() for key in rows)
    wrapper = partial(textwrap.TextWrapper, width, subsequent_indent=" " * (key_width + 2), break_on_hyphens=False, break_long_words=False)
    lines = []
    for title, rows in found.sections.items():
        lines.append(title)
        for key, value in rows.items():
            lines += wrapper(initial_indent=f"  {key:<{key_width}}").wrap(value)
        lines.append("")
    lines.append("Missing" if found.missing else "Nothing is missing.")
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    for sentence in found.missing:  # each in one line, to be copied
        console.print(f"  {sentence}", markup=False, highlight=False, soft_wrap=True)
    if not found.missing:
        follow("pgen alone, for the first steps", ("data", "info", "FILE"))


def _packages(found: Findings) -> None:
    from packaging.requirements import Requirement  # matplotlib, which pgen needs, brings it

    needed = {}
    try:
        wanted = [Requirement(text) for text in requires("pgen") or []]
    except PackageNotFoundError:
        wanted = []
        found.lacks("pgen: it is run without being installed, so that it finds no models; pip install -e . in its folder", needed=True)
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        needed[requirement.name] = have = _version(requirement.name)
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            found.lacks(f"{requirement}: found {have or 'none'}; pip install '{requirement}'", needed=True)
    for name in COMPILED:
        try:
            importlib.import_module(name)
        except Exception as error:
            found.lacks(f"{name}: it does not import ({one_line(error)}); install it again", needed=True)
    found.sections["Versions"] = {
        "pgen": f"{__version__}, in {Path(__file__).parents[2]}",
        "Python": f"{platform.python_version()}, {platform.platform()}",
        "needed": ", ".join(f"{name} {have or '(not installed)'}" for name, have in needed.items()),
        "optional": ", ".join(f"{name} {_version(name) or '(not installed)'}" for name in OPTIONAL),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _devices(found: Findings) -> None:
    from pgen.utils.resources import cores, free_memory

    rows = {"CPU": f"{cores()} cores and {_gib(free_memory())} of memory for this job"}
    found.sections["Devices"] = rows
    try:
        import torch
    except Exception:
        return  # told with the packages
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            facts, (free, total) = torch.cuda.get_device_properties(i), torch.cuda.mem_get_info(i)
            fast = "bf16 and tf32" if facts.major >= 8 else "fp32 alone"
            rows[f"GPU {i}"] = f"{facts.name}, {_gib(free)} of {_gib(total)} free, sm_{facts.major}{facts.minor}: {fast}"
        rows["CUDA"] = str(torch.version.cuda)
        if _version("triton") is None:
            found.lacks("triton: without it ewm solves slowly on a GPU; pip install triton, of the version that this torch names")
        return
    rows["GPU"] = "none that torch sees"
    if Path("/proc/driver/nvidia/version").exists():
        found.lacks(
            f"a torch that sees the GPU: torch {torch.__version__} does not, and there is a driver; install the build of torch for CUDA "
            "(https://pytorch.org/get-started)"
        )


def _plug_ins(found: Findings) -> None:
    from pgen.data.io.plugin_sources import get_source
    from pgen.data.transforms.charge_scales import BUILT_IN, get_scale
    from pgen.engine.monitoring.loggers import logger_classes
    from pgen.plugins import registry
    from pgen.plugins.entry_points import LOGGERS, METRICS, MODELS, SCALES, SOURCES, entries, names

    models = registry.listing()
    for line in models:
        if line.problem:
            found.lacks(line.problem, needed=not line.summary)
    metrics, problems = registry.metrics()
    whole = {entry.name for entry, _ in metrics.values()} >= set(names(METRICS))
    for problem in problems:
        found.lacks(problem, needed=not whole)
    rows = {MODELS: [line.name for line in models], METRICS: list(metrics)}
    loaders: dict[str, Any] = {LOGGERS: logger_classes, SOURCES: get_source, SCALES: get_scale}
    for group, load in loaders.items():
        rows[group] = [*BUILT_IN] if group == SCALES else []
        for entry in entries(group):
            rows[group].append(entry.name)
            try:
                load(entry.name)
            except PgenError as error:
                found.lacks(str(error), needed=entry.distribution != "pgen")  # pgen's own may lack an optional package
    found.sections["Plug-ins"] = {group: ", ".join(dict.fromkeys(each)) or "none" for group, each in rows.items()}


def _places(found: Findings) -> None:
    from pgen.data.formats.mnist import SHA256, cache_folder
    from pgen.utils.caches import cache_home, lasting_folder

    rows = {}
    for name, path in (("runs", Path("runs").resolve()), ("temporary", Path(tempfile.gettempdir()))):
        there = next(each for each in (path, *path.parents) if each.exists())
        free = shutil.disk_usage(there).free
        rows[name] = f"{path}, {_gib(free)} free"
        if not os.access(there, os.W_OK):
            found.lacks(f"a place to write: {there} is read-only; choose another, by {_ELSEWHERE[name]}")
        elif free < LITTLE:
            found.lacks(f"disk: {there} has {_gib(free)} free; free some, or choose another place by {_ELSEWHERE[name]}")
    home, kept = cache_home(), lasting_folder()
    rows["caches"] = str(kept or "none")
    if home is None or kept != home / "pgen":
        found.lacks(
            f"a lasting place for caches: {home or 'a home folder'} cannot be written, so what is compiled or fetched is kept in "
            f"{kept or 'no file at all'}; set XDG_CACHE_HOME to a folder of your own"
        )
    cache = cache_folder()
    here = sum((cache / file).is_file() for file in SHA256)
    rows["MNIST"] = f"in {cache}" if here == len(SHA256) else "not here yet; fetched (11 MB) when it is first asked for"
    found.sections["Places"] = rows


_ELSEWHERE = {"runs": "--save-root", "temporary": "the variable TMPDIR"}


def _gib(count: float) -> str:
    return f"{count / 2**30:.1f} GiB"
