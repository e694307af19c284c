"""An evaluation of files whose labels, unit and names are hostile, from the command line to the page in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from pgen.engine.artifacts.run_directory import RunDirectory
from tests.conftest import run_pgen

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

LABELS = (
    "[/b]", "[red]x", "length[cm]", "$x$", "a$b", r"\frac{", "\x1b[2J", "\x9bm", "a\nb", "_hidden", "\u202etxt", "=1+1", "w" * 20_000,
    "</script><script>document.title='TAKEN'</script>", "\"><img src=x onerror=\"document.title='TAKEN'\">",
)  # fmt: skip
UNIT = "A$D$C[/]\x1b]0;T\x07"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("hostile")
    names = ("real$t$.npz", "real[h].npz", "[b]gen$a$\x1b[2J\udce9.npz")
    for seed, name in enumerate(names):
        rng = np.random.default_rng(seed)
        images = (rng.exponential(20, (24, 1, 16, 16)) * (rng.random((24, 1, 16, 16)) < 0.2)).astype(np.float32)
        labels = {f"labels/{label}": np.arange(24) % 3 for label in LABELS}
        with (folder / name).open("wb") as stream:
            np.savez(stream, images=images, unit=UNIT, **labels)
    train, held_out, generated = names
    told = run_pgen("evaluate", "all", "--generated", generated, "--train", train, "--held-out", held_out, "--out", "out", cwd=folder)
    return folder, told


def test_the_evaluation_ends_and_writes_everything(evaluated: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, told = evaluated
    assert told.returncode == 0 and "Traceback" not in told.stderr, told.stderr
    results = json.loads((folder / "out" / "results.json").read_text())
    (generated,) = results["generated"].values()
    assert {f"{label} accuracy" for label in LABELS} == {measure["name"] for measure in generated["metrics"]["closure"]["measures"]}
    assert {"report.html", "images.csv"} <= {path.name for path in (folder / "out").iterdir()}


def test_nothing_reaches_the_terminal_but_text(evaluated: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    shown = evaluated[1].stdout + evaluated[1].stderr
    assert all(character.isprintable() or character == "\n" for character in shown)
    for name in ("[/b] accuracy", "length[cm]", "$x$", "a$b", r"\x1b[2J", r"a\nb", "[b]gen$a$"):
        assert name in shown
    assert max(map(len, shown.splitlines())) < 3000


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_page_in_a_browser(evaluated: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    text = (evaluated[0] / "out" / "report.html").read_text()
    assert all(character.isprintable() or character == "\n" for character in text)
    page = tmp_path / "page.html"
    questions = """<script>window.addEventListener("load", () => { document.title = "ANSWERS" + JSON.stringify({title: document.title,
        images: document.querySelectorAll("img[onerror]").length, scripts: document.scripts.length,
        drawn: [...document.images].every(image => image.naturalWidth > 100), cells: [...document.querySelectorAll("td:first-child")]
        .map(cell => cell.textContent), wide: document.documentElement.scrollWidth > window.innerWidth}); });</script></body>"""
    page.write_text(text.replace("</body>", questions))
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}")
    command = [str(CHROMIUM), *quiet, "--window-size=1000,800", "--virtual-time-budget=10000", "--dump-dom", page.as_uri()]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    title = re.search(r"<title>ANSWERS(.*?)</title>", told)
    assert title, told[:500]
    answers = json.loads(unescape(title[1]))
    assert answers["title"].startswith("Evaluation of ") and answers["images"] == 0 and answers["scripts"] == 4
    assert answers["drawn"] and not answers["wide"]
    assert {f"{label} accuracy" for label in LABELS[:6]} | {r"\x1b[2J accuracy", r"a\nb accuracy"} <= set(answers["cells"])


def test_messages_and_the_log_are_one_line(evaluated: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    folder.append_log("label a\nb \x1b[2J")
    assert folder.log.read_text().count("\n") == 1 and r"a\nb \x1b[2J" in folder.log.read_text()
    told = run_pgen("data", "info", "\x1b[2J\n[/b].npz", cwd=tmp_path)
    assert told.returncode == 2 and told.stderr.count("\n") == 1 and r"\x1b[2J\n[/b].npz: no such file" in told.stderr
    told = run_pgen("--debug", "data", "info", "\x1b[2J.npz", cwd=tmp_path, fresh=True)
    assert "Traceback" in told.stderr and r"\x1b[2J.npz" in told.stderr and "\x1b" not in told.stderr
    np.savez(tmp_path / "x.npz", images=np.ones((3, 8, 8), np.float32), ids=["a\x1b]0;T\x07\n9", "b", "c"], unit=UNIT)
    told = run_pgen("data", "info", "x.npz", "--preview", "p.png", cwd=tmp_path)
    assert told.returncode == 0 and not set("\x1b\x07") & set(told.stdout) and (tmp_path / "p.png").exists()


def test_all_that_data_info_prints(tmp_path: Path) -> None:
    labels = {f"labels/{label}": [LABELS[0], LABELS[6], LABELS[8]] for label in LABELS}
    images = np.ones((3, 8, 8), np.float32)
    np.savez(tmp_path / "x[b]\u202e.npz", images=images, ids=["a\x1b]0;T\x07\n9", "\x9bm", "[/b]"], unit=UNIT, **labels)
    for options in ((), ("--preview", "-"), ("--json",)):
        done = run_pgen("data", "info", "x[b]\u202e.npz", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr), options
        assert max(map(len, done.stdout.splitlines())) < 1000 or options == ("--json",)
    facts = json.loads(done.stdout)["images"]  # JSON escapes in its own way, and gives back what the file holds
    assert facts["unit"] == UNIT and facts["labels"].keys() == set(LABELS) and LABELS[6] in facts["labels"]["$x$"]["counts"]
    np.savez(tmp_path / "two.npz", **{"a\x1b[2J\nb": images, "c": images})
    for options in ((), ("--json",)):
        done = run_pgen("data", "info", "two.npz", *options, cwd=tmp_path)
        assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr), options
