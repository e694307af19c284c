"""The Python API, as in the README and in a notebook."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import pgen
from pgen.data import ArrayImages
from tests.conftest import run_pgen

AE = {"threshold": 10, "n_layers": 2, "depth": 4, "l_dim": 6, "batch_size": 32}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The block of the README on simulated images."""
    root = tmp_path_factory.mktemp("api")
    store = root / "events.h5"
    pgen.open_images("simulate:n=240,size=16,seed=1").save(store)
    images = pgen.open_images(f"{store}:limit=200")
    train, held_out = pgen.split(images, held_out=0.2, seed=0)
    ae = pgen.train("ae", data=train, held_out=held_out, num_epochs=3, name="ae", save_root=root / "runs", **AE)
    flow = pgen.train(
        "flow", targets=ae.encode(train), num_epochs=2, n_hidden=16, batch_size=32, condition="type", name="flow", save_root=root / "runs"
    )
    return {"root": root, "images": images, "train": train, "held_out": held_out, "ae": ae, "flow": flow}


def test_images_are_a_map_style_dataset(trained: dict) -> None:
    images = trained["images"]
    assert len(images) == 200 and "200 images" in repr(images) and "<img" in images._repr_html_()
    image = images[0]
    assert image.dtype == np.float32 and image.shape == (1, 16, 16)
    assert np.array_equal(images[-1], images[199]) and len(images[10:20]) == 10
    with pytest.raises(IndexError):
        images[200]
    assert np.asarray(images[:8]).shape == (8, 1, 16, 16)
    batch = next(iter(DataLoader(images, batch_size=32)))  # type: ignore[arg-type]
    assert batch.shape == (32, 1, 16, 16) and batch.dtype == torch.float32


def test_a_split_keeps_events_apart(trained: dict) -> None:
    train, held_out = trained["train"], trained["held_out"]
    assert (len(train), len(held_out)) == (160, 40)
    assert not set(train.events) & set(held_out.events)


def test_runs_sample_labelled_images_in_charge_units(trained: dict) -> None:
    flow = trained["flow"]
    samples = flow.sample(50, seed=0)
    assert len(samples) == 50 and samples.unit == trained["images"].unit and set(samples.labels) == {"pdg"}
    assert np.array_equal(np.asarray(samples), np.asarray(flow.sample(50, seed=0)))
    protons = pgen.load(flow.path).sample(10, type="proton")
    assert set(protons.labels["pdg"]) == {2212}
    saved = samples.save(trained["root"] / "s.h5")
    assert np.array_equal(np.asarray(pgen.open_images(saved)), np.asarray(samples))
    figure = samples.plot()
    assert figure.axes


def test_samples_are_those_of_the_command(trained: dict) -> None:
    root = trained["root"]
    result = run_pgen("sample", root / "runs/flow", "-n", 20, "--seed", 4, "--out", root / "command.h5", cwd=root)
    assert result.returncode == 0, result.stderr
    assert np.array_equal(np.asarray(pgen.open_images(root / "command.h5")), np.asarray(trained["flow"].sample(20, seed=4)))


def test_auto_encoders_encode_and_reconstruct(trained: dict) -> None:
    ae, held_out = trained["ae"], trained["held_out"]
    assert ae.encode(held_out).codes.shape == (40, 6)
    assert np.asarray(ae.reconstruct(held_out)).shape == (40, 1, 16, 16)
    with pytest.raises(pgen.RunError, match="encodes nothing"):
        trained["flow"].encode(held_out)


def test_a_report_has_scores_a_page_and_a_table(trained: dict) -> None:
    samples = trained["flow"].sample(60, seed=0)
    report = pgen.evaluate(samples, train=trained["train"], held_out=trained["held_out"], metrics=["physics", "fpd"])
    assert {row["metric"] for row in report.to_frame().to_dict("records")} == {"physics", "fpd"}
    page = trained["root"] / "report.html"
    report.save(page)
    assert "<html" in page.read_text(encoding="utf-8") and "<table" in report._repr_html_()


def test_arrays_are_trained_on_from_a_file_of_their_own(tmp_path: Path) -> None:
    pixels = np.asarray(pgen.open_images("simulate:n=40,size=16,seed=2"))
    run = pgen.train("gan", data=pixels, max_steps=2, n_hidden=4, batch_size=8, name="gan", save_root=tmp_path)
    assert len(list((tmp_path / "data").glob("*.h5"))) == 1
    assert [row["step"] for row in run.metrics] and "gan" in repr(run)
    resumed = pgen.train("gan", resume=run.path, max_steps=4)
    assert resumed.settings.max_steps == 4 and resumed.load_checkpoint("last")[1] == 4


def test_bad_options_are_errors_of_python(tmp_path: Path) -> None:
    images = ArrayImages(np.zeros((8, 16, 16), np.float32))
    with pytest.raises(pgen.ConfigError, match="`num_epoch`: no such option"):
        pgen.train("gan", data=images, num_epoch=3, save_root=tmp_path)
    with pytest.raises(ValueError, match="batch_size"):
        pgen.train("gan", data=images, batch_size=0, save_root=tmp_path)
    with pytest.raises(pgen.RunError):
        pgen.load(tmp_path / "nothing")
