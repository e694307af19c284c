"""Evaluation from Python: images in any form, and a report that is scores, a table and files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pgen.data import ArrayImages, write_images
from pgen.engine.evaluation.evaluate import evaluate
from pgen.engine.evaluation.hamming_report import evaluate_hamming
from pgen.engine.run import Run
from pgen.errors import ConfigError, PgenError
from pgen.report.evaluation_report import EvaluationReport
from pgen.report.tables import Table
from tests.helpers.toy_tracks import tracks

GENERATED, TRAIN, HELD_OUT = (tracks(40, seed, 16) for seed in range(3))
DIM = GENERATED * np.float32(0.3)


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return evaluate({"good": GENERATED, "dim": DIM}, train=TRAIN, held_out=HELD_OUT, metrics=["physics", "fpd"], threshold=1)


def test_scores(report: EvaluationReport) -> None:
    by_name = {(score.generated, score.measure): score for score in report.scores}
    good, dim = by_name["good", "total charge W1"], by_name["dim", "total charge W1"]
    assert dim.metric == "physics" and dim.low <= dim.value <= dim.high and dim.floor == good.floor and dim.headline
    assert dim.verdict == "worse" and good.verdict != "worse"
    assert report["dim"].results["fpd"].measures[0].value == by_name["dim", "FPD"].value
    with pytest.raises(ConfigError, match="several generated sets; choose one of 'good', 'dim'"):
        _ = report.results
    assert evaluate(DIM, train=TRAIN, held_out=HELD_OUT, metrics="fpd", threshold=1).results["fpd"] == report["dim"].results["fpd"]


def test_it_is_shown_as_a_table(report: EvaluationReport) -> None:
    text = repr(report)
    (line,) = [line for line in text.splitlines() if line.startswith("FPD  ") and "worse" in line]
    assert f"{report['dim'].results['fpd'].measures[0].value:.4g}" in line and "KS" not in text
    html = report._repr_html_()
    assert html.count("<table>") == 2 and "<caption>dim</caption>" in html and "total charge W1" in html
    assert "&lt;b&gt;" in Table(("a",), [[("<b>",)]])._repr_html_()


def test_it_is_saved_as_a_page_as_numbers_or_as_both(report: EvaluationReport, tmp_path: Path) -> None:
    assert report.save(tmp_path / "page.html") == [tmp_path / "page.html"]
    assert "<title>Evaluation of good, dim</title>" in (tmp_path / "page.html").read_text()
    report.save(str(tmp_path / "numbers.json"))
    report.save(tmp_path / "both")
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["images-1.csv", "images-2.csv", "report.html", "results.json"]
    alone, together = (json.loads((tmp_path / name).read_text()) for name in ("numbers.json", "both/results.json"))
    assert alone["format"] == "pgen-results-1" and alone["generated"] == together["generated"] and alone["files"] == ["numbers.json"]
    for name in ("page.html", "numbers.json", "both"):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
        with pytest.raises(PgenError, match="overwrite"):
            report.save(tmp_path / name)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
        report.save(tmp_path / name, overwrite=True)
    with pytest.raises(ConfigError, match=r"a report cannot be written as \.pdf"):
        report.save(tmp_path / "page.pdf")


def test_a_data_frame(report: EvaluationReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match="to_frame needs pandas"):
        report.to_frame()
    monkeypatch.undo()
    pytest.importorskip("pandas")
    frame = report.to_frame()
    assert list(frame.columns)[:3] == ["generated", "metric", "measure"] and len(frame) == len(report.scores)


def test_images_in_every_form_score_the_same(tmp_path: Path) -> None:
    write_images(tmp_path / "train.h5", ArrayImages(TRAIN, unit="e"))
    write_images(tmp_path / "generated.h5", ArrayImages(GENERATED, unit="e"))
    forms = {
        "array": GENERATED,
        "planes": GENERATED[:, 0],
        "tensor": torch.from_numpy(GENERATED),
        "set": ArrayImages(GENERATED, unit="e"),
        "file": str(tmp_path / "generated.h5"),
        "path": tmp_path / "generated.h5",
    }
    report = evaluate(forms, train=tmp_path / "train.h5", held_out=HELD_OUT, metrics="fpd")
    assert report.unit == "e" and [each.name for each in report.evaluations] == list(forms)
    assert len({each.results["fpd"].measures[0] for each in report.evaluations}) == 1
    with pytest.raises(PgenError, match=r"`generated=array`: found images of \(1, 8, 16\)"):
        evaluate(GENERATED[:, :, :8], train=TRAIN, held_out=HELD_OUT, metrics="fpd")


def test_a_run_is_sampled(pgen, tmp_path: Path) -> None:
    write_images(tmp_path / "train.h5", ArrayImages(TRAIN))
    small = ("--n-hidden", 8, "--batch-size", 20, "--max-steps", 4, "--sample-size", 0, "--name", "x")
    pgen("train", "gan", "--data", "train.h5", *small, cwd=tmp_path)
    options = {"train": TRAIN, "held_out": HELD_OUT, "metrics": "fpd", "n": 30, "seed": 4}
    opened = evaluate({"gan": Run.open(tmp_path / "runs/x")}, **options)
    named = evaluate(tmp_path / "runs/x", **options)
    assert [each.name for each in (*opened.evaluations, *named.evaluations)] == ["gan", "x"]
    assert opened.evaluations[0].about["images"] == 30
    assert opened.evaluations[0].about["fingerprint"] == named.evaluations[0].about["fingerprint"]
    assert opened.results == named.results


def test_the_hamming_test_of_arrays(tmp_path: Path) -> None:
    report = evaluate_hamming(TRAIN[:30], train=TRAIN, held_out=HELD_OUT, thresholds=[0, 5])
    assert report.result.thresholds[0].duplicates == 30 and "threshold 5" in repr(report)
    report.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["hamming.json", "hamming.png", "pairs.png"]
    assert json.loads((tmp_path / "out" / "hamming.json").read_text())["sources"]["train"] == "array"
