"""The report in a real browser: every picture drawn, tables sorted by a click, links alive, no error, nothing fetched."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest

from pgen.data import read_all
from pgen.data.simulation.generate import simulate
from pgen.engine.evaluation.evaluate import evaluate
from pgen.metrics.results import Measurement, MetricResult
from pgen.metrics.runner import Evaluation
from pgen.report.browser import encode_images
from pgen.report.figures.base import new_figure
from pgen.report.html_report import render_html
from pgen.report.report_figures import ReportFigure

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

#: Uses the page as a reader does, once it is loaded, and writes what happened into its title.
ANSWERS = """
<script>
window.addEventListener("load", async () => {
  const wait = async condition => { for (let k = 0; k < 200 && !condition(); k++) await new Promise(done => setTimeout(done, 20)); };
  const pictures = [...document.images];
  const table = document.querySelector("#verdicts table"), head = table.tHead.rows[0].cells[2];
  const values = () => [...table.tBodies[0].rows].map(row => Number(row.cells[2].dataset.value));
  const rising = list => list.every((value, k) => !k || list[k - 1] <= value);
  const before = values();
  head.querySelector("button").click();
  const up = values(), marked = head.getAttribute("aria-sort");
  head.querySelector("button").click();
  const browser = document.getElementById("browser"), dialog = document.getElementById("image-dialog");
  await wait(() => browser.dataset.ready);
  const order = () => browser.dataset.order, unsorted = order();
  const key = browser.querySelector("[name=sort]"), frame = browser.querySelector(".frame");
  key.value = "total charge"; key.dispatchEvent(new Event("change"));
  const smallest = order();
  browser.querySelector("[name=flip]").click();
  const largest = order();
  const press = (where, key) => where.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  press(frame, "ArrowRight"); press(frame, "Enter");
  await wait(() => dialog.open);
  const title = dialog.querySelector("h3").textContent, large = dialog.querySelector("canvas");
  const point = () => { const box = large.getBoundingClientRect();
    large.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 })); };
  point();
  const hover = dialog.querySelector("output").textContent;
  press(dialog, "ArrowRight");
  await wait(() => dialog.querySelector("h3").textContent !== title);
  const next = dialog.querySelector("h3").textContent;
  dialog.querySelector("button").click();
  const grid = browser.querySelector(".grid"), colours = new Set(grid.getContext("2d").getImageData(0, 0, grid.width, grid.height).data);
  const sets = browser.querySelector("[name=set]");
  sets.value = [...sets.options].find(option => option.text === "held-out").value; sets.dispatchEvent(new Event("change"));
  await wait(() => browser.querySelector(".status").textContent.startsWith("40 "));
  const answers = {
    pictures: pictures.length, drawn: pictures.filter(image => image.naturalWidth > 100).length,
    described: pictures.filter(image => image.alt.length > 20).length,
    sorted: rising(up) && rising(values().reverse()) && up.length === before.length, marked,
    dead: [...document.links].filter(link => !document.querySelector(link.getAttribute("href"))).length, links: document.links.length,
    wide: document.documentElement.scrollWidth > window.innerWidth, ink: getComputedStyle(document.body).color,
    unsorted, smallest, largest, title, next, hover, closed: !dialog.open, colours: colours.size,
    real: browser.querySelector(".status").textContent, sentences: [...document.querySelectorAll(".summary")].map(p => p.textContent),
  };
  document.title = "ANSWERS" + JSON.stringify(answers);
});
</script>
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = "simulate:n=120,size=32,seed=3"
    sources = [f"{source},entries={start}-{start + 40}" for start in (0, 40, 80)]
    metrics = ("physics", "fpd", "memorisation")
    report = evaluate(sources[:2], train=sources[1], held_out=sources[2], metrics=metrics, threshold=10)
    out = tmp_path_factory.mktemp("report")
    report.write(out)
    return out / "report.html"


def test_images_are_encoded_in_few_bytes_and_decoded_exactly() -> None:
    images = read_all(simulate(400, size=64, seed=2))
    encoded = encode_images(images)
    counts, places, levels = decode(encoded)
    decoded = np.zeros((len(images), images[0].size), np.float32)
    decoded[np.repeat(np.arange(len(images)), counts), places] = levels * encoded["step"]
    np.testing.assert_allclose(decoded.reshape(images.shape), images, atol=0.51 * encoded["step"])
    assert 2 * 2000 / len(images) * len(encoded["data"]) < 15e6  # 2,000 images and their nearest ones
    assert decode(encode_images(np.zeros((2, 1, 4, 4), np.float32)))[0].tolist() == [0, 0]


