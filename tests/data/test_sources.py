"""Every other kind of source: what it gives, and the sentence for what is wrong with it."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from pgen.data import LatentCodes, open_images, open_targets, read_all
from pgen.data.images import ArrayImages
from pgen.data.io.write import write_images
from pgen.errors import PgenError

STACK = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


def stored(folder: Path, kind: str, array: np.ndarray) -> str:
    path = folder / "file.dat"  # no telling ending: the content decides
    if kind == "npy":
        with path.open("wb") as stream:
            np.save(stream, array)
    elif kind == "npz":
        with path.open("wb") as stream:
            np.savez(stream, images=array)
    elif kind == "pt":
        torch.save({"images": torch.from_numpy(array)}, path)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = array
    return str(path)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "hdf5"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_arrays_come_back(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=3, max_dims=4, min_side=1, max_side=5))
    values = data.draw(arrays(np.float32, shape, elements=st.floats(-1000, 1000, width=32)))
    images = open_images(stored(tmp_path, kind, values))
    assert len(images) == shape[0] and images.shape == (1, *shape[1:])[-3:]
    assert np.array_equal(read_all(images).reshape(shape), values)
    assert images.fingerprint == ArrayImages(values).fingerprint
    index = data.draw(st.lists(st.integers(0, shape[0] - 1), max_size=6))
    assert np.array_equal(images.read(index), read_all(images)[index])


@settings(max_examples=15, deadline=None)
@given(data=st.data(), suffix=st.sampled_from([".h5", ".npz", ""]))
def test_written_sets_come_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str) -> None:
    n, h, w = data.draw(array_shapes(min_dims=3, max_dims=3, max_side=6))
    pixels = data.draw(arrays(np.float32, (n, h, w), elements=st.integers(0, 65535).map(float)))
    ids = [f"é/{i}" for i in range(n)]
    images = ArrayImages(pixels, ids=ids, events=["7"] * n, labels={"pdg": np.arange(n), "p": np.arange(n) + 0.5}, unit="fC")
    path = write_images(tmp_path_factory.mktemp("out") / f"set{suffix}", iter([images, images]))
    back = open_images(str(path))
    assert np.array_equal(read_all(back), np.concatenate([images.images] * 2))
    assert back.ids.tolist() == ids * 2 and back.events.tolist() == ["7"] * (2 * n) and back.unit == "fC"
    assert all(np.array_equal(back.labels[key], np.tile(values, 2)) for key, values in images.labels.items())


def test_writing_refuses(tmp_path: Path) -> None:
    images = ArrayImages(STACK)
    path = write_images(tmp_path / "a.h5", images)
    before = path.read_bytes()
    with pytest.raises(PgenError, match="exists already"):
        write_images(path, images)
    assert path.read_bytes() == before
    write_images(path, ArrayImages(STACK + 1), overwrite=True)
    assert np.array_equal(read_all(open_images(str(path)))[:, 0], STACK + 1)
    with pytest.raises(PgenError, match=r"cannot be written as \.jpg"):
        write_images(tmp_path / "a.jpg", images)
    for bad in (STACK - 1, STACK + 70000):
        with pytest.raises(PgenError, match="does not fit a PNG"):
            write_images(tmp_path / "pngs", ArrayImages(bad))
    with pytest.raises(PgenError, match="differ in shape"):
        write_images(tmp_path / "b.h5", [images, ArrayImages(STACK[:, :2])])
    with pytest.raises(PgenError, match="no images to write"):
        write_images(tmp_path / "c.npz", [])
    (tmp_path / "mine").mkdir()
    with pytest.raises(PgenError, match="no folder that pgen wrote"):
        write_images(tmp_path / "mine", images, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "mine"]  # nothing half written is left
    write_images(tmp_path / "set", images)
    write_images(tmp_path / "set", ArrayImages(STACK[:1]), overwrite=True)
    assert len(open_images(str(tmp_path / "set"))) == 1


def test_entries_and_limit(tmp_path: Path) -> None:
    np.save(tmp_path / "a:b.npy", np.arange(10.0).reshape(10, 1, 1))
    cut = open_images("a:b.npy:entries=2-9,limit=3", data_root=tmp_path)
    assert read_all(cut).ravel().tolist() == [2, 3, 4] and cut.ids.tolist() == ["2", "3", "4"]
    assert len(open_images("a:b.npy", data_root=tmp_path)) == 10
    for bad in ("entries=9-2", "entries=2-11", "entries=x", "limit=0", "limit=-1", "limit=x", "limit=1,limit=2", "oops"):
        with pytest.raises(PgenError):
            open_images(f"a:b.npy:{bad}", data_root=tmp_path)


def test_suppress_takes_faint_pixels_of_any_source(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(12.0).reshape(3, 2, 2))
    images = open_images("x.npy:suppress=5.5,entries=1-3", data_root=tmp_path)
    assert read_all(images).ravel().tolist() == [0, 0, 6, 7, 8, 9, 10, 11]
    assert images.read_sparse([0]).value.tolist() == [6, 7]
    for bad in ("suppress=x", "suppress=-1", "suppress=nan", "suppress=inf"):
        with pytest.raises(PgenError, match="suppress"):
            open_images(f"x.npy:{bad}", data_root=tmp_path)


def test_png_folder(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    for i, bits in ((10, np.uint16), (2, np.uint8)):
        Image.fromarray(np.full((3, 4), i, bits)).save(tmp_path / "class" / f"{i}.png")
    Image.fromarray(np.full((3, 4, 3), 7, np.uint8)).save(tmp_path / "grey.png")
    images = open_images(str(tmp_path))
    assert images.ids.tolist() == ["class/2", "class/10", "grey"]
    assert read_all(images)[:, 0, 0, 0].tolist() == [2, 10, 7]

    Image.fromarray(np.eye(3, dtype=np.uint8).repeat(4).reshape(3, 4, 3)).save(tmp_path / "z.png")
    with pytest.raises(PgenError, match=r"z\.png is in colour"):
        read_all(open_images(str(tmp_path)))
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "z.png")
    with pytest.raises(PgenError, match=r"z\.png is of shape \(2, 2\)"):
        read_all(open_images(str(tmp_path)))
    (tmp_path / "z.png").write_bytes((tmp_path / "grey.png").read_bytes()[:40])
    with pytest.raises(PgenError, match="truncated or damaged"):
        read_all(open_images(str(tmp_path)))


def write_mnist(folder: Path, prefix: str = "train", packed: bool = True) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    images = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">u4").tobytes() + pixels.tobytes()
    labels = bytes([0, 0, 8, 1]) + np.array([5], ">u4").tobytes() + bytes(range(5))
    folder.mkdir(parents=True, exist_ok=True)
    for stem, content in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        (folder / (stem + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return pixels


def test_mnist(tmp_path: Path) -> None:
    train, test = write_mnist(tmp_path / "mnist"), write_mnist(tmp_path / "mnist", "t10k", packed=False)
    for source in ("mnist", "mnist:root=mnist", f"mnist:root={tmp_path / 'mnist'}", "./mnist"):
        images = open_images(source, data_root=tmp_path)
        assert images.shape == (1, 28, 28) and np.array_equal(read_all(images)[:, 0], train)
        assert images.labels["digit"].tolist() == list(range(5))
    assert np.array_equal(read_all(open_images("mnist:split=test", data_root=tmp_path))[:, 0], test)
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bxx")
    with pytest.raises(PgenError, match="IDX"):
        open_images("mnist", data_root=tmp_path)
    plain = tmp_path / "mnist" / "t10k-images-idx3-ubyte"
    plain.write_bytes(plain.read_bytes()[:-1])
    with pytest.raises(PgenError, match="truncated"):
        open_images("mnist:split=test", data_root=tmp_path)
    with pytest.raises(PgenError, match="has no train-images"):
        open_images("mnist:root=nowhere", data_root=tmp_path)
    with pytest.raises(PgenError, match="train or test"):
        open_images("mnist:split=all")


def test_mnist_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pooch

    def offline(self: pooch.Pooch, file: str) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr(pooch.Pooch, "fetch", offline)
    with pytest.raises(PgenError, match="mnist:root=FOLDER"):
        open_images("mnist", data_root=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"hello, this is text", "unknown kind"),
        (b"\x89PNG\r\n\x1a\n", "give that folder"),
        (b"root\0\0", "truncated or damaged"),
        (b"\x89HDF\r\n\x1a\nxxx", "truncated or damaged"),
        (b"\x93NUMPY\1\0", "truncated or damaged"),
        (b"PK\3\4xx", "truncated or damaged"),
        (b"\x80\x02junk", "truncated or damaged"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(PgenError, match=message):
        open_images("bad", data_root=tmp_path)


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "hdf5"])
def test_truncated_arrays(tmp_path: Path, kind: str) -> None:
    path = Path(stored(tmp_path, kind, np.ones((20, 30, 30), np.float32)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PgenError, match="truncated or damaged"):
        read_all(open_images(str(path)))


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "hdf5"])
def test_wrong_arrays(tmp_path: Path, kind: str) -> None:
    with pytest.raises(PgenError):
        open_images(stored(tmp_path, kind, np.ones(3, np.float32)))
    with pytest.raises(PgenError, match="found 0 images"):
        open_images(stored(tmp_path, kind, np.ones((0, 3, 3), np.float32)))
    with pytest.raises(PgenError, match="1 pixels are NaN"):
        read_all(open_images(stored(tmp_path, kind, np.where(STACK == 5, np.nan, STACK))))


def test_arrays_that_need_unpickling_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[[{}]]], dtype=object), allow_pickle=True)
    torch.save({"images": Path("x")}, tmp_path / "a.pt")
    for file in ("a.npy", "a.pt"):
        with pytest.raises(PgenError, match="cannot be read"):
            open_images(file, data_root=tmp_path)


def test_choosing_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=STACK, b=STACK + 1)
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["deep/b"] = STACK, STACK + 1
    for source, message in (
        ("two.npz", r"more than one key \(a, b\)"),
        ("two.h5", "more than one dataset"),
        ("two.npz:key=c", "has no key 'c'"),
    ):
        with pytest.raises(PgenError, match=message):
            open_images(source, data_root=tmp_path)
    for source in ("two.npz:key=b", "two.h5:dataset=deep/b"):
        assert np.array_equal(read_all(open_images(source, data_root=tmp_path))[:, 0], STACK + 1)


def test_foreign_companions_of_images(tmp_path: Path) -> None:
    """Files of other writers: plain labels, numbers for events, a table of its own, a tensor that asks for its gradient."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"], file["labels"], file["events"] = STACK, np.array([3, 4]), np.array([7, 7])
    images = open_images(str(tmp_path / "x.h5"))
    assert images.labels["labels"].tolist() == [3, 4] and images.events.tolist() == ["7", "7"]
    Image.fromarray(STACK[0].astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "index.csv").write_text("picture,author\na.png,someone\n")
    assert open_images(str(tmp_path)).ids.tolist() == ["a"]
    with pytest.raises(PgenError, match="no folder that pgen wrote"):
        write_images(tmp_path, images, overwrite=True)
    torch.save(torch.ones(2, 3, 4, requires_grad=True), tmp_path / "x.pt")
    assert read_all(open_images(str(tmp_path / "x.pt"))).sum() == 24


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
def test_companions_in_bytes(tmp_path: Path, kind: str) -> None:
    """Text as bytes, and numbers in the other order of bytes, as files of other programs hold them."""
    path = tmp_path / f"x.{kind}"
    beside = {
        "labels/type": np.array([b"mu", "é".encode()]),
        "labels/e": np.array([1.5, 2.5], ">f8"),
        "ids": np.array(["é0".encode(), b"1"]),
    }
    if kind == "npz":
        np.savez(path, images=STACK, unit=np.array(b"MeV"), **beside)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = STACK
            file.attrs["unit"] = np.bytes_("MeV")
            for name, values in beside.items():
                file[name] = values
    images = open_images(str(path))
    assert images.unit == "MeV" and images.ids.tolist() == ["é0", "1"]
    assert images.labels["type"].tolist() == ["mu", "é"]
    assert images.labels["e"].dtype == np.float64 and images.labels["e"].dtype.isnative


