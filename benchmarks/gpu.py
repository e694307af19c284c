"""All checks that need a GPU. `benchmarks/gpu.sh` finds the packages and runs this script.

Parts, in this order: `models` trains, samples and exports each model for a moment, samples its
exported program, and reports how much images from the GPU differ from those from the CPU; `tests`
runs the tests marked gpu; `ot_cuda` and `engine_step` are the benchmarks of these names. Each part
has a fraction of --minutes and is stopped at its end. A part writes its JSON as it goes, so that
finished results are never lost. `gpu.json` records how each part ended and how long it took;
`log.txt` contains the output of all parts.

Without a GPU, or with --cpu, the same runs on the CPU with tiny sizes, as a rehearsal.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
#: Modules that pgen and its tests cannot do without, and packages that have another name than theirs.
NEEDED = ["torch", "numpy", "h5py", "scipy", "numba", "pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typer", "rich"]
NEEDED += ["pluggy", "safetensors", "matplotlib", "threadpoolctl", "sklearn", "PIL", "pytest", "hypothesis"]
PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow"}
#: Of flows: an exported program holds every step, and takes as long to make.
FEW_STEPS = {"n_steps": 2}
#: Which part of the time a part may take.
SHARES = {"models": 0.5, "tests": 0.4, "ot_cuda": 0.25, "engine_step": 0.25}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(SHARES)}; all if none is named")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of the results")
    parser.add_argument("--minutes", type=float, help="for all parts together (default: 8, on the CPU 30)")
    parser.add_argument("--cpu", action="store_true", help="rehearse on the CPU")
    parser.add_argument("--site", type=Path, help="folder on PYTHONPATH that pgen's metadata may be written to")
    parser.add_argument("--chain", help=argparse.SUPPRESS)  # one of CHAINS, in a process of its own
    options = parser.parse_args()
    if missing := [PACKAGES.get(name, name.replace("_", "-")) for name in NEEDED if find_spec(name) is None]:
        raise SystemExit(f"Missing here: {', '.join(missing)}. Install them, or bring their wheels along and name the folder by --wheels.")
    if options.cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if options.chain:
        run_chain(options.chain, options.out)
        return
    import torch

    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    register_pgen(options.site)
    on_gpu = torch.cuda.is_available()
    minutes = options.minutes or (8 if on_gpu else 30)
    deadline, parts = time.monotonic() + 60 * minutes, options.parts or list(SHARES)
    about: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda},
        "parts": {},
    }
    (options.out / "log.txt").write_text("")
    for part in parts:
        limit = min(60 * minutes * SHARES[part], deadline - time.monotonic())
        began = time.monotonic()
        status = PARTS[part](options.out, limit, not on_gpu) if limit > 5 else "no time left"
        about["parts"][part] = {"status": status, "seconds": round(time.monotonic() - began, 1)}
        write(options.out / "gpu.json", about)
        print(f"{part}: {status}, {time.monotonic() - began:.0f} s", flush=True)
    if any(part["status"] != "ok" for part in about["parts"].values()):
        raise SystemExit(1)


def register_pgen(site: Path | None) -> None:
    """Make pgen's entry points visible, as after `pip install -e .`, if it is not installed."""
    try:
        version("pgen-lartpc")
    except PackageNotFoundError:
        if site is None:
            raise SystemExit("pgen is not installed; run benchmarks/gpu.sh, which needs no installation.") from None
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        number = re.search(r'__version__ = "(.+)"', (ROOT / "pgen/_version.py").read_text())
        folder = site / "pgen_lartpc-0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pgen-lartpc\nVersion: {number[1] if number else 0}\n")
        groups = {"console_scripts": project["scripts"], **project["entry-points"]}
        lines = [line for group, points in groups.items() for line in (f"[{group}]", *(f"{name} = {at}" for name, at in points.items()))]
        (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")


def run(command: list[str], out: Path, limit: float, watch: Callable[[str], None] = lambda line: None) -> str:
    """Run a command for at most ``limit`` seconds; pass its lines to the log and ``watch``."""
    ended_by_us = False
    with (out / "log.txt").open("a") as log:
        log.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
        )

        def stop(number: int, frame: object) -> None:
            nonlocal ended_by_us
            ended_by_us = True
            os.killpg(process.pid, signal.SIGKILL)

        before = signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(1.0, limit))
        try:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                watch(line)
            process.wait()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    return "timeout" if ended_by_us else "ok" if process.returncode == 0 else f"exit code {process.returncode}"


