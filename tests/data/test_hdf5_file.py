"""HDF5 files of strangers: nothing is read from elsewhere, and nothing that is missing is read as zeros."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from pgen.data import open_images, read_all, write_images
from pgen.data.formats.hdf5_safe import Hdf5File
from pgen.data.io.contents import list_contents
from pgen.errors import ChoiceNeeded, PgenError
from tests.data.test_public_sets import microboone, pilarnet

IMAGES = np.random.default_rng(5).integers(1, 90, (7, 6, 9)).astype(np.float32)
CONTAINERS = Path(__file__).parents[1] / "containers"


def virtual(path: Path, *sources: tuple[str, str], name: str = "images", shape: tuple[int, ...] = IMAGES.shape) -> None:
    """Add a virtual dataset to a file: (file, dataset) of each source, one behind the other."""
    layout = h5py.VirtualLayout((len(sources) * shape[0], *shape[1:]), "f4")
    for k, (file, dataset) in enumerate(sources):
        layout[k * shape[0] : (k + 1) * shape[0]] = h5py.VirtualSource(file, dataset, shape=shape)
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(name, layout)


def store(path: Path, **datasets: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
    return path


def numbered(path: Path, file: bytes, dataset: bytes) -> None:
    """A virtual dataset of as many blocks as there are, each with its number in its name."""
    block = h5py.h5s.create_simple(IMAGES.shape, (h5py.h5s.UNLIMITED, *IMAGES.shape[1:]))
    block.select_hyperslab((0, 0, 0), (h5py.h5s.UNLIMITED, 1, 1), (len(IMAGES), 1, 1), IMAGES.shape)
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_virtual(block, file, dataset, h5py.h5s.create_simple(IMAGES.shape))
    with h5py.File(path, "a") as out:
        h5py.h5d.create(out.id, b"images", h5py.h5t.NATIVE_FLOAT, block, properties)


def test_virtual_dataset_of_files_that_are_there(tmp_path: Path) -> None:
    store(tmp_path / "a.h5", x=IMAGES)
    store(tmp_path / "deep" / "b.h5", x=IMAGES + 100)
    virtual(tmp_path / "middle.h5", ("a.h5", "x"), ("deep/b.h5", "x"), name="y")
    virtual(tmp_path / "all.h5", (str(tmp_path / "middle.h5"), "y"), shape=(14, 6, 9))
    images = open_images(str(tmp_path / "all.h5"))
    assert np.array_equal(read_all(images)[:, 0], np.concatenate([IMAGES, IMAGES + 100]))
    (tmp_path / "deep/b.h5").unlink()
    with pytest.raises(PgenError, match=r"deep/b\.h5"):
        read_all(images)


@pytest.mark.parametrize("name", ["images", "labels", "labels/pdg", "ids", "events"])
def test_virtual_dataset_without_one_of_its_files(tmp_path: Path, name: str, refuses) -> None:
    numbers = np.arange(7)
    store(tmp_path / "a.h5", x=IMAGES if name == "images" else numbers)
    if name != "images":
        store(tmp_path / "all.h5", images=np.concatenate([IMAGES, IMAGES]))
    virtual(tmp_path / "all.h5", ("a.h5", "x"), ("lost.h5", "x"), name=name, shape=(IMAGES if name == "images" else numbers).shape)
    refuses("data", "info", "all.h5", saying="needs the file lost.h5, which is not there", cwd=tmp_path)
    if name.startswith("labels"):
        assert not open_images(f"{tmp_path}/all.h5:labels=none").labels


def test_nested_virtual_dataset_without_one_of_its_files(tmp_path: Path) -> None:
    virtual(tmp_path / "inner.h5", ("lost.h5", "x"), name="y")
    virtual(tmp_path / "all.h5", ("inner.h5", "y"))
    with pytest.raises(PgenError, match=r"inner\.h5: the virtual dataset /y needs the file lost\.h5"):
        open_images(str(tmp_path / "all.h5"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": IMAGES}, "no such dataset"),
        ({"x": IMAGES[:5]}, r"is of shape \(5, 6, 9\)"),
        ({"x": IMAGES[:, :5]}, r"is of shape \(7, 5, 9\)"),
    ],
)
def test_virtual_dataset_of_a_file_with_less_in_it(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    store(tmp_path / "a.h5", **content)
    virtual(tmp_path / "all.h5", ("a.h5", "x"))
    with pytest.raises(PgenError, match=message):
        open_images(str(tmp_path / "all.h5"))


def test_virtual_dataset_of_a_selection_beyond_the_source(tmp_path: Path) -> None:
    layout = h5py.VirtualLayout((4, 6, 9), "f4")
    layout[:] = h5py.VirtualSource("a.h5", "x", shape=(20, 6, 9))[10:14]
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
    store(tmp_path / "a.h5", x=np.concatenate([IMAGES, IMAGES]))
    assert np.array_equal(read_all(open_images(str(tmp_path / "all.h5")))[:, 0], IMAGES[3:7])
    store(tmp_path / "a.h5", x=IMAGES)
    with pytest.raises(PgenError, match="should have values up to"):
        open_images(str(tmp_path / "all.h5"))


@pytest.mark.parametrize("in_files", [True, False])
def test_numbered_blocks(tmp_path: Path, in_files: bool) -> None:
    path = tmp_path / "all.h5"
    if in_files:
        for k in range(3):
            store(tmp_path / f"part-{k}.h5", x=IMAGES + k)
        numbered(path, b"part-%b.h5", b"/x")
    else:
        store(tmp_path / "parts.h5", **{f"block_{k}": IMAGES + k for k in range(3)})
        numbered(path, b"parts.h5", b"/block_%b")
    assert np.array_equal(read_all(open_images(f"{path}:dataset=images"))[:, 0], np.concatenate([IMAGES + k for k in range(3)]))
    if in_files:
        (tmp_path / "part-1.h5").unlink()
    else:
        with h5py.File(tmp_path / "parts.h5", "a") as file:
            del file["block_1"]
            file["block_999999999999"] = IMAGES
    # HDF5 itself would give the first block and no word of the third.
    with pytest.raises(PgenError, match=r"needs the file part-1\.h5" if in_files else "needs block_1"):
        open_images(f"{path}:dataset=images")


def test_circles_and_gaps(tmp_path: Path) -> None:
    virtual(tmp_path / "a.h5", ("b.h5", "images"))
    virtual(tmp_path / "b.h5", ("a.h5", "images"))  # HDF5 crashes when it reads this
    with pytest.raises(PgenError, match="made of itself"):
        open_images(str(tmp_path / "a.h5"))
    store(tmp_path / "x.h5", x=IMAGES)
    layout = h5py.VirtualLayout((21, 6, 9), "f4")
    layout[7:14] = h5py.VirtualSource("x.h5", "x", shape=IMAGES.shape)
    with h5py.File(tmp_path / "gap.h5", "w") as file:
        file.create_virtual_dataset("images", layout)
        file["labels"] = np.arange(21)
    with pytest.raises(ChoiceNeeded, match="never written: 14"):
        open_images(str(tmp_path / "gap.h5"))
    images = open_images(f"{tmp_path}/gap.h5:max_skipped=14")
    assert np.array_equal(read_all(images)[:, 0], IMAGES) and images.labels["labels"].tolist() == list(range(7, 14))
    assert len(images.left_out) == 14


def test_images_that_were_never_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("images", (40, 6, 9), "f4", chunks=(4, 6, 9))[8:12] = IMAGES[:4]
        file.create_dataset("labels", (40,), "i8")
    with pytest.raises(ChoiceNeeded, match="36 of 40 events are odd"):
        open_images(str(tmp_path / "x.h5"))
    images = open_images(f"{tmp_path}/x.h5:max_skipped=36")
    assert np.array_equal(read_all(images)[:, 0], IMAGES[:4]) and images.ids.tolist() == ["8", "9", "10", "11"]
    assert "labels (was never written" in images.about["ignored"]
    with h5py.File(tmp_path / "z.h5", "w") as file:
        file["images"] = IMAGES
        file.create_dataset("labels", (7,), "i8", chunks=(2,))[:3] = [4, 5, 6]
    images = open_images(str(tmp_path / "z.h5"))
    assert len(images) == 7 and "labels (never written for some" in images.about["ignored"] and not images.labels
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file.create_dataset("images", (10**7, 64, 64), "f4", chunks=(1, 64, 64))
    with pytest.raises(PgenError, match="was never written"):
        open_images(str(tmp_path / "y.h5"))


#: Of each kind of HDF5 file: writes a sound one, and a dataset that its reader reads.
KINDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "images": (lambda path: store(path, images=IMAGES), "images"),
    "labels": (lambda path: store(path, images=IMAGES, labels=np.arange(7)), "labels"),
    "ids": (lambda path: store(path, images=IMAGES, ids=np.arange(7)), "ids"),
    "LArCV3 pixels": (lambda path: path.write_bytes((CONTAINERS / "larcv3_256.h5").read_bytes()), "Data/image2d_wire_group/images"),
    "LArCV3 events": (lambda path: path.write_bytes((CONTAINERS / "larcv3_256.h5").read_bytes()), "Events/event_id"),
    "store": (lambda path: write_images(path, open_images("simulate:n=4,size=16")), "charge"),
    "MicroBooNE": (lambda path: microboone(path, [(1, 2, 5), (1, 2, 7)]), "wire_table/adc"),
    "PILArNet": (lambda path: pilarnet(path, [np.ones((2, 8))]), "point"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_value_comes_from_outside(tmp_path: Path, kind: str) -> None:
    write, dataset = KINDS[kind]
    folder = tmp_path / "given"
    folder.mkdir()
    for name in ("virtual", "link", "external"):
        write(folder / f"{name}.h5")
    os.mkfifo(folder / "pipe")
    with h5py.File(folder / "virtual.h5", "r+") as file, h5py.File(tmp_path / "mine.h5", "w") as mine:
        values = file[dataset]
        mine.copy(values, "x")
        shape, dtype, size = values.shape, values.dtype, values.size * values.dtype.itemsize
        del file[dataset]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(str(tmp_path / "mine.h5"), "x", shape=shape)
        file.create_virtual_dataset(dataset, layout)
    with h5py.File(folder / "link.h5", "r+") as file:
        del file[dataset]
        file[dataset] = h5py.ExternalLink("../mine.h5", "x")
    refusals = {"virtual": "outside of the folder", "link": "outside of the folder"}
    if h5py.check_vlen_dtype(dtype) is None:  # which cannot lie outside
        with h5py.File(folder / "external.h5", "r+") as file:
            del file[dataset]
            file.create_dataset(dataset, shape, dtype, external=[(str(folder / "pipe"), 0, size)])
        refusals["external"] = "keeps its values outside"
    for name, message in refusals.items():
        with pytest.raises(PgenError, match=message):
            # Of LArCV3 and the store the pixels are read when they are needed.
            read_all(open_images(f"{folder}/{name}.h5{':plane=0' * kind.startswith('LArCV3')}"))


def test_a_pipe_does_not_hang(tmp_path: Path, refuses) -> None:
    os.mkfifo(tmp_path / "pipe")
    virtual(tmp_path / "a.h5", ("pipe", "x"))
    numbered(tmp_path / "b.h5", b"pipe", b"x_%b")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["images"] = h5py.ExternalLink("pipe", "x")
    for name in ("a.h5", "b.h5", "c.h5", "pipe"):
        refuses("data", "info", f"{name}:limit=1", saying="a pipe, expected a regular file", cwd=tmp_path)


def test_external_links_are_followed_within_the_folder(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    store(tmp_path / "given/parts/a.h5", group__x=IMAGES)
    store(tmp_path / "outside.h5", group__x=IMAGES)
    path = tmp_path / "given/all.h5"
    with h5py.File(path, "w") as file:
        file["group"] = h5py.ExternalLink("parts/a.h5", "/group")
        file["again"] = h5py.SoftLink("/group/x")
    images = open_images(str(path))
    assert np.array_equal(read_all(images)[:, 0], IMAGES) and images.about["dataset"] == "group/x"
    assert np.array_equal(read_all(open_images(f"{path}:dataset=/again"))[:, 0], IMAGES)
    assert list_contents(path, "all.h5") == {"group/x": "float32 (7, 6, 9)"}

    (tmp_path / "given/escape.h5").symlink_to("../outside.h5")
    path = store(tmp_path / "given/more.h5", wires=IMAGES)
    with h5py.File(path, "a") as file:
        for name, target in (
            ("up", "../outside.h5"),
            ("absolute", str(tmp_path / "outside.h5")),
            ("symbolic", "escape.h5"),
            ("lost", "no.h5"),
        ):
            file[name] = h5py.ExternalLink(target, "/group/x")
        file["circle"] = h5py.SoftLink("/circle")
    images = open_images(str(path))  # of no concern
    assert np.array_equal(read_all(images)[:, 0], IMAGES)
    assert all(f"{name} (the link /{name} needs the file" in images.about["ignored"] for name in ("up", "absolute", "symbolic", "lost"))
    for name, message in (
        ("up", "outside"),
        ("absolute", "outside"),
        ("symbolic", "outside"),
        ("lost", "not there"),
        ("circle", "in a circle"),
    ):
        with pytest.raises(PgenError, match=message):
            open_images(f"{path}:dataset={name}")


def test_a_link_to_the_file_itself(tmp_path: Path) -> None:
    path = store(tmp_path / "x.h5", images=IMAGES)
    with h5py.File(path, "a") as file:
        file["me"] = h5py.ExternalLink("x.h5", "/")
        file["copy"] = file["images"]
    with Hdf5File(path, "x") as file:
        assert [key for key, _, _ in file.datasets()] in (["images"], ["copy"])
    assert len(open_images(str(path))) == 7


def test_a_source_that_a_program_writes(tmp_path: Path) -> None:
    store(tmp_path / "a.h5", x=IMAGES)
    virtual(tmp_path / "all.h5", ("a.h5", "x"))
    code = "import h5py, sys; f = h5py.File('a.h5', 'a'); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        for name in ("a.h5", "all.h5"):
            with pytest.raises(PgenError, match=r"a\.h5.*another program has it open for writing") as error:
                open_images(str(tmp_path / name))
            assert "damaged" not in str(error.value)
        writer.communicate()
    assert len(open_images(str(tmp_path / "all.h5"))) == 7


def test_filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk(IMAGES.shape)
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = h5py.h5d.create(file.id, b"images", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(IMAGES.shape), properties)
        dataset.write_direct_chunk((0, 0, 0), IMAGES.tobytes())
    virtual(tmp_path / "all.h5", ("x.h5", "images"))
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    for name in ("x.h5", "all.h5"):
        with pytest.raises(PgenError, match=r"the HDF5 filter 32015.* pip install hdf5plugin") as error:
            open_images(str(tmp_path / name))
        assert "damaged" not in str(error.value)


def test_chunks_are_unpacked_once(tmp_path: Path) -> None:
    """Chunks of many windows stay unpacked in memory; virtual datasets pass the memory on to their sources."""
    images = np.zeros((96, 64, 64), np.float32)
    images[:, 3, 5] = np.arange(96)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=np.tile(images, (8, 1, 1)), chunks=(700, 32, 64), compression="gzip")
    virtual(tmp_path / "all.h5", ("a.h5", "images"), shape=(768, 64, 64))
    for name in ("a.h5", "all.h5"):
        with Hdf5File(tmp_path / name, name) as file:
            dataset = file.dataset("images")
            assert file.memory == 700 * 64 * 64 * 4
            if dataset.chunks:
                assert dataset.id.get_access_plist().get_chunk_cache()[1] == file.memory
        assert np.array_equal(open_images(str(tmp_path / name)).read([767, 4])[:, 0], images[[95, 4]])


def test_announced_sizes_are_no_matter_but_what_is_read_is(tmp_path: Path) -> None:
    """3 GiB from nearly no byte are sound; what must be read whole, and does not fit into memory, is not."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        part = file.create_dataset("x", (1100, 256, 256), "u1", chunks=(550, 256, 256), compression="gzip")
        part[:, 9, 4] = 3
    virtual(tmp_path / "all.h5", *[("a.h5", "x")] * 10, shape=(1100, 256, 256))
    images = open_images(str(tmp_path / "all.h5"))
    assert len(images) == 11000 and images.read([10999]).sum() == 3
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("images", (2**40, 1, 8), "u1", chunks=(2**16, 1, 8), compression="gzip")[:3] = 1
    with pytest.raises(PgenError, match=r"does not fit into memory") as error:
        open_images(str(tmp_path / "bomb.h5"))
    assert "damaged" not in str(error.value)
    layout = h5py.VirtualLayout((2**36,), "f8")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = np.ones(4)
        layout[:4] = h5py.VirtualSource(".", "x", shape=(4,))
        file.create_virtual_dataset("labels", layout)
        file["images"] = IMAGES
    assert "labels" in open_images(str(tmp_path / "b.h5")).about["ignored"]


@pytest.mark.parametrize("size", [512, 4096])
def test_user_block(tmp_path: Path, size: int) -> None:
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=size) as file:
        file["images"] = IMAGES
    with (tmp_path / "x.mat").open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file")
    images = open_images(str(tmp_path / "x.mat"))
    assert np.array_equal(read_all(images)[:, 0], IMAGES) and "reverse order" in images.about["written_by"]
    assert open_images(f"{tmp_path}/x.mat:layout=whn").shape == (1, 6, 7)