def test_companions_of_another_shape(tmp_path: Path) -> None:
    for name, values in (
        ("labels/run", np.array(5)),
        ("ids", np.array("x")),
        ("ids", np.array([list("abcd")] * 2)),
        ("events", np.zeros((2, 1))),
    ):
        np.savez(tmp_path / "x.npz", **{"images": STACK, name: values})
        images = open_images(str(tmp_path / "x.npz"))
        assert images.about["ignored"].startswith(f"{name} (")
        assert not images.labels and images.ids.tolist() == ["0", "1"] and images.events.tolist() == ["x/0", "x/1"]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"], file["labels/g/deep"] = STACK, np.ones(2)
    assert list(open_images(str(tmp_path / "x.h5")).labels) == ["g/deep"]
    with h5py.File(tmp_path / "codes.h5", "w") as file:
        file["codes"] = np.ones((4, 3))
    with pytest.raises(PgenError, match=r"codes of shape \(4, 3\) looks like vectors or a table"):
        open_images(str(tmp_path / "codes.h5"))
    with h5py.File(tmp_path / "row.h5", "w") as file:
        file["row"] = np.ones(4)
    with pytest.raises(PgenError, match=r"found row float64 \(4,\); expected images"):
        open_images(str(tmp_path / "row.h5"))


