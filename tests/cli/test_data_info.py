"""`pgen data info` is for people, and says what was given that is no source of images."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from pgen.cli.commands.data_info import format_number, readable
from pgen.data import ArrayImages, describe, open_images, open_targets, write_images
from pgen.data.formats.larcv.axes import wires_hint
from pgen.errors import PgenError
from tests.conftest import run_pgen
from tests.helpers.larcv_files import write_larcv3

#: Characters that a listing may take, whatever is in a file: a screen.
SCREEN = 4000


def test_it_is_readable(pgen, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = np.where(rng.random((10, 1, 60, 50)) < 0.03, rng.uniform(3, 1234.5678, (10, 1, 60, 50)), 0)
    labels = {
        "momentum": rng.uniform(100, 987.654, 10),
        "pdg": np.array([11, 13] * 5),
        "energy": np.repeat([100.0, 250.5], 5),
        "tag": np.zeros(10),
    }
    write_images(tmp_path / "x.h5", ArrayImages(pixels, labels=labels, events=[f"7/0/{k // 2}" for k in range(10)]))
    text = pgen("data", "info", "x.h5", "--threshold", 5, cwd=tmp_path).stdout
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    expected = ["10 images of 5 events", "run/subrun/event", "1 channel, 60 rows, 50 columns", "0 to 1,230 ADC", "label pdg 11 (5), 13 (5)"]
    expected += ["label energy 100 (5), 250 (5)", "label tag 0 for all", f"label momentum {format_number(labels['momentum'].min())} to"]
    for said in expected:
        assert said in flat, said
    facts = describe(open_images(f"{tmp_path}/x.h5"), threshold=5)
    assert f"{format_number(100 * facts['occupancy'])} % of pixels above 5 ADC" in flat
    assert "{" not in text and str(facts["occupancy"]) not in text and facts["fingerprint"] in text
    parsed = json.loads(pgen("data", "info", "x.h5", "--threshold", 5, "--json", cwd=tmp_path).stdout)
    assert parsed["images"] == {**facts, "name": "x.h5"} and list(parsed["files"]) == ["x.h5"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.010671159, "0.0107"), (126047.46, "126,000"), (421771, "421,771"), (0.0, "0"), (-172.0, "-172"), (3e12, "3e+12")]
)
def test_numbers(value: float, text: str) -> None:
    assert format_number(value) == text


def test_facts_of_others_are_shown_too() -> None:
    facts = describe(ArrayImages(np.ones((2, 3, 3)))) | {"net_charge": -12.3456, "kinds": {"a": 1}, "signed": True, "of_no_use": None}
    lines = dict(readable(facts))
    assert lines["net charge"] == "-12.3" and lines["kinds"] == "a: 1" and lines["signed"] == "yes" and "of no use" not in lines


def test_rows_and_columns(tmp_path: Path, pgen) -> None:
    def about(shape: tuple[int, int], option: str = "") -> dict:
        path = write_larcv3(tmp_path / "x.h5", [[(0, np.ones(shape))]], [(1, 0, 3)])
        return dict(open_images(f"{path}{option}").about)  # type: ignore[attr-defined]

    assert "2400 is the number of wires of a plane of MicroBooNE" in about((50, 2400))["columns"]
    assert "1664 is the number of wires of a plane of SBND: if rows are wires, add transpose=true" in about((1664, 70))["rows"]
    assert "leave transpose out" in about((70, 1664), ":transpose=true")["rows"]
    assert about((70, 64))["rows"] == "assumed to be ticks; LArCV3 files do not say, and transpose=true swaps them"
    assert about((1664, 70), ":transpose=true")["columns"].startswith("assumed to be wires: 1664")
    assert wires_hint(2048) == "2048 could hold the 1984 wires of a plane of SBND" and not wires_hint(512) and not wires_hint(1008)
    text = " ".join(pgen("data", "info", "x.h5", cwd=tmp_path).stdout.split())
    assert "rows assumed to be ticks, but 1664 is" in text and "charge is in rows 0 to 1663, columns 0 to 69" in text


def many_datasets(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for k in range(400):
            file[f"group_{k}/table"] = np.zeros(3)


def many_arrays(path: Path) -> None:
    np.savez(path, **{f"a_rather_long_name_{k}": np.zeros((2, 3, 3)) for k in range(300)})


def many_planes(path: Path) -> None:
    write_larcv3(path, [[(k, np.ones((2, 2 + k))) for k in range(250)]] * 2, [(1, 0, 0), (1, 0, 1)])


def many_labels(path: Path) -> None:
    labels = {f"label_number_{k}": np.arange(40) % 7 for k in range(300)}
    write_images(path, ArrayImages(np.ones((40, 3, 3)), labels=labels))


def many_trees(path: Path) -> None:
    import uproot

    with uproot.recreate(path) as file:
        for k in range(200):
            file[f"a_tree_of_something_{k}"] = {"x": np.arange(2)}


@pytest.mark.parametrize(
    ("make", "name"),
    [(many_datasets, "x.h5"), (many_arrays, "x.npz"), (many_planes, "x.h5"), (many_labels, "x.h5"), (many_trees, "x.root")],
)
def test_no_wall_of_text(tmp_path: Path, make, name: str) -> None:
    make(tmp_path / name)
    for command in (("data", "info", name), ("data", "split", name, "--by", "nothing", "--out", "s")):
        done = run_pgen(*command, cwd=tmp_path)
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr
        said = done.stdout + done.stderr
        assert len(said) < SCREEN and ("more" in said or "others" in said)


def test_many_files_of_many_kinds(tmp_path: Path, pgen) -> None:
    for k in range(60):
        (tmp_path / f"x.kind{k}").touch()
    np.save(tmp_path / "batch_0.npy", np.ones((2, 3, 3)))
    assert len(pgen("data", "info", ".", cwd=tmp_path).stdout) < SCREEN


def test_what_is_given_in_place_of_images(refuses, pipeline: Path, tmp_path: Path) -> None:
    """A run, a part of it, or another file of pgen: each is named, and what to give instead."""
    runs = pipeline / "runs"
    checkpoint = next((runs / "ae/checkpoints").iterdir())
    for opened, source, saying in (
        (open_targets, runs / "ae", f"is a run of pgen train (ae), not images; give its latent codes, {runs}/ae/deploy/codes.pt"),
        (open_images, runs / "ae", f"not images; give images, or its latent codes as --targets {runs}/ae/deploy/codes.pt"),
        (open_images, runs / "ewm", f"give images; those of a generator come from pgen sample {runs}/ewm"),
        (open_targets, runs / "ae/samples", f"is a part of the run {runs}/ae (ae), not images; give its latent codes"),
        (open_images, runs / "ae/deploy", f"give its codes, {runs}/ae/deploy/codes.pt, as --targets"),
        (open_images, runs / "ae/model/weights.safetensors", "is the weights of a model"),
        (open_targets, checkpoint, f"is a checkpoint of the run {runs}/ae (ae)"),
        (open_images, runs / "ae/config.json", "is the options of a run"),
        (open_targets, runs / "ewm/deploy/codes.pt", f"`pgen deploy {runs}/ewm` writes {runs}/ewm/deploy/codes.pt"),
        (open_targets, "codes.pt", "`pgen deploy RUN` writes RUN/deploy/codes.pt"),
    ):
        with pytest.raises(PgenError) as error:
            opened(str(source))
        assert saying in str(error.value), error.value
    refuses(
        "train",
        "ewm",
        "--targets",
        "runs/ewm",
        saying="deploy it first (pgen deploy runs/ewm), and give runs/ewm/deploy/codes.pt",
        cwd=pipeline,
    )
    refuses("data", "info", runs / "ae", saying="is a run of pgen train (ae)")


def test_vectors_by_their_key(pgen, refuses, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "v.npz", one=rng.normal(size=(9, 5)), two=rng.normal(size=(7, 4)))
    train = ("train", "ewm", "--max-steps", 1, "--n-hidden", 4, "--ots-steps", 3, "--batch-size", 4, "--sample-size", 0, "--targets")
    refuses(*train, "v.npz", saying="choose one by adding key=one", cwd=tmp_path)
    assert "7 samples" in pgen(*train, "v.npz:key=two", cwd=tmp_path).stderr
    refuses(*train, "v.npz:key=two,limit=3", saying="no options but key= (found limit)", cwd=tmp_path)
    refuses(*train, "v.npz:key=three", saying="has no key 'three'; found one, two", cwd=tmp_path)


def test_labels_in_messages_are_cut() -> None:
    images = ArrayImages(np.ones((4, 2, 2)), labels={f"l{k}": np.arange(4) for k in range(500)})
    from pgen.data.transforms.split import split

    with pytest.raises(PgenError) as error:
        split(images, 1, by="x")
    assert len(str(error.value)) < 300