# ---------------------------------------------------------------------------------------------------------------------- the tests


def tests(out: Path, limit: float, quick: bool) -> str:
    """Run the tests marked gpu; record each outcome as it comes."""
    outcomes: dict[str, set[str]] = {}

    def watch(line: str) -> None:
        # Of one process the test comes first, of several its outcome.
        if match := re.search(r"(tests/\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED)|(PASSED|FAILED|ERROR|SKIPPED) (tests/\S+::\S+)", line):
            outcomes.setdefault((match[2] or match[3]).lower(), set()).add(match[1] or match[4])
            counts = {outcome: len(names) for outcome, names in outcomes.items()}
            failed = outcomes.get("failed", set()) | outcomes.get("error", set())
            write(out / "tests.json", {"counts": counts, "failed": sorted(failed)})

    # Kernels are compiled by processes side by side.
    parallel = ["-n", "4"] if find_spec("xdist") and not quick else []
    # Only these, since others import packages that may be missing.
    files = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-vv", "-p", "no:cacheprovider", "--durations=10", *parallel, *files]
    return run(command, out, limit, watch)


def ot_cuda(out: Path, limit: float, quick: bool) -> str:
    return run([sys.executable, "benchmarks/ot_cuda.py", "--out", str(out), *(["--quick"] if quick else [])], out, limit)


def engine_step(out: Path, limit: float, quick: bool) -> str:
    command = [sys.executable, "benchmarks/engine_step.py", "--repeats", "1" if quick else "3", "--out", str(out)]
    return run([*command, *(["--quick"] if quick else [])], out, limit)


# --------------------------------------------------------------------------------------------------------------------- the models


def models(out: Path, limit: float, quick: bool) -> str:
    """Run each chain in its own process, since a GPU error leaves the process unusable."""
    deadline, found = time.monotonic() + limit, {}
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"train": (80, 1) if quick else (4000, 1), "held_out": (40, 2) if quick else (400, 2)}
        for name, (count, seed) in sizes.items():
            simulate = [sys.executable, "-m", "pgen", "data", "simulate", "-n", str(count), "--size", "32" if quick else "64"]
            status = run([*simulate, "--seed", str(seed), "--out", f"{folder}/{name}.h5"], out, deadline - time.monotonic())
            if status != "ok":
                return status
        for name in CHAINS:
            report = Path(folder, f"{name}.json")
            if (left := deadline - time.monotonic()) < 5:
                found[name] = {"status": "no time left"}
            else:
                command = [sys.executable, "benchmarks/gpu.py", "--chain", name, "--out", folder, *(["--cpu"] if quick else [])]
                status = run(command, out, left)
                found[name] = {"status": status, **(json.loads(report.read_text()) if report.exists() else {})}
            write(out / "models.json", found)
    return "ok" if all(chain["status"] == "ok" for chain in found.values()) else "failed"


