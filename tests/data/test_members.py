"""Which arrays of a file are images, how their axes lie, and what lies next to them: alike in npz, torch and HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.data import ImageSet, LatentCodes, open_images, open_targets, read_all
from pgen.data.formats.layout import Layout
from pgen.errors import ChoiceNeeded, PgenError

CONTAINERS = ["npz", "pt", "pt of arrays", "h5"]
IMAGES = np.random.default_rng(2).integers(0, 50, (9, 12, 7)).astype(np.float32)


def store(folder: Path, container: str, members: dict[str, Any]) -> Path:
    """A file of arrays by their paths, as labels/pdg."""
    path = folder / f"{len(list(folder.iterdir()))}.{container.partition(' ')[0]}"
    if container == "npz":
        np.savez(path, **members)
    elif container == "h5":
        with h5py.File(path, "w") as file:
            for key, values in members.items():
                file[key] = values.tolist() if values.dtype.kind == "U" else values
    else:
        content: dict[str, Any] = {}
        for key, values in members.items():
            *groups, name = key.split("/")
            place = content
            for group in groups:
                place = place.setdefault(group, {})
            if values.dtype.kind in "US":
                place[name] = values if container == "pt of arrays" else values.astype(str).tolist()
            else:
                place[name] = values if container == "pt of arrays" else torch.from_numpy(values)
        torch.save(content, path)
    return path


def opened(folder: Path, container: str, options: str = "", **members: Any) -> ImageSet:
    path = store(folder, container, {key.replace("__", "/"): np.asarray(values) for key, values in members.items()})
    return open_images(f"{path}{options}")


@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_companions_from_every_container(tmp_path: Path, container: str) -> None:
    kinds = np.array(["mu", "é", "e"] * 3)
    images = opened(
        tmp_path, container, images=IMAGES, labels__kind=kinds, labels__p=np.arange(18.0).reshape(9, 2), labels__deep__k=np.arange(9),
        ids=np.arange(100, 109), events=np.arange(27).reshape(9, 3),
    )  # fmt: skip
    assert np.array_equal(read_all(images)[:, 0], IMAGES)
    assert sorted(images.labels) == ["deep/k", "kind", "p"] and images.labels["kind"].tolist() == kinds.tolist()
    assert images.labels["p"].shape == (9, 2) and images.labels["deep/k"].tolist() == list(range(9))
    assert images.ids[2] == "102" and images.events[:2].tolist() == ["0/1/2", "3/4/5"]
    assert "ignored" not in images.about
    images = opened(tmp_path, container, images=IMAGES, labels=np.arange(9) % 4)
    assert images.labels["labels"].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert not open_images(f"{images.name}:labels=none").labels


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_does_not_fit_is_left_alone(tmp_path: Path, container: str) -> None:
    images = opened(
        tmp_path, container, images=IMAGES, labels__names=np.array(["e", "mu"]), labels__masks=np.ones((9, 4, 4)), labels__ok=np.arange(9),
        ids=np.zeros((9, 5), int), events=np.ones((4, 3)), geometry=np.eye(3), unit=np.ones(4),
    )  # fmt: skip
    assert list(images.labels) == ["ok"] and images.unit == "ADC" and images.geometry is None
    assert images.ids.tolist() == [str(k) for k in range(9)] and len(np.unique(images.events)) == 9
    for what in ("labels/names (of shape (2,) for 9", "labels/masks", "ids (5 values", "events (of shape (4, 3)", "geometry", "unit"):
        assert what in images.about["ignored"]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ["events", "labels", "wires"])
def test_images_of_any_name(tmp_path: Path, container: str, name: str) -> None:
    assert np.array_equal(read_all(opened(tmp_path, container, **{name: IMAGES}))[:, 0], IMAGES)
    images = opened(tmp_path, container, wires=IMAGES, events=np.arange(9), geometry=np.ones((9, 1, 4)))
    assert images.geometry is not None and images.events[3] == "3"
    key = "dataset" if container == "h5" else "key"
    assert open_images(f"{images.name}:{key}=wires,events=none").events[3] == f"{Path(images.name).stem}/3"


@pytest.mark.parametrize("events", [np.full(9, 0.5), np.zeros((9, 3)), np.full(9, np.nan)])
def test_numbers_that_are_no_events(tmp_path: Path, events: np.ndarray) -> None:
    """Runs and events that nobody set would make one event of all images."""
    images = opened(tmp_path, "npz", images=IMAGES, events=events)
    assert len(np.unique(images.events)) == 9


def test_ragged_and_structured_neighbours(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["images"] = IMAGES
        boxes = file.create_dataset("labels/boxes", (9,), h5py.vlen_dtype("i4"))
        boxes[3] = [1, 2, 3]
        file["labels/row"] = np.zeros(9, [("run", "i8"), ("x", "f4")])
        file["labels/text"] = np.array([b"\xff\xfe"] * 9)
        file["labels/bytes"] = ["mu"] * 9
        file["ids"] = h5py.Empty("f4")
        file.attrs["unit"] = np.arange(3)
    images = open_images(str(tmp_path / "x.h5"))
    assert list(images.labels) == ["bytes"] and images.unit == "ADC"
    for what in ("labels/boxes (has rows of different lengths", "labels/row", "labels/text (text in another encoding", "ids (is empty"):
        assert what in images.about["ignored"]


def test_objects_are_never_unpickled_and_in_nobodys_way(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path / "sprung").touch, ()

    trap = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "x.npz", images=IMAGES, meta=trap, labels=np.array([trap] * 9))
    images = open_images(str(tmp_path / "x.npz"))
    assert np.array_equal(read_all(images)[:, 0], IMAGES) and "labels" in images.about["ignored"] and not images.labels
    torch.save({"images": IMAGES, "meta": np.array([{"run": 1}], dtype=object), "scale": np.float32(3)}, tmp_path / "x.pt")
    assert np.array_equal(read_all(open_images(str(tmp_path / "x.pt")))[:, 0], IMAGES)
    torch.save({"images": torch.from_numpy(IMAGES), "meta": Trap()}, tmp_path / "y.pt")
    torch.save({"images": np.array([[trap]], dtype=object)}, tmp_path / "z.pt")
    np.savez(tmp_path / "y.npz", images=np.array([[trap]], dtype=object))
    for name in ("y.pt", "z.pt", "y.npz"):
        with pytest.raises(PgenError, match=r"unpickle|Python objects") as error:
            open_images(str(tmp_path / name))
        assert "damaged" not in str(error.value)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("dtype", [">i2", "<f8", "?", "u1", "<U3"])
def test_numpy_arrays_in_torch_files(tmp_path: Path, dtype: str) -> None:
    values = np.asfortranarray(np.arange(24).reshape(2, 3, 4).astype(dtype))
    torch.save({"images": values if dtype != "<U3" else IMAGES[:2], "labels": {"x": values[:, 0, 0]}}, tmp_path / "x.pt")
    images = open_images(str(tmp_path / "x.pt"))
    assert images.labels["x"].tolist() == values[:, 0, 0].tolist()
    if dtype != "<U3":
        assert np.array_equal(read_all(images)[:, 0], values)


def test_pickled_types_that_lie(tmp_path: Path) -> None:
    """A type may not be one of pointers, nor claim more bytes than there are."""
    from pgen.utils.untrusted import PickledArray, PickledType

    for code, content in (("O8", bytes(8)), ("V8", bytes(8)), ("f8", bytes(7)), ("f8,O", bytes(16))):
        array = PickledArray()
        array.__setstate__((1, (1,), PickledType(code), False, content))
        with pytest.raises(ValueError, match=r"array|size"):
            array.array()


@settings(max_examples=40, deadline=None)
@given(axes=st.permutations("nchw"), dropped=st.sampled_from(["", "n", "c", "nc"]), container=st.sampled_from(["npy", "h5"]))
def test_layouts(tmp_path_factory: pytest.TempPathFactory, axes: list[str], dropped: str, container: str) -> None:
    layout = "".join(axis for axis in axes if axis not in dropped)
    sizes = {"n": 1 if "n" in dropped else 5, "c": 1 if "c" in dropped else 3, "h": 4, "w": 6}
    images = np.random.default_rng(0).random([sizes[axis] for axis in "nchw"], dtype=np.float32)
    stack = images.transpose(["nchw".index(axis) for axis in layout] + ["nchw".index(axis) for axis in dropped]).reshape(
        [sizes[axis] for axis in layout]
    )
    path = tmp_path_factory.mktemp("x") / f"x.{container}"
    if container == "npy":
        np.save(path, stack)
    else:
        with h5py.File(path, "w") as file:
            file["x"] = stack
    images_read = open_images(f"{path}:layout={layout}")
    assert images_read.about["layout"] == f"{layout}, by layout={layout}" and images_read.about["rows"].startswith("ticks")
    assert np.array_equal(read_all(images_read), images)
    assert np.array_equal(images_read.read([len(images) - 1, 0]), images[[-1, 0]])


@pytest.mark.parametrize("text", ["nhwcx", "hh", "nh", "nchww", "", "hwn2", "nc"])
def test_layouts_that_are_none(text: str) -> None:
    with pytest.raises(PgenError, match="expected the axes in their order"):
        Layout.parse(text, "x")


@pytest.mark.parametrize(("shape", "layout"), [((6, 9, 11, 2), "nhwc"), ((30, 16, 16, 1), "nhwc"), ((40, 50, 3), "hwc")])
def test_channels_last_are_not_taken_for_rows(tmp_path: Path, shape: tuple[int, ...], layout: str, refuses) -> None:
    np.save(tmp_path / "x.npy", np.ones(shape, np.float32))
    with pytest.raises(ChoiceNeeded, match=f"add layout={layout} if they are"):
        open_images(str(tmp_path / "x.npy"))
    refuses("train", "gan", "--data", "x.npy", "--max-steps", 1, saying=f"layout={layout}", cwd=tmp_path)
    assert open_images(f"{tmp_path}/x.npy:layout={layout}").shape == (shape[-1], *shape[-3:-1])
    assert open_images(f"{tmp_path}/x.npy:layout={'nchw' if len(shape) == 4 else 'nhw'}").shape[-1] == shape[-1]


def test_data_info_says_how_rows_and_columns_were_understood(tmp_path: Path, pgen) -> None:
    np.save(tmp_path / "x.npy", np.ones((5, 8, 6, 3), np.float32))
    text = pgen("data", "info", "x.npy", cwd=tmp_path).stdout
    assert "layout=nhwc" in text
    text = pgen("data", "info", "x.npy:layout=nwhc", cwd=tmp_path).stdout
    assert "nwhc, by layout=nwhc" in text and "ticks, by layout" in text and "3 channels, 6 rows, 8 columns" in text


@pytest.mark.parametrize("container", CONTAINERS)
def test_an_array_for_each_event(tmp_path: Path, container: str) -> None:
    order = [3, 11, 0, 7]
    members = {f"event_{k}/image": IMAGES[k % 9] for k in order} | {f"event_{k}/truth": IMAGES[0] for k in order}
    path, key = store(tmp_path, container, members), "dataset" if container == "h5" else "key"
    with pytest.raises(ChoiceNeeded, match=rf"event_\*/image, event_\*/truth.*{key}=event_\*/image"):
        open_images(str(path))
    for choice in ("image", "event_*/image"):
        images = open_images(f"{path}:{key}={choice}")
        assert images.ids.tolist() == ["event_0", "event_3", "event_7", "event_11"]
        assert images.events.tolist() == [f"{path.stem}/{event}" for event in images.ids]
        assert np.array_equal(read_all(images)[:, 0], IMAGES[[0, 3, 7, 2]])
        assert np.array_equal(images.read([2, 0])[:, 0], IMAGES[[7, 0]])
    images = opened(tmp_path, container, **{f"{k}": IMAGES[k] for k in range(9)}, labels=np.arange(9))
    assert np.array_equal(read_all(images)[:, 0], IMAGES) and "labels" in images.about["ignored"]


def test_numbered_arrays_that_may_be_parts_of_an_event(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", *IMAGES[:3])
    np.savez(tmp_path / "planes.npz", **{f"plane{k}": IMAGES[k] for k in range(3)})
    np.savez(tmp_path / "batches.npz", **{f"batch_{k}": IMAGES[k] for k in range(3)})
    for name, key in (("x.npz", r"arr_\*"), ("planes.npz", r"plane\*")):
        with pytest.raises(ChoiceNeeded, match=f"add key={key} if each is one image"):
            open_images(str(tmp_path / name))
    assert len(open_images(f"{tmp_path}/planes.npz:key=plane*")) == len(open_images(f"{tmp_path}/batches.npz")) == 3
    assert open_images(f"{tmp_path}/planes.npz:key=plane1").ids.tolist() == ["planes"]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for k in range(4):
            file[f"event_{k}/wires"] = IMAGES[:3] + k
    with pytest.raises(ChoiceNeeded, match=r"add layout=chw .* layout=nhw"):
        open_images(str(tmp_path / "x.h5"))
    assert open_images(f"{tmp_path}/x.h5:layout=chw").ids.tolist() == [f"event_{k}" for k in range(4)]
    images = open_images(f"{tmp_path}/x.h5:layout=nhw")
    assert len(images) == 12 and images.ids[5] == "event_1/2" and np.array_equal(images.read([5])[0, 0], IMAGES[2] + 1)


def test_one_image(tmp_path: Path) -> None:
    np.save(tmp_path / "frame.npy", IMAGES[0])
    torch.save(torch.from_numpy(IMAGES[0]), tmp_path / "frame.pt")
    with h5py.File(tmp_path / "frame.h5", "w") as file:
        file["data/wires"] = IMAGES[0]
    for name in ("frame.npy", "frame.pt", "frame.h5"):
        images = open_images(str(tmp_path / name))
        assert images.ids.tolist() == ["frame"] and images.about["layout"] == "hw, by default"
        assert np.array_equal(read_all(images)[0, 0], IMAGES[0])


def test_vectors_are_not_taken_for_an_image(tmp_path: Path) -> None:
    np.save(tmp_path / "table.npy", np.ones((50, 4)))
    np.savez(tmp_path / "codes.npz", codes=np.ones((50, 16)))
    for name in ("table.npy", "codes.npz"):
        with pytest.raises(ChoiceNeeded, match=r"add layout=hw if it is an image, or give it as `targets`"):
            open_images(str(tmp_path / name))
        assert isinstance(open_targets(str(tmp_path / name)), LatentCodes)
        assert open_targets(f"{tmp_path}/{name}:layout=hw").shape[1:] in ((50, 4), (50, 16))
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", IMAGES[k])
    with pytest.raises(PgenError, match="may be latent codes or an image each; add layout=hw"):
        open_targets(f"{tmp_path}/[0-9].npy")
    assert len(open_targets(f"{tmp_path}/[0-9].npy:layout=hw")) == 3
    LatentCodes.from_vectors(torch.ones(4, 6), list("abcd"), {}).save(tmp_path / "codes.pt")
    with pytest.raises(PgenError, match="holds latent codes, not images; give it as `targets`"):
        open_images(str(tmp_path / "codes.pt"))
