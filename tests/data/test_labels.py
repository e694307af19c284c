"""Labels of one meaning are equal, whatever type a file has them in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pgen.data import ArrayImages, open_images, write_images
from pgen.data.io.write import append_images
from pgen.data.labels import convert_labels, plain_labels
from pgen.data.views import ConcatImages
from pgen.engine.dataloading.conditions import encode, find_conditions
from pgen.errors import PgenError

PDG = [22, -211, 2212, 22]
FORMS: list[npt.NDArray] = [
    np.array(PDG, kind) for kind in ("i2", "i4", "i8", ">i4", "f4", "f8", "U", "S", object)
] + [np.array(list(map(float, PDG))).astype(str), np.array([str(p).encode() for p in PDG], object)]  # fmt: skip


@pytest.mark.parametrize("reference", FORMS, ids=lambda array: str(array.dtype))
@pytest.mark.parametrize("values", FORMS, ids=lambda array: str(array.dtype))
def test_the_same_particles_in_every_type(values: npt.NDArray, reference: npt.NDArray) -> None:
    converted, known = convert_labels(values, reference, "pdg"), plain_labels(reference)
    assert converted.dtype.kind == known.dtype.kind and (converted == known).all()


@pytest.mark.parametrize(
    ("values", "reference", "equal"),
    [
        (np.float32([0.1, 0.7]), [0.1, 0.3], [True, False]),  # rounded to 24 bits
        ([0.1, 0.7], np.float32([0.1, 0.3]), [True, False]),
        (np.float32([0.1, 0.7]), ["0.1", "0.3"], [True, False]),
        ([True, False], [1, 0], [True, True]),
        ([1, 0], [True, False], [True, True]),
        (["true", "False"], [True, False], [True, True]),
        ([2, 0], [True, False], [False, True]),
        ([13.5, 13.0], [13, 13], [False, True]),
        ([-1, 1], np.array([255, 1], np.uint8), [False, True]),
        (["mu", "p"], ["mu", "pi"], [True, False]),
        ([" 13 ", "x"], ["13", "x"], [True, True]),
    ],
)
def test_what_differs_stays_different(values: Any, reference: Any, equal: list[bool]) -> None:
    assert (convert_labels(values, reference, "label") == plain_labels(reference)).tolist() == equal


def test_names_beside_numbers_are_refused() -> None:
    with pytest.raises(PgenError, match=r"label pdg of x: 'muon' is no number, as the labels to compare with are"):
        convert_labels(["13", "muon"], [13, 11], "label pdg of x")
    with pytest.raises(PgenError, match="cannot be compared"):
        plain_labels(np.array([1j]))


def labelled(name: str, values: Any) -> ArrayImages:
    images = np.ones((len(values), 1, 4, 4), np.float32)
    return ArrayImages(images, name=name, ids=[f"{name}{i}" for i in range(len(values))], labels={"pdg": np.asarray(values)})


def test_joined_and_appended_sets_have_labels_of_one_type(tmp_path: Path) -> None:
    first = labelled("a", [13, 11])
    others = [labelled("b", [11.0, 13.0]), labelled("c", ["13", "22"]), labelled("d", np.array([b"2212"]))]
    joined = ConcatImages([first, *others], "all")
    assert joined.labels["pdg"].dtype.kind == "i" and joined.labels["pdg"].tolist() == [13, 11, 11, 13, 13, 22, 2212]
    store = write_images(tmp_path / "s.h5", first)
    for other in others:
        append_images(store, other)
    assert open_images(str(store)).labels["pdg"].tolist() == joined.labels["pdg"].tolist()
    with pytest.raises(PgenError, match="e: label pdg: 'muon' is no number"):
        ConcatImages([first, labelled("e", ["muon"])], "all")


def test_sets_with_the_same_ids_and_labels_of_other_types() -> None:
    """As of files of several jobs: ids become unique, labels one type, in the whole and in each of the parts."""
    first, second = (
        ArrayImages(np.full((2, 4, 4), k + 1), ids=["1/0/0", "1/0/1"], events=["1/0/0", "1/0/1"], labels={"pdg": pdg})
        for k, pdg in enumerate((np.array([13, 11]), np.array([b"22", b"13"])))
    )
    joined = ConcatImages([first, second], "both")
    assert joined.ids.tolist() == ["1/0/0", "1/0/1", "1/0/0#2", "1/0/1#2"] and joined.events.tolist() == ["1/0/0", "1/0/1"] * 2
    assert joined.labels["pdg"].tolist() == [13, 11, 22, 13]
    part = joined.sets[1]
    assert part.ids.tolist() == joined.ids[2:].tolist() and np.array_equal(part.labels["pdg"], np.array([22, 13]))
    assert joined.read([3, 0])[:, 0, 0, 0].tolist() == [2, 1]


def test_conditions_of_held_out_images_in_another_type() -> None:
    conditions = find_conditions("type,momentum", {"pdg": np.array([11, 13, 11]), "momentum": np.array([200.0, 300.0, 400.0])}, "train")
    expected = encode(conditions, {"pdg": np.array([13, 11]), "momentum": np.array([250.0, 350.0])})
    assert expected[:, :2].tolist() == [[0, 1], [1, 0]]
    for labels in ({"pdg": [13.0, 11.0], "momentum": np.float32([250, 350])}, {"pdg": ["13", "11"], "momentum": [b"250", b"350"]}):
        assert encode(conditions, {name: np.array(values) for name, values in labels.items()}).equal(expected)
    assert find_conditions("kind", {"kind": np.array([b"mu", b"p", b"p"])}, "train")[0].classes == ("mu", "p")
