"""Every picture is drawn, and none has anything cut off at its edge."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pgen.errors import PgenError
from pgen.metrics.memorisation.hamming import hamming
from pgen.report.ascii_preview import render_ascii
from pgen.report.figures.base import figure_to_png, new_figure, save_figure
from pgen.report.figures.curves import _running_mean, _spans_decades, plot_histogram, plot_losses, plot_reconstruction_error
from pgen.report.figures.hamming import plot_hamming
from pgen.report.figures.image_grid import plot_images, plot_pairs, plot_rows
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


def read(path, mode="L"):
    with Image.open(path) as image:
        return np.asarray(image.convert(mode))


PICTURES = {
    "grid": lambda: plot_images(IMAGES),
    "one": lambda: plot_images(IMAGES[:1], labels=["a title that is longer than the image is wide"]),
    "planes": lambda: plot_images(PLANES, columns=2, labels=[f"event {i}\nsecond line" for i in range(7)]),
    "blank": lambda: plot_images(IMAGES * 0),
    "signed": lambda: plot_images(SIGNED),
    "signed rows": lambda: plot_rows({"real": SIGNED, "generated": IMAGES}),
    "signed pairs": lambda: plot_pairs(SIGNED, IMAGES, [f"#{i}" for i in range(7)]),
    "many": lambda: plot_images(np.repeat(IMAGES, 20, 0)),
    "rows": lambda: plot_rows({"real": IMAGES, "reconstructed": IMAGES[:4], "a set with a rather long name": PLANES[:5, :1]}),
    "pairs": lambda: plot_pairs(PLANES, PLANES[::-1], [f"#{i} Jaccard 0.12" for i in range(7)]),
    "one pair": lambda: plot_pairs(IMAGES[:1], IMAGES[:1], ["x"]),
    "losses": lambda: plot_losses({"a": steps(200, d=1, g=5), f"a long name {'x' * 40}": steps(30, d=1, ae_mse=100)}),
    "many runs": lambda: plot_losses({f"run-{i}-with-a-name": steps(20, loss=1 + i) for i in range(9)}),
    "reconstruction": lambda: plot_reconstruction_error([0, 10], [9.0, 1.0], [9.0, 1.1], chosen=10, predict_zero_mse=3.0),
    "histogram": lambda: plot_histogram(np.arange(50) % 7, "Hits per target", "hits"),
    "large counts": lambda: plot_histogram(10_000 + np.arange(500), "Hits per target", "hits"),
    "no counts": lambda: plot_histogram(np.zeros(5), "Hits per target", "hits"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_touches_the_edge(tmp_path, name):
    path = tmp_path / "new folder" / "picture.png"
    save_figure(PICTURES[name](), path)
    pixels = read(path, "RGB")
    ring = np.concatenate(
        [pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), pixels[:, :2].reshape(-1, 3), pixels[:, -2:].reshape(-1, 3)]
    )
    assert (ring == ring[0]).all()
    assert pixels.std() > 1
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_signed_charge_has_a_colour_for_each_sign_and_one_range(monkeypatch):
    sheets = []
    monkeypatch.setattr(Sheet, "finish", lambda sheet, unit: sheets.append(sheet))
    one = np.zeros((1, 1, 8, 8), np.float32)
    one[0, 0, 0], one[0, 0, 1], one[0, 0, 2] = 40, -40, -10
    for draw in (
        lambda images: plot_images(images),
        lambda images: plot_rows({"real": np.abs(one), "generated": images}),
        lambda images: plot_pairs(np.abs(one), images, ["x"]),
    ):
        draw(one)
        draw(np.abs(one))
        signed, unsigned = sheets[-2:]
        assert (signed.norm.vmin, signed.norm.vmax) == (-40, 40) and (unsigned.norm.vmin, unsigned.norm.vmax) == (0, 40)
        positive, negative, faint, none = (signed.last_image.to_rgba(np.array([[q]]))[0, 0, :3] for q in (40.0, -40.0, -10.0, 0.0))
        assert positive[0] > positive[2] + 0.1 and negative[2] > negative[0] + 0.1 and faint[2] > faint[0] + 0.1
        assert none.max() < 0.01 and abs(positive.mean() - negative.mean()) < 0.05  # as bright as each other
    np.testing.assert_allclose(signed.norm([-40, -10, 0, 10, 40]), [0, 0.25, 0.5, 0.75, 1])


def test_letters_go_by_magnitude():
    image = np.zeros((1, 4, 12), np.float32)
    image[0, :, 4], image[0, :, 8] = 50, -50
    assert render_ascii(image) == render_ascii(np.abs(image)) and render_ascii(image).splitlines()[0] == "    @   @"


def test_hamming(tmp_path):
    rng = np.random.default_rng(0)
    sets = ((rng.random((60, 1, 8, 8)) * (rng.random((60, 1, 8, 8)) < 0.2)).astype(np.float32) for _ in range(3))
    save_figure(plot_hamming(hamming(*sets, thresholds=[0, 0.5])), tmp_path / "hamming.png")
    assert read(tmp_path / "hamming.png").shape[1] == 1500


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: plot_images(IMAGES, labels=["one"]), "labels: expected one for each of 7 images, got 1"),
        (lambda: plot_images(IMAGES[:0]), "images: expected at least 1 images, got 0"),
        (lambda: plot_rows({}), "rows: .* got none"),
        (lambda: plot_rows({"a": IMAGES, "b": PLANES}), "b: images of shape"),
        (lambda: plot_pairs(IMAGES, IMAGES[:2], ["x"] * 7), "pairs: expected as many"),
        (lambda: plot_losses({"a": [{"step": 1}]}), "losses of a: no record has"),
        (lambda: plot_losses({}), "losses of no run"),
        (lambda: plot_histogram([], "Hits", "hits"), "Hits: expected one count"),
    ],
)
def test_nothing_to_draw_is_one_sentence(draw, words):
    with pytest.raises(PgenError, match=words):
        draw()


def test_text_from_files_is_drawn_as_it_is(tmp_path):
    texts = ["$x$", "a$b", r"$\frac{$", "two $ in a $ path", "_hidden", "x\x1b[2J", "\udce9", "粒子", "w" * 4000]
    hostile = "".join(texts[:7])
    save_figure(plot_losses({text: steps(3, **{hostile: 1}) for text in texts}), tmp_path / "losses.png")
    save_figure(plot_histogram(np.arange(9), hostile, hostile), tmp_path / "counts.png")
    save_figure(plot_reconstruction_error([0, 10], [9.0, 1.0], [9.0, 1.1], unit=hostile), tmp_path / "curve.png")
    save_figure(plot_images(np.repeat(IMAGES[:3], 3, 0), labels=texts, unit=hostile), tmp_path / "grid.png")
    save_figure(plot_rows(dict.fromkeys(texts, IMAGES[:2]), unit=hostile), tmp_path / "rows.png")
    assert all(max(read(path).shape) < 6000 for path in tmp_path.glob("*.png"))


def test_names_are_in_the_legend_and_numbers_in_tex(tmp_path, monkeypatch):
    """Names are literal, also those that matplotlib would leave out; powers of ten along an axis are not."""
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: drawn.append(figure) or path.write_bytes(b""))
    records = [{"step": i, "loss": 10.0**i} for i in range(4)]
    save_figure(plot_losses({"_a$b$": records}), tmp_path / "losses.png")
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
    save_figure(plot_images(abs(plane), vmax=40), tmp_path / "plane.png")
    pixels = read(tmp_path / "plane.png")[20:-20, 25:195].astype(float)
    assert (pixels.max(0) > 100).mean() > 0.85


def test_a_diverged_loss_is_drawn_up_to_there(tmp_path):
    save_figure(plot_losses({"a": [{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}], "b": []}), tmp_path / "losses.png")


def test_smoothing_keeps_a_line_straight_to_its_ends():
    assert _running_mean(np.full(100, 3.0), 7) == pytest.approx(np.full(100, 3.0))
    assert _running_mean(np.arange(100.0), 7)[50] == 50


def test_a_log_scale_is_for_positive_values_over_decades():
    assert _spans_decades(np.geomspace(1, 1e4, 50))
    assert not _spans_decades(np.linspace(1, 2, 50)) and not _spans_decades(np.linspace(-1, 1e4, 50)) and not _spans_decades(np.array([]))


def test_importing_reports_does_not_import_matplotlib():
    code = "import sys; from pgen.report.figures import curves, hamming, image_grid; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sets_and_planes_without_channels_are_plotted_too():
    from pgen.data import ArrayImages

    as_set, as_planes = plot_images(ArrayImages(IMAGES, unit="e"), range(7)), plot_images(IMAGES[:, 0], range(7), unit="e")
    assert figure_to_png(as_set) == figure_to_png(as_planes) == as_set._repr_png_()
    assert as_set.axes[1].get_ylabel() == "charge per pixel [e]"
    with pytest.raises(PgenError, match=r"x\.gif: a figure cannot be written as \.gif; use a name such as x\.png"):
        save_figure(new_figure(1, 1), "x.gif")