class Chain:
    """The timed steps done with one model; data, runs and notes are in ``folder``."""

    def __init__(self, name: str, folder: Path) -> None:
        import torch

        self.name, self.folder, self.notes = name, folder, {}
        self.device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
        self.quick = self.device.type == "cpu"

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        import torch

        began = time.monotonic()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.note({f"seconds to {what}": round(time.monotonic() - began, 2)})

    def note(self, figures: dict[str, Any]) -> None:
        self.notes.update(figures)
        write(self.folder / f"{self.name}.json", self.notes)
        print(self.name, figures, flush=True)

    def train(self, model: str, steps: int = 300, config: dict[str, Any] | None = None, **settings: Any) -> Path:
        """Train a model for a moment; return its run folder."""
        from pgen.engine import hooks
        from pgen.engine.config import TrainConfig
        from pgen.engine.training.setup import create_run
        from pgen.plugins import registry

        plugin = registry.load(model)
        values = {"threshold": 10.0, "max_steps": 8 if self.quick else steps, "log_every": 4, "sample_size": 4, "device": str(self.device)}
        if str(settings.get("targets", "")).endswith(".pt"):
            del values["threshold"]
        values |= {"name": self.name, "save_root": str(self.folder / "runs"), "num_epochs": 10**6, "overwrite": True}
        options = plugin.config_class().model_validate(config or {})
        session = create_run(model, TrainConfig.model_validate({**plugin.spec.settings, **values, **settings}), options)
        run = session.run
        with self.step(f"train {run.settings.max_steps} steps"):
            hooks.train_session(session)
        last = run.folder.read_metrics()[-1]
        self.note({"trained": {name: value for name, value in last.items() if isinstance(value, float)}})
        return run.folder.path

    def sample(self, path: Path, wanted: dict[str, str] | None = None) -> None:
        """Sample a run on the device; record how much the CPU differs for the same noise."""
        import torch

        from pgen.engine import hooks
        from pgen.engine.run import Run
        from pgen.plugins.requests import SampleRequest

        run = Run.open(path, device=self.device)
        conditions, sampling = run.split_options(wanted or {})
        run = run.with_sampling_options(sampling)
        count = 16 if self.quick else 2000
        with self.step(f"sample {count} images"):
            hooks.call(run, "sample", request=SampleRequest(n=count, out=path / "samples.h5", overwrite=True, conditions=conditions))
        encoded = torch.randn(64, run.info.condition_size, generator=torch.Generator().manual_seed(1))
        images = []
        for device in (torch.device("cpu"), self.device):
            here = Run.open(path, device=device)
            model, to_images = here.load_model(), here.image_decoder()
            noise = model.noise(64, generator=torch.Generator().manual_seed(0))  # type: ignore[operator]
            given = [noise, *([encoded] if run.info.condition_size else [])]
            with torch.no_grad():
                images.append(to_images(model(*(tensor.to(device) for tensor in given))).cpu())
        self.note({"images, GPU against CPU": difference(*images)})

    def deploy(self, path: Path) -> Path:
        """Deploy a run; return the folder."""
        from pgen.engine import hooks
        from pgen.engine.run import Run
        from pgen.plugins.requests import DeployRequest

        run = Run.open(path, device=self.device)
        with self.step("deploy"):
            hooks.call(run, "deploy", request=DeployRequest(out=path / "deploy", overwrite=True))
        return path / "deploy"

    def sample_program(self, path: Path, wanted: dict[str, str] | None = None) -> None:
        """Sample generator.pt2 on the device; compare with the run if it has no conditions."""
        import torch

        from pgen.data import open_images, read_all
        from pgen.engine.inference.sample import sample_program
        from pgen.engine.runtime.progress import Progress
        from pgen.plugins.requests import SampleRequest

        program = self.deploy(path) / "generator.pt2"
        count = 16 if self.quick else 2000
        request = SampleRequest(n=count, out=path / "program.h5", overwrite=True, conditions=wanted or {})
        with self.step(f"sample {count} images of the program"):
            sample_program(program, request, self.device, Progress())
        if not wanted:
            images = (torch.from_numpy(read_all(open_images(str(path / f"{name}.h5")))) for name in ("samples", "program"))
            self.note({"images, program against run": difference(*images)})

    def reconstruct(self, path: Path) -> None:
        """Compare codes and reconstructions of unseen images between device and CPU."""
        import torch

        from pgen.data import open_images
        from pgen.data.transforms.charge import ChargeTransform
        from pgen.engine.run import Run

        pixels = torch.from_numpy(open_images(str(self.folder / "held_out.h5")).read(range(40)))
        codes, images = [], []
        for device in (torch.device("cpu"), self.device):
            run = Run.open(path, device=device)
            model, transform = run.load_model(), ChargeTransform.from_dict(run.info.transform or {})
            with torch.no_grad():
                codes.append(model.encode(transform.forward(pixels.to(device))).cpu())  # type: ignore[operator]
                images.append(run.image_decoder()(model.decode(codes[0].to(device))).cpu())  # type: ignore[operator]
        self.note({"codes, GPU against CPU": difference(*codes), "images, GPU against CPU": difference(*images)})

    @property
    def data(self) -> str:
        return str(self.folder / "train.h5")

    def codes(self, chain: str) -> str:
        """Return what an earlier chain deployed."""
        return str(self.folder / "runs" / chain / "deploy" / "codes.pt")


