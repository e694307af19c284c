"""One threshold: the zero suppression of training is that of the samples, and of the real images that they are compared with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pgen.data import ArrayImages, open_images, read_all, write_images
from pgen.data.io.write import append_images
from pgen.data.transforms.zero_suppression import suppress
from pgen.engine.evaluation.evaluate import evaluate
from pgen.engine.evaluation.threshold import choose_threshold
from pgen.report.evaluation_report import EvaluationReport

REAL = ("--train", "train.h5", "--held-out", "held_out.h5")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real images with a halo of faint charge, and samples of a perfect model that was trained with a zero suppression of 10."""
    folder = tmp_path_factory.mktemp("threshold")
    pixels = read_all(open_images("simulate:n=150,size=32,seed=6"))
    halo = np.where(pixels > 0, pixels, np.random.default_rng(0).uniform(0, 9, pixels.shape).astype(np.float32))
    write_images(folder / "train.h5", ArrayImages(halo[:50]))
    write_images(folder / "held_out.h5", ArrayImages(halo[50:100]))
    samples = ArrayImages(suppress(pixels[100:], 10))
    write_images(folder / "unknown.h5", samples)
    samples.zero_suppression = 10.0
    for name in ("samples.h5", "samples.npz"):
        write_images(folder / name, samples)
    return folder


def evaluated(sets: Path, *generated: str, metrics: tuple[str, ...] = ("physics",), threshold: float | None = None) -> EvaluationReport:
    real = {"train": "train.h5", "held_out": "held_out.h5"}
    return evaluate(generated, **real, metrics=metrics, threshold=threshold, data_root=str(sets))


@pytest.mark.parametrize("name", ["samples.h5", "samples.npz"])
def test_files_keep_the_zero_suppression(pgen, sets: Path, tmp_path: Path, name: str) -> None:
    assert open_images(str(sets / name)).zero_suppression == 10 and open_images(str(sets / "unknown.h5")).zero_suppression is None
    pgen("data", "convert", sets / name, "--out", tmp_path / "copy.h5")
    assert open_images(f"{tmp_path}/copy.h5:limit=7").zero_suppression == 10
    assert open_images(f"{tmp_path}/copy.h5:suppress=12").zero_suppression == 12
    assert open_images(f"{sets}/train.h5:suppress=3").zero_suppression == 3
    assert "|charge| at or below 10 ADC is 0" in " ".join(pgen("data", "info", tmp_path / "copy.h5").stdout.split())
    # Negative charge that is left out says nothing of faint charge.
    assert open_images(f"{tmp_path}/copy.h5:negative=drop").zero_suppression == 10
    assert open_images(f"{sets}/train.h5:negative=drop").zero_suppression is None
    assert open_images(f"{sets}/train.h5:negative=drop,suppress=3").zero_suppression == 3
    # Of images of which it is not known, nothing is claimed.
    more = ArrayImages(read_all(open_images(str(sets / "unknown.h5"))), ids=[f"more {k}" for k in range(50)])
    append_images(tmp_path / "copy.h5", more)
    assert open_images(f"{tmp_path}/copy.h5").zero_suppression is None and len(open_images(f"{tmp_path}/copy.h5")) == 100


def test_a_perfect_model_is_not_given_away_by_its_zero_suppression(sets: Path) -> None:
    report = evaluated(sets, "samples.h5", "unknown.h5", metrics=("physics", "wasserstein", "c2st"))
    assert report.about["threshold"] == 10 and "Threshold: 10 ADC, the zero suppression of samples" in report.about["threshold_note"]
    noted, unknown = report.evaluations
    assert noted.about["zero_suppression"] == 10 and unknown.about["zero_suppression"] is None
    for found in report.evaluations:
        verdicts = {m.name: m.verdict for finding in found.results.values() for m in finding.measures}
        for name in ("sliced W1", "energy distance", "total charge W1", "lit pixels W1", "trees AUC", "CNN AUC"):
            assert verdicts[name] != "worse", name
    assert not any("faintest" in warning or "threshold of" in warning for warning in report.warnings)
    # In pictures too.
    assert report.real[report.real > 0].min() > 10


