"""`pgen doctor`: check the installation and this machine."""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
import textwrap
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import Distribution, PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Annotated

import typer

from pgen._version import __version__
from pgen.cli.console import console, echo, print_next_steps
from pgen.cli.error_messages import with_flags
from pgen.errors import PgenError, one_line

#: Compiled packages. They are imported, because they may be installed and still not load.
COMPILED = ("torch", "numpy", "h5py", "numba")
#: Packages that pgen can do without: for --log-to tensorboard, and for optimal transport on a GPU.
OPTIONAL = ("tensorboard", "triton")
#: A run may not fit on a disk with fewer free bytes.
LOW_DISK_SPACE = 2**30
#: The name of pgen's distribution, and its former name, which on the package index is another
#: project.
DISTRIBUTION, FORMER_DISTRIBUTION = "pgen-lartpc", "pgen"


@dataclass
class Report:
    """The result of the checks.

    Attributes:
        sections: Tables of text, by title.
        problems: Sentences that say what is wrong and what to do.
        is_broken: Whether pgen cannot work properly.
    """

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    is_broken: bool = False

    def add(self, problem: str, *, is_fatal: bool = False) -> None:
        """Add a problem."""
        self.problems.append(with_flags(problem))
        self.is_broken |= is_fatal


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this installation: versions, devices, plug-ins, folders. Add the output to bug reports.

    The exit code is 1 if pgen cannot work properly.
    """
    report = Report()
    for check in (_check_packages, _check_devices, _check_plugins, _check_folders):
        check(report)
    if as_json:
        console.print_json(data={**report.sections, "missing": report.problems}, ensure_ascii=True)
    else:
        _print(report)
    if report.is_broken:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    width = 4 + max(len(key) for rows in report.sections.values() for key in rows)
    wrap = partial(
        textwrap.wrap, width=min(console.width, 120), subsequent_indent=" " * width, break_on_hyphens=False, break_long_words=False
    )
    for title, rows in report.sections.items():
        echo("\n".join([title, *(line for key, text in rows.items() for line in wrap(f"  {key:<{width - 2}}{text}")), ""]))
    echo("Problems" if report.problems else "No problems found.")
    for problem in report.problems:  # a line each, to be copied
        echo(f"  {problem}")
    if not report.problems:
        print_next_steps("pgen without arguments, for the first steps", ("data", "info", "FILE"))


def _is_own(distribution: Distribution) -> bool:
    return any(point.value == "pgen.cli.app:main" for point in distribution.entry_points)


def _check_packages(report: Report) -> None:
    from packaging.requirements import Requirement  # a dependency of matplotlib

    installed = [distribution for name in (DISTRIBUTION, FORMER_DISTRIBUTION) for distribution in distributions(name=name)]
    own = next(filter(_is_own, installed), None)
    if own is None:
        report.add("pgen is not installed, so its models are not found; run pip install -e . in its source folder", is_fatal=True)
    # A set, because a folder that is twice on the path gives a distribution twice.
    for foreign in {distribution.version for distribution in installed if not _is_own(distribution)}:
        report.add(
            f"pgen {foreign} of the package index is another project with the same import name; "
            f"pip uninstall pgen, then pip install --force-reinstall --no-deps {DISTRIBUTION}",
            is_fatal=True,
        )
    required = {}
    for requirement in map(Requirement, (own.requires if own else None) or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            required[requirement.name] = current = _find_version(requirement.name)
            if current is None or not requirement.specifier.contains(current, prereleases=True):
                report.add(f"{requirement} is required, {current or 'none'} is installed; pip install '{requirement}'", is_fatal=True)
    for name in COMPILED:
        try:
            importlib.import_module(name)
        except Exception as error:
            report.add(f"{name} cannot be imported ({one_line(error)}); install it again", is_fatal=True)
    report.sections["Versions"] = {
        "pgen": f"{__version__}, in {Path(__file__).parents[2]}",
        "Python": f"{platform.python_version()}, {platform.platform()}",
        "required": ", ".join(f"{name} {current or '(not installed)'}" for name, current in required.items()),
        "optional": ", ".join(f"{name} {_find_version(name) or '(not installed)'}" for name in OPTIONAL),
    }


def _find_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _check_devices(report: Report) -> None:
    from pgen.utils.resources import cores, free_memory

    rows = report.sections["Devices"] = {"CPU": f"{cores()} cores and {_gib(free_memory())} of memory for this job"}
    try:
        import torch
    except Exception:
        return  # reported with the packages
    for i in range(torch.cuda.device_count()):
        gpu, (free, total) = torch.cuda.get_device_properties(i), torch.cuda.mem_get_info(i)
        precision = "fp32, tf32, bf16" if gpu.major >= 8 else "fp32 only"
        rows[f"GPU {i}"] = f"{gpu.name}, {_gib(free)} of {_gib(total)} free, sm_{gpu.major}{gpu.minor}, {precision}"
    if torch.cuda.is_available():
        rows["CUDA"] = str(torch.version.cuda)
        if _find_version("triton") is None:
            report.add("triton is not installed, so ewm is slow on a GPU; pip install triton in the version that torch requires")
    else:
        rows["GPU"] = "none"
        if Path("/proc/driver/nvidia/version").exists():
            report.add(f"torch {torch.__version__} does not see the GPU; install a build for CUDA (https://pytorch.org/get-started)")


def _check_plugins(report: Report) -> None:
    from pgen.data.io.plugin_sources import get_source
    from pgen.data.transforms.charge_scales import BUILT_IN, get_scale
    from pgen.engine.monitoring.loggers import logger_classes
    from pgen.plugins import registry
    from pgen.plugins.entry_points import LOGGERS, METRICS, MODELS, SCALES, SOURCES, entries, names

    models = registry.listing()
    for line in models:
        if line.problem:
            report.add(line.problem, is_fatal=not line.summary)
    metrics, problems = registry.metrics()
    is_complete = {entry.name for entry, _ in metrics.values()} >= set(names(METRICS))
    for problem in problems:
        report.add(problem, is_fatal=not is_complete)
    rows = {MODELS: [line.name for line in models], METRICS: list(metrics)}
    for group, load in ((LOGGERS, logger_classes), (SOURCES, get_source), (SCALES, get_scale)):
        rows[group] = [*(BUILT_IN if group == SCALES else ()), *names(group)]
        for entry in entries(group):
            try:
                load(entry.name)
            except PgenError as error:
                report.add(str(error), is_fatal=not entry.is_builtin)  # pgen's own plug-ins may lack an optional package
    report.sections["Plug-ins"] = {group: ", ".join(dict.fromkeys(items)) or "none" for group, items in rows.items()}


def _check_folders(report: Report) -> None:
    from pgen.utils.caches import cache_home, lasting_folder
    from pgen.utils.files import free_space

    rows = report.sections["Folders"] = {}
    for name, folder, setting in (
        ("runs", Path("runs").resolve(), "--save-root"),
        ("temporary", Path(tempfile.gettempdir()), "the environment variable TMPDIR"),
    ):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        free = free_space(existing / "file")
        rows[name] = f"{folder}, {_gib(free)} free"
        if not os.access(existing, os.W_OK):
            report.add(f"{existing} is read-only; choose another folder by {setting}")
        elif free < LOW_DISK_SPACE:
            report.add(f"{existing} has only {_gib(free)} free; free some space, or choose another folder by {setting}")
    home, caches = cache_home(), lasting_folder()
    rows["caches"] = str(caches or "none")
    if home is None or caches != home / "pgen":
        place = home or "a home folder"
        report.add(f"{place} is not writable, so caches are in {caches or 'memory only'}; set XDG_CACHE_HOME to a folder of yours")


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