def difference(one: Any, other: Any) -> dict[str, float]:
    """Return the relative norm of the difference, the largest difference and the largest value."""
    if not bool(other.isfinite().all()):
        raise AssertionError("some values are not finite")
    apart = (one - other).double()
    return {
        "relative": float(apart.norm() / one.double().norm().clamp_min(1e-30)),
        "largest": float(apart.abs().max()),
        "of at most": float(one.abs().max()),
    }


def gan(chain: Chain) -> None:
    path = chain.train("gan", data=chain.data)
    chain.sample(path)
    chain.sample_program(path)


def auto_encoder(chain: Chain, **config: Any) -> None:
    path = chain.train("ae", config=config, data=chain.data, held_out=str(chain.folder / "held_out.h5"))
    chain.reconstruct(path)
    chain.deploy(path)


def ae_map(chain: Chain) -> None:
    auto_encoder(chain, arch="map")


def ewm(chain: Chain) -> None:
    steps = {"ots_steps": 9} if chain.quick else {}
    path = chain.train("ewm", 1500, steps, targets=chain.codes("auto_encoder"))
    chain.sample(path)
    chain.sample_program(path)


def ewm_images(chain: Chain) -> None:
    steps = {"ots_steps": 9} if chain.quick else {}
    path = chain.train("ewm", 600, steps, targets=chain.data)
    chain.sample(path)


def flow_codes(chain: Chain) -> None:
    path = chain.train("flow", config=FEW_STEPS, targets=chain.codes("ae_map"))
    chain.sample(path)
    chain.sample_program(path)


def flow_images(chain: Chain) -> None:
    path = chain.train("flow", config={"coupling": "independent", **FEW_STEPS}, targets=chain.data)
    chain.sample(path)
    chain.sample_program(path)


def conditional(chain: Chain) -> None:
    """Run a chain of two models that are conditioned on type and momentum."""
    labels = "type,momentum"
    chain.name = "conditional_ae"
    path = chain.train("ae", data=chain.data, condition=labels)
    codes = chain.deploy(path) / "codes.pt"
    chain.name = "conditional"
    path = chain.train("flow", config=FEW_STEPS, targets=str(codes), condition=labels)
    chain.sample(path, {"type": "muon"})
    chain.sample_program(path, {"type": "muon", "momentum": "200"})


def options(chain: Chain) -> None:
    """Run options that take another path on a GPU."""
    for name, values in {
        "loaded by processes": {"num_workers": 2},
        "accumulate": {"accumulate": 2},
        "tf32": {"precision": "tf32"},
        "bf16": {"precision": "bf16"},
        "deterministic": {"deterministic": True},
        "ema": {"ema": 0.99},
        "compile": {"compile": True},
    }.items():
        began = time.monotonic()
        chain.train("gan", 50, data=chain.data, **values)
        chain.note({name: f"{time.monotonic() - began:.1f} s"})


def evaluate(chain: Chain) -> None:
    """Compute the metrics that use the device."""
    from pgen.engine.evaluation.evaluate import evaluate as run_metrics

    held_out = str(chain.folder / "held_out.h5")
    for metric in ("memorisation", "c2st"):
        with chain.step(metric):
            run_metrics(held_out, train=chain.data, held_out=held_out, metrics=metric, threshold=10.0, device=chain.device)


#: In order: later ones take what earlier ones deployed.
CHAINS: dict[str, Callable[[Chain], None]] = {
    chain.__name__: chain for chain in (gan, auto_encoder, ae_map, ewm, flow_codes, conditional, ewm_images, flow_images, options, evaluate)
}
PARTS: dict[str, Callable[[Path, float, bool], str]] = {part.__name__: part for part in (models, tests, ot_cuda, engine_step)}


def run_chain(name: str, folder: Path) -> None:
    chain = Chain(name, folder)
    try:
        CHAINS[name](chain)
    except BaseException as error:
        chain.name = name
        chain.note({"error": traceback.format_exception_only(error)[-1].strip()})
        raise


if __name__ == "__main__":
    main()
