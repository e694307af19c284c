"""Every picture is drawn, and none has anything cut off at its edge."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pgen.errors import PgenError
from pgen.metrics.memorisation.hamming import hamming
from pgen.report.ascii_preview import picture
from pgen.report.figures.curves import _running_mean, _spans_decades, save_histogram, save_losses, save_reconstruction_curve
from pgen.report.figures.hamming import save_hamming
from pgen.report.figures.image_grid import save_grid, save_pairs, save_rows
from pgen.report.figures.image_sheet import Sheet
from pgen.report.figures.pooling import pool_image

IMAGES = (np.random.default_rng(0).gamma(1, 20, (7, 1, 24, 16)) * (np.random.default_rng(1).random((7, 1, 24, 16)) < 0.1)).astype(
    np.float32
)
SIGNED = IMAGES - np.roll(IMAGES, 2, axis=3)
PLANES = np.concatenate([IMAGES, IMAGES[::-1], IMAGES], axis=1)


def steps(n, **scale):
    rng = np.random.default_rng(0)
    return [{"step": i} | {name: float(rng.gamma(2, value)) for name, value in scale.items()} for i in range(n)]


PICTURES = {
    "grid": lambda path: save_grid(path, IMAGES),
    "one": lambda path: save_grid(path, IMAGES[:1], titles=["a title that is longer than the image is wide"]),
    "planes": lambda path: save_grid(path, PLANES, columns=2, titles=[f"event {i}\nsecond line" for i in range(7)]),
    "blank": lambda path: save_grid(path, IMAGES * 0),
    "signed": lambda path: save_grid(path, SIGNED),
    "signed rows": lambda path: save_rows(path, {"real": SIGNED, "generated": IMAGES}),
    "signed pairs": lambda path: save_pairs(path, SIGNED, IMAGES, [f"#{i}" for i in range(7)]),
    "many": lambda path: save_grid(path, np.repeat(IMAGES, 20, 0)),
    "rows": lambda path: save_rows(path, {"real": IMAGES, "reconstructed": IMAGES[:4], "a set with a rather long name": PLANES[:5, :1]}),
    "pairs": lambda path: save_pairs(path, PLANES, PLANES[::-1], [f"#{i} Jaccard 0.12" for i in range(7)]),
    "one pair": lambda path: save_pairs(path, IMAGES[:1], IMAGES[:1], ["x"]),
    "losses": lambda path: save_losses(path, {"a": steps(200, d=1, g=5), f"a long name {'x' * 40}": steps(30, d=1, ae_mse=100)}),
    "many runs": lambda path: save_losses(path, {f"run-{i}-with-a-name": steps(20, loss=1 + i) for i in range(9)}),
    "reconstruction": lambda path: save_reconstruction_curve(path, [0, 10], [9.0, 1.0], [9.0, 1.1], chosen=10, predict_zero_mse=3.0),
    "histogram": lambda path: save_histogram(path, np.arange(50) % 7, "Hits per target", "hits"),
    "large counts": lambda path: save_histogram(path, 10_000 + np.arange(500), "Hits per target", "hits"),
    "no counts": lambda path: save_histogram(path, np.zeros(5), "Hits per target", "hits"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_touches_the_edge(tmp_path, name):
    path = tmp_path / "new folder" / "picture.png"
    PICTURES[name](path)
    pixels = np.asarray(Image.open(path).convert("RGB"))
    ring = np.concatenate(
        [pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)]
    )
    assert (ring == ring[0]).all()
    assert pixels.std() > 1
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_signed_charge_has_a_colour_for_each_sign_and_one_range(monkeypatch):
    sheets = []
    monkeypatch.setattr(Sheet, "save", lambda sheet, path, unit: sheets.append(sheet))
    one = np.zeros((1, 1, 8, 8), np.float32)
    one[0, 0, 0], one[0, 0, 1], one[0, 0, 2] = 40, -40, -10
    for draw in (
        lambda images: save_grid("x.png", images),
        lambda images: save_rows("x.png", {"real": np.abs(one), "generated": images}),
        lambda images: save_pairs("x.png", np.abs(one), images, ["x"]),
    ):
        draw(one)
        draw(np.abs(one))
        signed, unsigned = sheets[-2:]
        assert (signed.norm.vmin, signed.norm.vmax) == (-40, 40) and (unsigned.norm.vmin, unsigned.norm.vmax) == (0, 40)
        positive, negative, faint, none = (signed.sample_noise.to_rgba(np.array([[q]]))[0, 0, :3] for q in (40.0, -40.0, -10.0, 0.0))
        assert positive[0] > positive[2] + 0.1 and negative[2] > negative[0] + 0.1 and faint[2] > faint[0] + 0.1
        assert none.max() < 0.01 and abs(positive.mean() - negative.mean()) < 0.05  # as bright as each other
    np.testing.assert_allclose(signed.norm([-40, -10, 0, 10, 40]), [0, 0.25, 0.5, 0.75, 1])


def test_letters_go_by_magnitude():
    image = np.zeros((1, 4, 12), np.float32)
    image[0, :, 4], image[0, :, 8] = 50, -50
    assert picture(image) == picture(np.abs(image)) and picture(image).splitlines()[0] == "    @   @"


def test_hamming(tmp_path):
    rng = np.random.default_rng(0)
    sets = ((rng.random((60, 1, 8, 8)) * (rng.random((60, 1, 8, 8)) < 0.2)).astype(np.float32) for _ in range(3))
    save_hamming(tmp_path / "hamming.png", hamming(*sets, thresholds=[0, 0.5]))
    assert Image.open(tmp_path / "hamming.png").size[0] == 1500


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda path: save_grid(path, IMAGES, titles=["one"]), "titles: found 1 for 7"),
        (lambda path: save_grid(path, IMAGES[:0]), "images: found 0"),
        (lambda path: save_rows(path, {}), "rows: found none"),
        (lambda path: save_rows(path, {"a": IMAGES, "b": PLANES}), "b: images of shape"),
        (lambda path: save_pairs(path, IMAGES, IMAGES[:2], ["x"] * 7), "pairs: found"),
        (lambda path: save_losses(path, {"a": [{"step": 1}]}), "losses of a: found no record"),
        (lambda path: save_losses(path, {}), "losses of no run"),
        (lambda path: save_histogram(path, [], "Hits", "hits"), "Hits: found no counts"),
    ],
)
def test_nothing_to_draw_is_one_sentence(tmp_path, draw, words):
    with pytest.raises(PgenError, match=words):
        draw(tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_text_from_files_is_drawn_as_it_is(tmp_path):
    texts = ["$x$", "a$b", r"$\frac{$", "two $ in a $ path", "_hidden", "x\x1b[2J", "\udce9", "粒子", "w" * 4000]
    hostile = "".join(texts[:7])
    save_losses(tmp_path / "losses.png", {text: steps(3, **{hostile: 1}) for text in texts})
    save_histogram(tmp_path / "counts.png", np.arange(9), hostile, hostile)
    save_reconstruction_curve(tmp_path / "curve.png", [0, 10], [9.0, 1.0], [9.0, 1.1], unit=hostile)
    save_grid(tmp_path / "grid.png", np.repeat(IMAGES[:3], 3, 0), titles=texts, unit=hostile)
    save_rows(tmp_path / "rows.png", dict.fromkeys(texts, IMAGES[:2]), unit=hostile)
    assert all(max(Image.open(path).size) < 6000 for path in tmp_path.glob("*.png"))


def test_names_are_in_the_legend_and_numbers_in_tex(tmp_path, monkeypatch):
    """Names are literal, also those that matplotlib would leave out; powers of ten along an axis are not."""
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: drawn.append(figure) or path.write_bytes(b""))
    records = [{"step": i, "loss": 10.0**i} for i in range(4)]
    save_losses(tmp_path / "losses.png", {"_a$b$": records})
    (figure,) = drawn
    (legend,) = figure.legends
    (label,) = legend.get_texts()
    assert label.get_text().strip() == "_a$b$" and not label.get_parse_math()
    assert not figure.axes[0].title.get_parse_math()
    assert all(tick.label1.get_parse_math() for tick in figure.axes[0].yaxis.get_major_ticks())


@pytest.mark.parametrize("sign", [1, -1])
def test_a_thin_track_in_a_large_image_is_seen(tmp_path, sign):
    plane = np.zeros((1, 1, 700, 1800), np.float32)
    column = np.arange(100, 1700)
    plane[0, 0, 50 + column // 3, column] = sign * 40.0
    pooled = pool_image(plane[0], 61, 157)
    assert pooled.shape == (1, 61, 157) and abs(pooled).max() == 40 and np.sign(pooled).sum() == sign * np.count_nonzero(pooled)
    # One line without a gap, in every column that it crosses.
    assert (pooled[0] != 0).any(0)[9:148].all() and not (pooled[0] != 0).any(0)[[0, 4, 152]].any()
    np.testing.assert_array_equal(pool_image(IMAGES[0], 24, 16), IMAGES[0])
    assert pool_image(plane[0], 700, 40).shape == (1, 700, 40)
    save_grid(tmp_path / "plane.png", abs(plane), vmax=40)
    pixels = np.asarray(Image.open(tmp_path / "plane.png").convert("L"), float)[20:-20, 25:195]
    assert (pixels.max(0) > 100).mean() > 0.85


def test_a_diverged_loss_is_drawn_up_to_there(tmp_path):
    save_losses(tmp_path / "losses.png", {"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}], "b": []})


def test_smoothing_keeps_a_line_straight_to_its_ends():
    assert _running_mean(np.full(100, 3.0), 7) == pytest.approx(np.full(100, 3.0))
    assert _running_mean(np.arange(100.0), 7)[50] == 50


def test_a_log_scale_is_for_positive_values_over_decades():
    assert _spans_decades(np.geomspace(1, 1e4, 50))
    assert not _spans_decades(np.linspace(1, 2, 50)) and not _spans_decades(np.linspace(-1, 1e4, 50)) and not _spans_decades(np.array([]))


def test_importing_reports_does_not_import_matplotlib():
    code = "import sys, pgen.report.figures.image_grid, pgen.report.figures.curves, pgen.report.figures.hamming; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