def test_nothing_there(tmp_path: Path) -> None:
    for source, message in (
        ("nope.h5", "no such file"),
        ("", "empty"),
        ("nope:plane=1", "no such file"),
        ("simulate:m=3", "unknown option m="),
    ):
        with pytest.raises(PgenError, match=message):
            open_images(source, data_root=tmp_path)
    (tmp_path / "hollow").mkdir()
    with pytest.raises(PgenError, match="no images in it"):
        open_images("hollow", data_root=tmp_path)


def test_targets_are_told_from_images(tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.ones((4, 3)))
    np.save(tmp_path / "images.npy", STACK)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "target_0.npy", np.ones(3))
    for source in ("vectors.npy", "folder"):
        assert isinstance(open_targets(source, tmp_path), LatentCodes)
        with pytest.raises(PgenError, match="`targets`"):
            open_images(source, data_root=tmp_path)
    assert open_targets("images.npy:limit=1", tmp_path).shape == (1, 3, 4)
    with pytest.raises(PgenError, match="no options but key="):
        open_targets("vectors.npy:limit=1", tmp_path)
    with pytest.raises(PgenError, match="leave key=x out"):
        open_targets("vectors.npy:key=x", tmp_path)
    np.savez(tmp_path / "two.npz", a=np.ones((4, 3)), b=np.zeros((5, 2)), c=STACK)
    assert open_targets("two.npz:key=b", tmp_path).codes.shape == (5, 2)
    assert open_targets("two.npz:key=c", tmp_path).shape == (1, 3, 4)