def decode(encoded: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = zlib.decompress(base64.b64decode(encoded["data"]), -zlib.MAX_WBITS)
    counts = np.frombuffer(data, "<u4", encoded["n"])
    total = int(counts.sum())
    return counts, np.frombuffer(data, "<u4", total, 4 * len(counts)), np.frombuffer(data, "<i2", total, 4 * (len(counts) + total))


def test_it_needs_nothing_from_elsewhere(report: Path) -> None:
    text = report.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text) and "@import" not in text and "fetch(" not in text
    assert 'lang="en"' in text and "viewport" in text and "prefers-color-scheme: dark" in text


def test_a_blank_checkpoint_does_not_end_the_report(tmp_path: Path) -> None:
    source = "simulate:n=60,size=16,seed=3,entries="
    report = evaluate(f"{source}0-20", train=f"{source}20-40", held_out=f"{source}40-60", metrics="fpd")
    (scored,) = report.evaluations
    blank = replace(scored, results={}, skipped={"fpd": "all images are blank"})
    for evaluations, trend in (((scored, blank), False), ((blank, blank), False), ((scored, scored, blank), True)):
        checkpoints = {"steps": [4, 8, 12][: len(evaluations)], "galleries": [None] * len(evaluations)}
        replace(report, evaluations=evaluations, **checkpoints).write(tmp_path)
        assert ("Over checkpoints" in (tmp_path / "report.html").read_text()) == trend


def test_text_is_not_taken_for_html() -> None:
    texts = [f"<{letter}>&" for letter in "abcdefghijk"]
    a, b, c, d, e, f, g, h, i, j, k = texts
    about = {"source": b, "images": 20, "shape": (1, 4, 4), "unit": c, "fingerprint": '"x"', "zero_suppression": None}
    measurement = Measurement(d, 1.0, 1.0, (0.0, 2.0), 20, unclear=k)
    evaluation = Evaluation(a, about, {e: MetricResult(e, (measurement,), warnings=(f,), notes=(g,))}, skipped={h: i})
    facts = {"sets": {"train": about}, "threshold_note": j}
    figure = ReportFigure(new_figure(1, 1), 'a "quoted" text', a)
    page = render_html(facts, ["\x1b[2J"], [evaluation, evaluation], {"gallery": [figure]})
    for text in texts:
        assert text not in page.partition("<pre>")[0] and escape(text) in page
    assert 'data-value="&#34;x&#34;"' in page and 'alt="a &#34;quoted&#34; text"' in page
    assert "\x1b" not in page and r"\x1b[2J" in page and "</script>" in page


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize(("window", "dark"), [("1200,900", False), ("390,844", False), ("1200,900", True)])
def test_in_a_browser(report: Path, tmp_path: Path, window: str, dark: bool) -> None:
    asked = tmp_path / "asked.html"
    asked.write_text(report.read_text().replace("</body>", ANSWERS + "</body>"))
    quiet = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}")
    look = (f"--window-size={window}", f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--virtual-time-budget=10000")
    command = [str(CHROMIUM), *quiet, *look, "--enable-logging=stderr", "--dump-dom", asked.as_uri()]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert not [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    title = re.search(r"<title>ANSWERS(.*?)</title>", result.stdout)
    assert title, result.stdout[:500]
    answers = json.loads(title[1])
    assert answers["pictures"] == answers["drawn"] == answers["described"] >= 4
    assert answers["sorted"] and answers["marked"] == "ascending"
    assert answers["links"] >= 5 and answers["dead"] == 0 and not answers["wide"]
    assert answers["ink"] == ("rgb(232, 232, 234)" if dark else "rgb(28, 28, 34)")
    first, last = (answers[key].split() for key in ("smallest", "largest"))
    assert len({answers["unsorted"], answers["smallest"], answers["largest"]}) == 3 and set(first) != set(last)
    assert answers["title"] != answers["next"]
    assert re.fullmatch(r"tick 1[56], wire 1[56]: -?[\d.]+ ADC", answers["hover"]), answers["hover"]
    assert answers["closed"] and answers["colours"] > 30 and answers["real"].startswith("40 images")
    assert len(answers["sentences"]) == 2 and all("cop" in sentence for sentence in answers["sentences"])


def test_pictures_show_what_they_say(report: Path) -> None:
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    pictures = [Image.open(BytesIO(b64decode(data))) for data in re.findall(r"data:image/png;base64,([^\"]+)", report.read_text())]
    assert len(pictures) >= 4
    for picture in pictures:
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 20  # not blank
