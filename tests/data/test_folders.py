"""Folders and patterns: which files in them are images, and how many may be there."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pgen.data import ArrayImages, open_images, read_all, write_images
from pgen.data.io.contents import list_contents
from pgen.errors import PgenError
from pgen.utils.paths import list_numbered_files, natural_key

IMAGES = np.random.default_rng(8).integers(0, 200, (12, 6, 10)).astype(np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    """An image as a file of its own, of the kind that its ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(image).save(path)
    elif path.suffix == ".npy":
        np.save(path, image)
    elif path.suffix == ".npz":
        np.savez(path, image)
    elif path.suffix == ".pt":
        torch.save(torch.from_numpy(image), path)
    else:
        with h5py.File(path, "w") as file:
            file["wires"] = image


KINDS = ["png", "npy", "npz", "pt", "h5"]


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_a_file(tmp_path: Path, kind: str) -> None:
    for k, image in enumerate(IMAGES):
        save(tmp_path / ("e" if k % 3 else "mu") / f"{k}.{kind}", image)
    order = [1, 2, 4, 5, 7, 8, 10, 11, 0, 3, 6, 9]
    images = open_images(str(tmp_path))
    assert np.array_equal(read_all(images)[:, 0], IMAGES[order]) and images.shape == (1, 6, 10)
    assert images.ids.tolist() == [f"{'e' if k % 3 else 'mu'}/{k}" for k in order]
    assert images.events.tolist() == [f"{tmp_path.name}/{name}" for name in images.ids]
    assert images.labels["folder"].tolist() == ["e"] * 8 + ["mu"] * 4 and list(images.labels) == ["folder"]
    assert images.about["layout"] == ("one image per file" if kind == "png" else "hw, by default")
    assert not open_images(str(tmp_path / "e")).labels
    if kind == "png":
        np.save(tmp_path / "more.npy", IMAGES)
        assert "1 files that are no PNG (more.npy" in open_images(str(tmp_path)).about["ignored"]
    else:
        images = open_images(f"{tmp_path}/*/*.{kind}:limit=9")
        assert images.ids.tolist() == [f"{'e' if k % 3 else 'mu'}/{k}" for k in order[:9]] and list(images.labels) == ["folder"]
        assert open_images(f"{tmp_path}:layout=wh").shape == (1, 10, 6)
        save(tmp_path / "mu" / f"99.{kind}", IMAGES[0, 1:])
        with pytest.raises(PgenError, match=r"shape .*differs"):
            open_images(str(tmp_path))


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_files_are_no_images(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / ".cache" / "set"  # a folder that is given is meant
    for k in range(3):
        save(folder / f"{k}.{kind}", IMAGES[k])
    for hidden in (".ipynb_checkpoints", ".git/deep", "__MACOSX", "mu/.Trash"):
        save(folder / hidden / f"7.{kind}", IMAGES[7])
    for junk in (f"._0.{kind}", f"__MACOSX/._1.{kind}", ".DS_Store"):
        (folder / junk).write_bytes(b"\0\5\x16\7" + bytes(100))
    for source in (folder, f"{folder}/**/*.{kind}", f"{folder}/*/*.{kind}"):
        if source == folder or "**" in str(source):
            if kind != "png" or source == folder:
                assert open_images(str(source)).ids.tolist() == ["0", "1", "2"]
        else:
            with pytest.raises(PgenError, match="no such file"):
                open_images(str(source))
    assert list_contents(folder, "x") == {f".{kind}": "3 files"}


def test_folders_of_stacks_and_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    np.save(tmp_path / "real/a.npy", IMAGES[:5])
    np.save(tmp_path / "real/b.npy", IMAGES[5:])
    (tmp_path / "links").mkdir()
    (tmp_path / "links/here").symlink_to(tmp_path / "real")
    (tmp_path / "real/back").symlink_to(tmp_path / "real")  # in a circle
    for folder, prefix in (("real", ""), ("links", "here/")):
        images = open_images(str(tmp_path / folder))
        assert np.array_equal(read_all(images)[:, 0], IMAGES) and images.labels["file"].tolist()[4:6] == [f"{prefix}a", f"{prefix}b"]
    (tmp_path / "real/c.npy").symlink_to("nowhere.npy")
    with pytest.raises(PgenError, match=r"c\.npy: a link to nowhere\.npy, which is not there"):
        open_images(str(tmp_path / "real"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    os.mkfifo(tmp_path / f"0.{kind}")
    with pytest.raises(PgenError, match="a pipe, expected a regular file"):
        read_all(open_images(str(tmp_path)))
    with pytest.raises(PgenError, match="a pipe, expected a regular file"):
        open_images(str(tmp_path / f"0.{kind}"))
    (tmp_path / f"0.{kind}").unlink()
    save(tmp_path / f"1.{kind}" / f"2.{kind}", IMAGES[2])
    assert len(open_images(str(tmp_path))) == 1
    (tmp_path / f"dead.{kind}").symlink_to("gone")
    with pytest.raises(PgenError, match="a link to gone, which is not there"):
        read_all(open_images(str(tmp_path)))
    with pytest.raises(PgenError, match="a link to gone, which is not there"):
        open_images(str(tmp_path / f"dead.{kind}"))
    with pytest.raises(PgenError, match="device"):
        open_images("/dev/zero")


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "h5", "store.h5", "batch.npy", "target.npy"])
def test_more_files_than_may_be_open(tmp_path: Path, kind: str) -> None:
    count = 90
    for k in range(count):
        image = IMAGES[k % 12].astype(np.float32)
        if kind == "store.h5":
            write_images(tmp_path / f"{k}.h5", ArrayImages(image[None], ids=["a"]))
        elif kind == "batch.npy":
            np.save(tmp_path / f"batch_{k}.npy", image[None])
        elif kind == "target.npy":
            np.save(tmp_path / f"target_{k}.npy", image[0])
        else:
            save(tmp_path / f"{k}.{kind}", image)
    source = str(tmp_path) if kind in ("batch.npy", "target.npy") else f"{tmp_path}/*.{kind.split('.')[-1]}"
    if kind in KINDS:
        source += ":layout=hw"
    code = f"""
import resource, numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
from pgen.data import open_targets, read_all
images = open_targets({source!r})
if hasattr(images, "codes"):
    print(len(images))
else:
    first, again = read_all(images), images.read(range(len(images) - 1, -1, -3))
    assert np.array_equal(first[::-3], again)
    print(len(images), float(first.sum()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.split()[0] == str(count)
    if kind != "target.npy":
        assert float(done.stdout.split()[1]) == sum(IMAGES[k % 12].sum(dtype=np.float64) for k in range(count))


def png(path: Path, pixels: np.ndarray, depth: int, kind: int, *chunks: tuple[bytes, bytes]) -> None:
    """A PNG of packed rows, as the specification has them; Pillow writes few of its kinds."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows, columns = pixels.shape[:2]
    if depth < 8:
        bits = (pixels[..., None] >> np.arange(depth - 1, -1, -1)) & 1
        packed = np.packbits(bits.reshape(rows, -1).astype(np.uint8), axis=1)
    else:
        packed = pixels.reshape(rows, -1).astype(f">u{depth // 8}").view(np.uint8).reshape(rows, -1)
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), packed], 1).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, depth, kind, 0, 0, 0)
    body = b"".join(chunk(*each) for each in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


def coloured(pixels: np.ndarray, alpha: int | None, maximum: int) -> np.ndarray:
    layers = [pixels] * 3 + ([np.full_like(pixels, maximum if alpha is None else alpha)] if alpha != -1 else [])
    return np.stack(layers, -1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_grayscale_pngs_are_exact(tmp_path: Path, depth: int) -> None:
    pixels = np.random.default_rng(depth).integers(0, 2**depth, (5, 9))
    png(tmp_path / "0.png", pixels, depth, 0)
    assert np.array_equal(read_all(open_images(str(tmp_path)))[0, 0], pixels)
    png(tmp_path / "0.png", pixels, depth, 0, (b"tRNS", struct.pack(">H", int(pixels[2, 3]))))
    with pytest.raises(PgenError, match=r"0\.png is transparent in \d+ pixels"):
        open_images(str(tmp_path))
    absent = 2**depth - 1
    png(tmp_path / "0.png", np.minimum(pixels, absent - 1), depth, 0, (b"tRNS", struct.pack(">H", absent)))
    assert np.array_equal(read_all(open_images(str(tmp_path)))[0, 0], np.minimum(pixels, absent - 1))


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_palettes_are_exact(tmp_path: Path, depth: int) -> None:
    greys = np.random.default_rng(depth).permutation(256)[: 2**depth]
    index = np.random.default_rng(9).integers(0, 2**depth, (6, 7))
    palette = np.repeat(greys, 3).astype(np.uint8).tobytes()
    png(tmp_path / "0.png", index, depth, 3, (b"PLTE", palette), (b"tRNS", b"\xff" * 2))
    assert np.array_equal(read_all(open_images(str(tmp_path)))[0, 0], greys[index])
    png(tmp_path / "0.png", index, depth, 3, (b"PLTE", palette), (b"tRNS", b"\x00" * 2))
    with pytest.raises(PgenError, match="is transparent"):
        open_images(str(tmp_path))
    png(tmp_path / "0.png", index, depth, 3, (b"PLTE", b"\x01\x02\x03" * 2**depth))
    with pytest.raises(PgenError, match="is in colour"):
        open_images(str(tmp_path))


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
def test_grey_channels(tmp_path: Path, mode: str) -> None:
    kind, layers = {"LA": (4, 2), "RGB": (2, 3), "RGBA": (6, 4)}[mode]
    grey = IMAGES[3]
    stack = np.stack([grey] * layers, -1)
    if mode != "RGB":
        stack[..., -1] = 255
    png(tmp_path / "0.png", stack, 8, kind)
    assert np.array_equal(read_all(open_images(str(tmp_path)))[0, 0], grey)
    png(tmp_path / "0.png", stack.astype(np.uint16) * 257, 16, kind)
    with pytest.raises(PgenError, match="16 bits for each of several channels"):  # Pillow would give 8 of them
        open_images(str(tmp_path))
    if mode != "RGB":
        stack[2, 3, -1] = 254
        png(tmp_path / "0.png", stack, 8, kind)
        with pytest.raises(PgenError, match="is transparent in 1 pixels"):
            open_images(str(tmp_path))
    if mode != "LA":
        stack[..., -1] = 255
        stack[1, 1, 1] ^= 1
        png(tmp_path / "0.png", stack, 8, kind)
        with pytest.raises(PgenError, match="is in colour"):
            open_images(str(tmp_path))


def test_other_files_called_png(tmp_path: Path) -> None:
    frames = [Image.fromarray(image) for image in IMAGES[:3]]
    frames[0].save(tmp_path / "0.png", save_all=True, append_images=frames[1:])
    with pytest.raises(PgenError, match="an animation of 3 images"):
        open_images(str(tmp_path))
    frames[0].save(tmp_path / "0.png", format="JPEG")
    with pytest.raises(PgenError, match=r"0\.png is no PNG \(it begins with") as error:
        open_images(str(tmp_path))
    assert "damaged" not in str(error.value)


@given(st.lists(st.text(st.sampled_from("5²6٣①10½_.")), min_size=1))
def test_names_are_sorted_whatever_digits_they_have(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    assert sorted(ordered) == sorted(names)


def test_digits_of_other_scripts(tmp_path: Path) -> None:
    assert sorted(["x10", "x9", "x²", "9" * 5000, "x٣"], key=natural_key)[:3] == ["9" * 5000, "x9", "x10"]
    for name in ("target_2.npy", "target_10.npy", "target_٣.npy", "target_².npy"):
        np.save(tmp_path / name, np.ones(3))
    assert [path.name for path in list_numbered_files(tmp_path, "target")] == ["target_2.npy", "target_10.npy"]
    for name in ("7²", "10", "٣"):
        np.save(tmp_path / f"{name}.npy", IMAGES[:2])
    assert len(open_images(f"{tmp_path}/[!t]*.npy")) == 6
    with pytest.raises(PgenError, match="limit="):
        open_images(f"{tmp_path}/10.npy:limit=٣")


@pytest.mark.parametrize(("packer", "program"), [("gzip", "gunzip"), ("bz2", "bunzip2"), ("lzma", "unxz")])
def test_packed_files(tmp_path: Path, packer: str, program: str, refuses) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    packed = __import__(packer).open(tmp_path / "x.npy.packed", "wb")
    with packed:
        packed.write((tmp_path / "x.npy").read_bytes())
    refuses("data", "info", "x.npy.packed", saying=f"the file is compressed; unpack it first by {program}", cwd=tmp_path)


def test_causes_that_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own remedy; to fetch the file again is none."""
    import errno

    from pgen.data.formats.base import wrap_read_errors
    from pgen.utils.untrusted import TooLarge

    for error, message in (
        (PermissionError(errno.EACCES, "x"), "permission denied"),
        (OSError(errno.EMFILE, "x"), r"ulimit -n"),
        (OSError("Unable to open file (unable to lock file, errno = 11, error message = '...')"), "another program has it open"),
        (OSError(errno.ENOLCK, "x"), "HDF5_USE_FILE_LOCKING=FALSE"),
        (OSError(errno.EIO, "x"), "the disk reports a fault"),
        (OSError("unable to open file (file is already open for write (may use <h5clear file>))"), "h5clear"),
        (TooLarge("its arrays take 3 GiB"), "does not fit into memory"),
        (ModuleNotFoundError("No module named 'xxhash'", name="xxhash"), "pip install xxhash"),
    ):
        with pytest.raises(PgenError, match=message) as caught, wrap_read_errors("x", "a file"):
            raise error
        assert "damaged" not in str(caught.value)
    with pytest.raises(PgenError, match="damaged"), wrap_read_errors("x", "a file"):
        raise OSError("Unable to open file (truncated file: eof = 96)")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs a user who may not read the file")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_permission(tmp_path: Path, kind: str) -> None:
    save(tmp_path / f"0.{kind}", IMAGES[0])
    (tmp_path / f"0.{kind}").chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    command = [*user, sys.executable, "-m", "pgen", "data", "info", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 2 and "permission denied" in done.stderr and "damaged" not in done.stderr and "Traceback" not in done.stderr