def test_charge_of_both_signs(sets: Path, tmp_path: Path) -> None:
    """Zero suppression is of |charge|: real images lose faint charge of either sign, and keep what is beyond."""
    pixels = read_all(open_images("simulate:n=90,size=32,seed=8"))
    signed = pixels - 0.5 * np.roll(pixels, 1, axis=2)
    halo = np.where(np.abs(signed) > 10, signed, np.random.default_rng(1).uniform(-9, 9, signed.shape).astype(np.float32))
    kept = suppress(signed, 10)
    assert kept.min() < -10 and np.array_equal(kept != 0, np.abs(signed) > 10) and suppress(kept, 10) is kept
    samples = ArrayImages(kept[60:])
    samples.zero_suppression = 10.0
    for name, images in (("train.h5", ArrayImages(halo[:30])), ("held_out.h5", ArrayImages(halo[30:60])), ("samples.h5", samples)):
        write_images(tmp_path / name, images)
    report = evaluated(tmp_path, "samples.h5", metrics=("physics", "wasserstein"))
    assert report.about["threshold"] == 10 and np.abs(report.real[report.real != 0]).min() > 10 and report.real.min() < -10
    p_values = {m.name: m.p_value for result in report.evaluations[0].results.values() for m in result.measures}
    for name in ("sliced W1", "total |charge| W1", "negative fraction W1", "lit pixels W1"):
        assert p_values[name] > 0.005, name  # of four measures of 30 images each
    assert not any("faintest" in warning for warning in report.warnings)


def test_it_is_said_wherever_the_evaluation_is(pgen, sets: Path) -> None:
    told = pgen("evaluate", "physics", "--generated", "samples.npz", *REAL, "--out", "said", cwd=sets)
    note = "Threshold: 10 ADC, the zero suppression of samples; |charge| at or below it is 0 in all sets."
    results = json.loads((sets / "said" / "results.json").read_text())
    assert note in told.stdout and results["threshold_note"] == note and results["threshold"] == 10
    assert note in (sets / "said" / "report.html").read_text()
    assert results["sets"]["train"]["fingerprint"] == open_images(str(sets / "train.h5")).fingerprint  # of the file as it is


def test_an_option_wins_and_contradictions_are_said(pgen, sets: Path) -> None:
    low = evaluated(sets, "samples.h5", threshold=4)
    assert low.about["threshold"] == 4 and "The threshold of 4 ADC lies below the zero suppression of samples, 10 ADC" in low.warnings[0]
    assert any("The faintest pixels above 4 differ" in warning for warning in low.warnings)
    high = evaluated(sets, "samples.h5", threshold=25)
    assert high.about["threshold"] == 25 and not any("lies below" in warning for warning in high.warnings)
    none = evaluated(sets, "unknown.h5")
    assert none.about["threshold"] == 0 and "is known" in none.about["threshold_note"]
    assert any("faintest pixels above 0 differ" in warning and "set the threshold" in warning for warning in none.warnings)
    two = choose_threshold(None, {"train images": None, "a": 2.0, "b": 7.0}, "ADC")
    assert two.value == 7 and "of b;" in two.note and not two.warnings
    told = choose_threshold(2, {"train images": None, "a": 2.0, "b": 7.0}, "ADC").warnings
    assert len(told) == 1 and "zero suppression of b, 7 ADC" in told[0] and "set it to 7." in told[0]
    assert not choose_threshold(2, {"train images": 7.0, "b": 7.0}, "ADC").warnings  # all of them are cut alike


def test_the_hamming_test_takes_it_too(pgen, sets: Path) -> None:
    told = pgen("evaluate", "hamming", "--generated", "samples.h5", *REAL, "--out", "hamming", cwd=sets)
    results = json.loads((sets / "hamming" / "hamming.json").read_text())
    assert "the zero suppression of generated images" in told.stdout and [at["threshold"] for at in results["thresholds"]] == [10]
    rows = {row["name"]: row for row in results["statistics"]["10"]}
    assert rows["train"]["charge_mean"] == pytest.approx(rows["generated"]["charge_mean"], rel=0.5)  # without the halo, half of the charge
    told = pgen("evaluate", "hamming", "--generated", "samples.h5", *REAL, "--threshold", 5, "--out", "hamming-5", cwd=sets)
    assert "threshold of 5 ADC lies below the zero suppression of generated images" in " ".join(told.stdout.split())


def test_runs_and_what_comes_of_them(pgen, pipeline: Path) -> None:
    """Of a generator of codes it is that of the images that the codes were made of."""
    real = ("--train", "simulate:n=96,size=32,seed=3", "--held-out", "simulate:n=30,size=32,seed=4")
    told = pgen("evaluate", "fpd", "--generated", "runs/ewm", *real, "-n", 30, "--out", "threshold", cwd=pipeline)
    assert "Threshold: 10 ADC, the zero suppression of ewm" in told.stdout
    pgen("deploy", "runs/ewm", "--out", "threshold/deployed", cwd=pipeline)
    for source, out in (("runs/ewm", "threshold/s.h5"), ("threshold/deployed/generator.pt2", "threshold/g.npz")):
        pgen("sample", source, "-n", 4, "--out", out, cwd=pipeline)
        assert open_images(str(pipeline / out)).zero_suppression == 10
    assert open_images(str(pipeline / "runs/ae/deploy/reconstructions.h5")).zero_suppression == 10
