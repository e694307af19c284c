"""`pgen evaluate all` and its metrics, as a user runs them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from pgen.data import ArrayImages, open_images, read_all, subset, write_images
from pgen.engine.evaluation.evaluate import evaluate
from pgen.errors import PgenError

SHARED = ("--train", "train.h5", "--held-out", "held_out.h5", "--threshold", 10)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Disjoint sets of real images in a folder, and a file of copies."""
    folder = tmp_path_factory.mktemp("sets")
    images = open_images("simulate:n=180,size=32,seed=3")
    for k, name in enumerate(("train", "held_out", "generated")):
        write_images(folder / f"{name}.h5", subset(images, range(60 * k, 60 * (k + 1))))
    write_images(folder / "copies.h5", ArrayImages(read_all(subset(images, range(60)))))
    return folder


@pytest.fixture(scope="module")
def report(sets: Path) -> Path:
    """What `all` writes of real images and of copies."""
    from tests.conftest import run_pgen

    told = run_pgen("evaluate", "all", "--generated", "generated.h5", "--generated", "copies.h5", *SHARED, "--out", "report", cwd=sets)
    assert told.returncode == 0, told.stderr
    assert "FPD" in told.stdout and "CNN AUC" in told.stdout and "copying" in told.stdout
    return sets / "report"


