"""Hostile input: configurations, checkpoints, latent codes, weights, programs and images.

They are damaged at random, or made to do harm. Each is given to the command line in a process of
its own. The test suite tries some of each kind, benchmarks/engine_hostile.py a thousand.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

#: Limits of a command: seconds, and bytes of memory.
SECONDS, MEMORY = 60, 12 * 2**30
CANARY = "canary"


class Exploit:
    """A pickle that runs code when it is loaded: it creates the file CANARY."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(CANARY),)


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        name: What it is.
        plant: Puts it into a copy of the folder of valid files.
        command: The command that reads it.
    """

    name: str
    plant: Callable[[Path], None]
    command: tuple[str, ...]


MakeCase = Callable[[random.Random], Case]


def config_file(rng: random.Random) -> Case:
    """A file for --config with invalid values, in TOML or JSON."""
    model = rng.choice(["gan", "ae", "ewm"])
    names = ["n_hidden", "batch_size", "g_lr", "seed", "num_epochs", "scale", "device", "name", "data", "crop", "l_dim", "threshold", "x y",
             "save_root", "ema", "log_to", "accumulate", "held_out", "targets", "keep_checkpoints", "warm_up"]  # fmt: skip
    values: list[Any] = [-1, 0, 10**30, 1e308, float("nan"), "", "../../x", "\0", "ä" * 5000, [], {}, [[1]], True, None, "1", "nan", "a,b"]
    options = {rng.choice(names): rng.choice(values) for _ in range(rng.randrange(1, 5))}
    text = json.dumps(options)
    if rng.random() < 0.2:
        text = rng.choice(["[" * 50_000, "{", "format = 1\n[[x", "\x00\x01", '{"a":' * 20_000, "[1, 2]", '"text"', "x = " + "9" * 5000])
    elif rng.random() < 0.3:
        text = text.replace(rng.choice(text), chr(rng.randrange(1, 0x3000)))
    source = ("--data", "simulate:n=8,size=16") if model != "ewm" else ("--targets", "simulate:n=8,size=16")
    return Case(
        "config", lambda root: _write(root / "evil.toml", text.encode("utf-8", "replace")),
        ("train", model, "--config", "evil.toml", *source, "--max-steps", "1", "--sample-size", "0"),
    )  # fmt: skip


def run_config(rng: random.Random) -> Case:
    """The config.json of a run with a value of a wrong type."""

    def plant(root: Path) -> None:
        path = root / "runs/gan/config.json"
        if rng.random() < 0.3:
            _damage(path, rng)
            return
        values = json.loads(path.read_text())
        _spoil(values, rng)
        path.write_text(json.dumps(values))

    command = rng.choice([("sample", "runs/gan", "-n", "2", "--out", "new.npz", "--checkpoint", "last"), _RESUME])
    return Case("config.json", plant, command)


_RESUME = ("train", "gan", "--resume", "runs/gan", "--max-steps", "3", "--sample-size", "0")


def checkpoint(rng: random.Random) -> Case:
    """A checkpoint: damaged, with an exploit, or with tensors of absurd or different shapes."""

    def plant(root: Path) -> None:
        path = root / "runs/gan/checkpoints/step-00000002.pt"
        kind = rng.choice(["damage", "exploit", "exploit inside", "absurd", "other", "packed"])
        content = torch.load(path, weights_only=True)
        if kind == "exploit":
            path.write_bytes(pickle.dumps(Exploit()))
        elif kind == "exploit inside":
            content[rng.choice(["model", "optimizers", "best", "step"])] = Exploit()
            torch.save(content, path)
        elif kind == "absurd":
            content["model"]["generator.0.weight"] = torch.zeros(1).expand(10 ** rng.randrange(6, 12), 16)
            torch.save(content, path)
        else:
            _harm(path, kind, content, rng)

    return Case("checkpoint", plant, rng.choice([_RESUME, ("deploy", "runs/gan", "--checkpoint", "2", "--out", "new")]))


def codes(rng: random.Random) -> Case:
    """A codes.pt: damaged, with an exploit or absurd shape, or with a decoder elsewhere."""

    def plant(root: Path) -> None:
        path = root / "codes.pt"
        kind = rng.choice(["damage", "exploit", "absurd", "elsewhere", "other", "packed"])
        content = torch.load(path, weights_only=True)
        if kind == "exploit":
            torch.save({**content, rng.choice(["codes", "ids", "encoder"]): Exploit()}, path)
        elif kind == "absurd":
            torch.save({**content, "codes": torch.zeros(1).expand(10 ** rng.randrange(6, 12), 4)}, path)
        elif kind == "elsewhere":
            torch.save({**content, "encoder": {"file": rng.choice(["../runs/gan/model/weights.safetensors", "/etc/passwd", ".."])}}, path)
        else:
            _harm(path, kind, content, rng)

    return Case("codes", plant, ("train", "ewm", "--targets", "codes.pt", "--max-steps", "1", "--n-hidden", "4", "--sample-size", "0"))


def weights(rng: random.Random) -> Case:
    """A weights.safetensors with a different header, or damaged."""

    def plant(root: Path) -> None:
        path = root / "runs/gan/model/weights.safetensors"
        if rng.random() < 0.4:
            _damage(path, rng)
            return
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        about = json.loads(header["__metadata__"]["pgen"])
        _spoil(about, rng)
        header["__metadata__"]["pgen"] = json.dumps(about)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return Case("weights", plant, ("sample", "runs/gan", "-n", "2", "--out", "new.npz"))


def program(rng: random.Random) -> Case:
    """A generator.pt2 that contains a pickle, a library or an expression."""
    kind = rng.choice(["pickle", "library", "expression", "operation", "guard", "damage", "pickled weight", "twice", "endless"])

    def change(name: str, content: bytes) -> bytes:
        if kind == "pickle" and name.endswith("sample_inputs/model.pt"):
            return pickle.dumps(Exploit())
        if name.endswith("models/model.json") and kind in ("expression", "operation", "guard", "endless"):
            evil = f"__import__('pathlib').Path('{CANARY}').touch()"
            graph = json.loads(content)
            if kind == "guard":
                graph["guards_code"] = [evil]
            text = json.dumps(graph)
            if kind == "expression":
                text = text.replace("Symbol('", f"{evil} or Symbol('")
            if kind == "endless":
                text = re.sub(r"Symbol\([^)]*\)", rng.choice(["9**9**9", "1" * 60 + "!", "(" * 10_000]), text)
            if kind == "operation":
                text = text.replace("torch.ops.aten.sigmoid.default", rng.choice(["os.system", "builtins.eval", "torch.ops.evil.run"]))
            return text.encode()
        if kind == "pickled weight" and name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true')
        if kind == "pickled weight" and name.endswith("weight_0"):
            return pickle.dumps(Exploit())
        return content

    def plant(root: Path) -> None:
        path = root / "generator.pt2"
        if kind == "damage":
            _damage(path, rng)
            return
        with zipfile.ZipFile(path) as archive:
            members = {name: change(name, archive.read(name)) for name in archive.namelist()}
        if kind == "library":
            members[f"{next(iter(members)).split('/')[0]}/data/aotinductor/model/x.so"] = b"\x7fELF"
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings(action="ignore"):  # about a duplicate name
            for name, content in members.items():
                if kind == "twice" and name.endswith("sample_inputs/model.pt"):
                    for _ in range(15):
                        archive.writestr(name, pickle.dumps(Exploit()))
                archive.writestr(name, content)

    return Case("program", plant, ("sample", "generator.pt2", "-n", "2", "--out", "new.npz"))


def images(rng: random.Random) -> Case:
    """A file of images: damaged, a pickle, a decompression bomb, or of an absurd shape."""
    kind = rng.choice(["npz", "npy", "pt", "h5", "png", "store"])
    way = rng.choice(["damage", "exploit", "absurd", "bomb"])
    name = {"png": "pngs", "store": "images.h5", "h5": "dense.h5"}.get(kind, f"images.{kind}")

    def plant(root: Path) -> None:
        path = root / name
        huge = (10 ** rng.randrange(4, 9), 1, 10 ** rng.randrange(3, 7), 64)
        if kind == "png":
            path.mkdir()
            _png(path / "0.png", rng, way)
        elif way == "damage":
            _make_images(path, kind)
            _damage(path, rng)
        elif kind in ("npz", "npy"):
            header = io.BytesIO()
            if way == "exploit":
                np.lib.format.write_array(header, np.array([Exploit()], dtype=object), allow_pickle=True)
            else:
                np.lib.format.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": huge})
                header.write(bytes(10**7 if way == "bomb" else 64))
            if kind == "npy":
                path.write_bytes(header.getvalue())
            else:
                with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(rng.choice(["images.npy", "../images.npy", "ids.npy"]), header.getvalue())
        elif kind == "pt":
            torch.save({"images": Exploit() if way == "exploit" else torch.zeros(1).expand(huge)}, path)
        else:
            import h5py

            with h5py.File(path, "w") as file:
                file.create_dataset("images", huge, "f4", chunks=(1, 1, 64, 64), compression="gzip")
                file["ids"] = h5py.SoftLink("/nowhere") if way == "exploit" else np.zeros(3)
                if way == "bomb":
                    del file["images"]
                    file["images"] = np.ones((6, 1, 8, 8), np.float32)
                    file.create_dataset(rng.choice(["labels/x", "events", "geometry"]), (10**11,), "f8", chunks=(1000,))

    command = rng.choice([("data", "info", name), ("data", "convert", name, "--out", "new.h5"),
                          ("train", "gan", "--data", name, "--max-steps", "1", "--n-hidden", "4", "--sample-size", "0")])  # fmt: skip
    return Case(f"images {kind} {way}", plant, command)


KINDS: list[MakeCase] = [config_file, run_config, checkpoint, codes, weights, program, images, images]


def make_valid_files(root: Path, pgen: Callable[..., Any]) -> None:
    """Make the folder of valid files: a small GAN, its generator.pt2, and latent codes."""
    pgen("train", "gan", "--data", "simulate:n=16,size=16", "--n-hidden", 8, "--z-dim", 4, "--n-layers", 1, "--max-steps", 2,
         "--checkpoint", 1, "--sample-size", 0, "--name", "gan", cwd=root)  # fmt: skip
    pgen("deploy", "runs/gan", "--out", ".", cwd=root)
    vectors = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
    about = {"format": "pgen-codes-1", "ids": [str(i) for i in range(24)], "source": {"name": "x"}, "encoder": {}}
    torch.save({"codes": vectors, "mean": vectors.mean(0), "std": vectors.std(0), **about}, root / "codes.pt")
    (root / "precious.h5").write_bytes(b"not to be lost")


def run_case(case: Case, valid_files: Path, place: Path) -> tuple[int, str | None]:
    """Run a case in a copy of the folder of valid files.

    Returns:
        The exit code, and what pgen did wrong, or None.
    """
    shutil.copytree(valid_files, place)
    case.plant(place)
    before = _digests(place)
    code, output = _run_command(case.command, place)
    fault = None
    if code not in (0, 2):
        fault = f"exit code {code}"
    elif "Traceback" in output:
        fault = "a traceback"
    elif code == 2 and "Error" not in output:
        fault = "no error message"
    elif list(place.rglob(CANARY)):
        fault = "code was run"
    elif lost := [name for name, digest in before.items() if _must_stay(name) and _digests(place).get(name) != digest]:
        fault = f"{lost[0]} was changed"
    elif outside := [path for path in place.parent.iterdir() if path != place]:
        fault = f"{outside[0]} was written"
    shutil.rmtree(place)
    return code, None if fault is None else f"{case.name}: {fault}: {' '.join(case.command)}\n{output[-3000:]}"


def _must_stay(name: str) -> bool:
    """Return whether no command may change a file; a resumed run changes its own folder."""
    return not name.startswith("runs/gan/")


def _run_command(arguments: tuple[str, ...], place: Path) -> tuple[int, str]:
    """Run a command in a forked process, where everything is imported already.

    Returns:
        The exit code, 124 if it hangs, and the output.
    """
    child = os.fork()
    if child == 0:
        _run_pgen(arguments, place)
    deadline = time.monotonic() + SECONDS
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return 124, "it hangs"
        time.sleep(0.005)
    output = (place.parent.parent / "output.txt").read_text(errors="replace")
    return os.waitstatus_to_exitcode(status[1]), output


def _run_pgen(arguments: tuple[str, ...], place: Path) -> None:
    code: Any = 1
    try:
        os.chdir(place)
        output = os.open(place.parent.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(output, stream)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.argv = ["pgen", *arguments]
        from pgen.cli.app import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _digests(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _damage(path: Path, rng: random.Random) -> None:
    """Truncate a file, or change some bytes."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.4:
        del content[rng.randrange(len(content)) :]
    else:
        for _ in range(rng.randrange(1, 30)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def _spoil(values: Any, rng: random.Random) -> None:
    """Replace or delete one value at any depth."""
    invalid = [None, -1, 10**9, 2**70, "x", "../../evil", [], {}, 1.5, float("nan"), [[0]], True, "\0"]
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        key = rng.choice(keys)
        if isinstance(values[key], dict | list) and values[key] and rng.random() < 0.8:
            values = values[key]
            continue
        if isinstance(values, dict) and rng.random() < 0.2:
            del values[key]
        else:
            values[key] = rng.choice(invalid)
        return


def _harm(path: Path, kind: str, content: Any, rng: random.Random) -> None:
    """Damage, change or compress a file of torch with this content."""
    if kind == "damage":
        _damage(path, rng)
    elif kind == "other":
        _spoil(content, rng)
        torch.save(content, path)
    else:
        _pack(path)


def _pack(path: Path) -> None:
    """Compress a zip file, with a member that unpacks to 128 MiB."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, bytes(2**27) if name.endswith("data/0") else content)


def _make_images(path: Path, kind: str) -> None:
    array = np.random.default_rng(0).random((6, 1, 16, 16), dtype=np.float32)
    if kind == "npz":
        np.savez_compressed(path, images=array)
    elif kind == "npy":
        np.save(path, array)
    elif kind == "pt":
        torch.save({"images": torch.from_numpy(array)}, path)
    elif kind == "h5":
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=array, compression="gzip")
    else:
        from pgen.data import ArrayImages, write_images

        write_images(path, ArrayImages(array, unit="ADC"))


def _png(path: Path, rng: random.Random, way: str) -> None:
    """Write a PNG that claims a size it does not have, or a valid one that is then damaged."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    side = 16 if way == "damage" else 10 ** rng.randrange(4, 9)
    pixels = zlib.compress(bytes((2 * side + 1) * side if side <= 16 else 10**7))
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0))
    path.write_bytes(content + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    if way == "damage":
        _damage(path, rng)