def test_results(report: Path) -> None:
    assert sorted(path.name for path in report.iterdir()) == ["images-1.csv", "images-2.csv", "report.html", "results.json"]
    results = json.loads((report / "results.json").read_text())
    assert results["format"] == "pgen-results-1" and results["seed"] == 0 and results["threshold"] == 10
    assert results["sets"]["train"]["images"] == 60 and len(results["sets"]["held-out"]["fingerprint"]) == 64
    real, copies = (results["generated"][name] for name in ("generated", "copies"))
    assert list(real["metrics"]) == [
        "physics",
        "profiles",
        "fpd",
        "kpd",
        "ks",
        "nplm",
        "wasserstein",
        "prdc",
        "c2st",
        "memorisation",
        "closure",
    ]
    assert "needs a function of images" in real["skipped"]["downstream"]
    for metric in real["metrics"].values():
        for measure in metric["measures"]:
            assert {"name", "value", "floor", "interval", "n", "verdict"} <= set(measure) and measure["n"] <= 60
    assert real["metrics"]["memorisation"]["details"]["copying"] is False
    assert copies["metrics"]["memorisation"]["details"]["copying"] is True and "closure" in copies["skipped"]
    with (report / "images-1.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    charge = read_all(open_images(str(report.parent / "generated.h5")))
    assert [float(row["total charge"]) for row in rows] == pytest.approx(np.where(charge > 10, charge, 0).sum((1, 2, 3)), rel=1e-5)


def test_one_metric_of_a_run_and_all_its_checkpoints(pgen, sets: Path) -> None:
    small = ("--n-hidden", 16, "--batch-size", 30, "--num-epochs", 4, "--checkpoint", 4, "--sample-size", 0, "--threshold", 10)
    pgen("train", "gan", "--data", "train.h5", *small, "--name", "gan", cwd=sets)
    told = pgen("evaluate", "fpd", "--generated", "runs/gan", *SHARED, "--checkpoints", "all", "-n", 50, "--out", "steps", cwd=sets)
    results = json.loads((sets / "steps" / "results.json").read_text())["generated"]
    assert list(results) == ["gan @ 4", "gan @ 8"] and [results[name]["step"] for name in results] == [4, 8]
    assert results["gan @ 8"]["model"] == "gan" and results["gan @ 8"]["config"]["n_hidden"] == 16 and results["gan @ 8"]["images"] == 50
    page = (sets / "steps" / "report.html").read_text()
    assert "gan @ 4" in page and "Traceback" not in told.stderr
    # The same images as pgen sample draws.
    pgen("sample", "runs/gan", "-n", 50, "--out", "s.h5", cwd=sets)
    assert results["gan @ 8"]["fingerprint"] == open_images(str(sets / "s.h5")).fingerprint


def test_fail_if_copy_rate(pgen, sets: Path) -> None:
    arguments = ("evaluate", "memorisation", *SHARED, "--out", "m", "--overwrite", "--fail-if-copy-rate", 0.1)
    told = pgen(*arguments, "--generated", "copies.h5", code=1, cwd=sets)
    assert "are copies, more than 10.00%" in " ".join(told.stderr.split())
    pgen(*arguments, "--generated", "generated.h5", cwd=sets)


def test_fail_if(pgen, refuses, sets: Path) -> None:
    arguments = ("evaluate", "kpd", *SHARED, "--generated", "generated.h5", "--out", "gate")
    result = pgen(*arguments, "--fail-if", "kpd.kpd > 9", "--fail-if", "kpd.KPD > -9", code=1, cwd=sets)
    message = " ".join(result.stderr.split())
    assert "generated: kpd, KPD is" in message and "which meets --fail-if kpd.KPD > -9." in message and "> 9" not in message
    assert (sets / "gate" / "report.html").is_file()
    again = (*arguments, "--overwrite")
    pgen(*again, "--fail-if", "kpd.kpd > 9", cwd=sets)
    refuses(*again, "--fail-if", "kpd.fpd > 9", saying="--fail-if kpd.fpd > 9: kpd has no measure 'fpd'; expected one of KPD.", cwd=sets)
    unread = ("evaluate", "kpd", "--generated", "none.h5", *SHARED)  # refused before any image is read
    refuses(*unread, "--fail-if", "kpd.KPD", saying="--fail-if kpd.KPD: no condition; expected METRIC.MEASURE", cwd=sets)
    refuses(*unread, "--fail-if", "fpd.FPD > 1", saying="kpd does not compute fpd; use fpd, or all.", cwd=sets)
    refuses(*unread, "--fail-if", "fdp.FPD > 1", saying="There is no metric called 'fdp'", cwd=sets)


def test_copies_that_cannot_be_judged_do_not_pass(pgen, sets: Path) -> None:
    pixels = read_all(open_images(str(sets / "train.h5")))
    write_images(sets / "ten.h5", ArrayImages(pixels[:10]))
    write_images(sets / "dark.h5", ArrayImages(pixels * 0))
    two = ("--generated", "generated.h5", "--generated", "copies.h5", "--fail-if-copy-rate", 0.02, "--out", "none")
    told = pgen("evaluate", "memorisation", "--train", "ten.h5", *SHARED[2:], *two, code=2, cwd=sets)
    assert "train: expected at least 20 images, got 10" in told.stderr and not (sets / "none").exists()
    blank = ("--generated", "generated.h5", "--generated", "dark.h5", "--fail-if-copy-rate", 0.5, "--out", "dark")
    told = pgen("evaluate", "memorisation", *SHARED, *blank, code=1, cwd=sets)
    assert "dark: not tested" in " ".join(told.stderr.split())


def test_an_earlier_evaluation_is_replaced_and_nothing_else(pgen, refuses, sets: Path) -> None:
    out, generated = sets / "again", ("--generated", "generated.h5")
    again = ("evaluate", "physics", *generated, *SHARED, "--out", out)
    pgen("evaluate", "physics", *generated, "--generated", "copies.h5", *SHARED, "--out", out, cwd=sets)
    (out / "images-mine.csv").write_text("")
    before = (out / "results.json").read_bytes()
    refuses(*again, saying="holds an earlier evaluation that would be lost", cwd=sets)
    assert (out / "results.json").read_bytes() == before
    pgen(*again, "--overwrite", cwd=sets)
    names = ["images-mine.csv", "images.csv", "report.html", "results.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    (out / "images-7.csv").write_text("of a stranger")
    refuses(*again, "--overwrite", saying="holds images-7.csv, which pgen did not write", cwd=sets)
    # What an earlier version of pgen wrote does not list its files.
    results = json.loads((out / "results.json").read_text())
    (out / "results.json").write_text(json.dumps({key: value for key, value in results.items() if key != "files"}))
    pgen(*again, "--overwrite", cwd=sets)
    assert sorted(path.name for path in out.iterdir()) == names
    for command in ("physics", "hamming"):
        told = pgen("evaluate", command, *generated, *SHARED, "--out", out / "report.html" / "x", code=2, cwd=sets)
        assert "report.html is a file, expected a folder" in " ".join(told.stderr.split())


def test_files_of_strangers_stay(refuses, sets: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    (tmp_path / "results.json").write_text('{"format": "another"}')
    for command in ("physics", "hamming"):
        arguments = ("evaluate", command, "--generated", "generated.h5", *SHARED, "--out", tmp_path, "--overwrite")
        refuses(*arguments, saying="which is of no evaluation", cwd=sets)
    assert (tmp_path / "report.html").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_each_evaluation_has_a_folder_of_its_own(pgen, sets: Path, tmp_path: Path) -> None:
    real = [str(sets / word) if word.endswith(".h5") else word for word in map(str, SHARED)]
    arguments = ("evaluate", "wasserstein", *real, "--generated", sets / "generated.h5")
    for folder in ("generated", "generated-2"):
        assert f"evaluation/{folder}/results.json" in pgen(*arguments, cwd=tmp_path).stdout
    pgen(*arguments, "--generated", sets / "copies.h5", cwd=tmp_path)
    before = (tmp_path / "evaluation/generated/results.json").stat().st_mtime_ns
    pgen(*arguments, "--overwrite", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == ["generated", "generated+copies", "generated-2"]
    assert (tmp_path / "evaluation/generated/results.json").stat().st_mtime_ns > before


def test_own_features(pgen, sets: Path) -> None:
    (sets / "own.py").write_text("def sums(images):\n    return images.sum(axis=3).reshape(len(images), -1)\n")
    arguments = ("evaluate", "kpd", "--generated", "generated.h5", *SHARED, "--out", "own")
    pgen(*arguments, "--features", "own:sums", cwd=sets)
    results = json.loads((sets / "own" / "results.json").read_text())
    assert results["generated"]["generated"]["metrics"]["kpd"]["settings"]["features"] == 32


def test_downstream(pgen, refuses, sets: Path) -> None:
    (sets / "chain.py").write_text("def run(images):\n    return {'charge': images.sum((1, 2, 3))}\n\n\ndef bad(images):\n    return 3\n")
    arguments = ("evaluate", "downstream", "--generated", "generated.h5", *SHARED, "--out", "chain")
    pgen(*arguments, "--downstream", "chain:run", "--fail-if", "downstream.charge W1 > 100", cwd=sets)
    result = json.loads((sets / "chain" / "results.json").read_text())["generated"]["generated"]["metrics"]["downstream"]
    assert [m["name"] for m in result["measures"]] == ["charge W1", "charge KS"] and result["settings"]["function"] == "chain:run"
    assert "downstream: charge" in (sets / "chain" / "images.csv").read_text().splitlines()[0]
    again = (*arguments, "--overwrite")
    refuses(*again, saying="downstream needs a function of images; name it by --downstream", cwd=sets)
    refuses(*again, "--downstream", "chain:bad", saying="--downstream chain:bad: the function failed on 1 images", cwd=sets)
    refuses(*again, "--downstream", "chain:none", saying="--downstream chain:none: does not import (AttributeError", cwd=sets)
    other = ("evaluate", "fpd", "--generated", "none.h5", *SHARED)
    refuses(*other, "--downstream", "chain:run", saying="--downstream: of no effect on fpd; leave it out", cwd=sets)


def test_bad_input_is_refused(refuses, pgen, sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = open_images(str(sets / "generated.h5"))
    pixels = read_all(images)
    write_images(sets / "small.h5", ArrayImages(pixels[:, :, :16]))
    write_images(sets / "units.h5", ArrayImages(pixels, unit="e"))
    write_images(sets / "few.h5", ArrayImages(pixels[:10]))
    write_images(sets / "blank.h5", ArrayImages(pixels * 0))

    def refused(saying: str, *metrics: str, **change: object) -> None:
        arguments = {"generated": "generated.h5", "train": "train.h5", "held_out": "held_out.h5", "threshold": 10.0, "data_root": str(sets)}
        with pytest.raises(PgenError, match=re.escape(saying)):
            evaluate(metrics=metrics or ("fpd",), **arguments | change)  # type: ignore[arg-type]

    for name, saying in (
        ("small.h5", "`generated=small.h5`: found images of (1, 16, 32), wanted (1, 32, 32)"),
        ("units.h5", "charge in 'e', wanted 'ADC'"),
        ("few.h5", "generated: expected at least 20 images, got 10"),
        ("blank.h5", "generated: all 60 images are blank, no pixel is above 10 ADC"),
        ("none.h5", "none.h5: no such file"),
    ):
        refused(saying, generated=name)
    refused("`held_out`: found images of (1, 16, 32)", held_out="small.h5")
    refused("`checkpoint=8`, `decoder=runs/ae`: of no effect where no run is evaluated", checkpoint="8", decoder="runs/ae")
    # Before the first is judged.
    monkeypatch.setattr("pgen.engine.evaluation.evaluate.run_metrics", None)
    refused("none.h5: no such file", generated=["generated.h5", "none.h5"])
    refused("`generated=small.h5`: found images of", generated=["generated.h5", "small.h5"])
    monkeypatch.undo()
    refused("closure needs a label", "closure", generated="copies.h5")
    refused("There is no metric called 'fdp'; expected one of physics, profiles", "fdp")
    for features in ("none:x", "json:none", "json"):
        refused(f"`features={features}`: ", features=features)
    refuses("evaluate", "fpd", "--generated", "few.h5", *SHARED, "--out", "bad", saying="expected at least 20 images, got 10", cwd=sets)
    refuses("evaluate", "fpd", "--generated", "few.h5", *SHARED, "--out", "train.h5", saying="--out train.h5: is a file", cwd=sets)
    limit = ("--fail-if-copy-rate", 0.1)
    refuses("evaluate", "fpd", "--generated", "few.h5", *SHARED, *limit, saying="does not look for copies", cwd=sets)
    assert not (sets / "bad").exists()
    told = pgen("evaluate", "fpd", "--generated", "generated.h5", "--train", "train.h5", "--held-out", "train.h5", "--out", "o", cwd=sets)
    assert "HELD-OUT OVERLAPS TRAIN: 60" in " ".join(told.stdout.split())
