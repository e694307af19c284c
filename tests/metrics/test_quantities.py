"""Shapes and profiles of images whose answer is known."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pgen.metrics.features import profiles
from pgen.metrics.features.observables import (
    FEATURES,
    QUANTITIES,
    SHAPES,
    SIGNED_FEATURES,
    SIGNED_QUANTITIES,
    quantities,
    quantities_to_features,
)
from pgen.metrics.features.profiles import compute_profiles
from tests.helpers.toy_tracks import tracks

SIZE = 64
#: The thirteen quantities of an image, as they were before there were shapes.
FROZEN = [
    483.75, 25, 36, 19.35, 5.5054263565891475, 5.98811369509044, 2.395268055134155, 3.5641573883433106, 17,
    2.414213562373095, 0, 45, 26.40611460128481,
]  # fmt: skip
DOCS = Path(__file__).parents[2] / "docs/quantities.md"


def describe(*images: np.ndarray) -> dict[str, float]:
    """The quantities of one image, which may be a sum of several."""
    values = quantities(np.sum(images, 0, dtype=np.float32)[None, None])[0, 0]
    return dict(zip(QUANTITIES, values, strict=True))


def draw(x: np.ndarray, y: np.ndarray, charge: float = 10.0) -> np.ndarray:
    """An image with charge at points (column, row)."""
    image = np.zeros((SIZE, SIZE), np.float32)
    image[np.rint(y).astype(int), np.rint(x).astype(int)] = charge
    return image


def share_charge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An image of points, whose charge is shared between the four nearest pixels."""
    image = np.zeros((SIZE, SIZE), np.float32)
    for column, row in itertools.product((np.floor(x), np.floor(x) + 1), (np.floor(y), np.floor(y) + 1)):
        np.add.at(image, (row.astype(int), column.astype(int)), (1 - np.abs(x - column)) * (1 - np.abs(y - row)))
    return image


def line(angle: float, length: float = 44.0) -> np.ndarray:
    t = np.linspace(-length / 2, length / 2, 400)
    return draw(SIZE / 2 + t * np.cos(np.radians(angle)), SIZE / 2 + t * np.sin(np.radians(angle)))


def named(images: np.ndarray, name: str) -> np.ndarray:
    (profile,) = (each for each in compute_profiles(images) if each.name == name)
    return profile.values[:, 0]


@pytest.mark.parametrize("angle", [0, 20, 45, 70, 90, 135])
def test_straight_tracks(angle: float) -> None:
    found = describe(line(angle))
    assert found["track sagitta"] < 0.1 and found["track kinks"] == 0 and found["track gaps"] == 0
    assert found["track ends inside"] == 2 and found["tracks"] == 1 and found["vertices"] == 0
    assert found["track opening"] < 1.3 and found["charge off the axis"] == 0 and found["single-pixel clusters"] == 0


@pytest.mark.parametrize("sagitta", [0.5, 1.0, 2.5, 4.0, 15.0])
@pytest.mark.parametrize("angle", [0, 25, 45, 70, 90, 150])
def test_sagitta_of_an_arc(sagitta: float, angle: float) -> None:
    u = np.linspace(-1, 1, 4000)
    along, across = 24 * u, sagitta * (1 - u**2) - sagitta / 2
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    x, y = SIZE / 2 + along * cosine - across * sine, SIZE / 2 + along * sine + across * cosine
    assert describe(share_charge(x, y))["track sagitta"] == pytest.approx(sagitta, rel=0.1, abs=0.12)


@pytest.mark.parametrize(("slope", "other", "kinks"), [(0.6, -0.3, 1), (1.0, -1.0, 1), (0.6, 0.4, 0)])
def test_kinks_of_a_polyline(slope: float, other: float, kinks: int) -> None:
    """Also where the arms are at right angles, so that the width across a straight axis is large."""
    x = np.linspace(6, 57, 2000)
    y = 30 + np.where(x < 32, slope * (x - 32), other * (x - 32))
    assert describe(draw(x, y))["track kinks"] == kinks


def test_gaps_of_a_dotted_track() -> None:
    x = np.arange(4, 60)
    dotted = x[x % 4 != 0]
    # A quarter is missing, but for the first, which is no gap.
    assert describe(draw(dotted, np.full(len(dotted), 30)))["track gaps"] == pytest.approx(13 / 55, abs=0.02)
    assert describe(draw(x, np.full(len(x), 30)))["track gaps"] == 0
    far = x[(x < 20) | (x > 30)]  # two tracks
    assert describe(draw(far, np.full(len(far), 30)))["track gaps"] == 0


def test_single_pixels_are_clusters_and_neither_tracks_nor_arms() -> None:
    far, near = draw(np.array([3, 10, 60]), np.array([60, 55, 5])), draw(np.arange(15, 50, 4), np.full(9, 35))
    found = describe(line(0), far, near)
    assert found["single-pixel clusters"] == 12 and found["clusters"] == 13 and found["tracks"] == 1
    assert found["vertices"] == 0 and found["track ends inside"] == 2


def test_vertices_have_three_arms() -> None:
    t = np.arange(25)
    left, up, down = draw(32 - t, np.full(25, 32)), draw(32 + t, 32 - t), draw(32 + t, 32 + t)
    assert describe(np.maximum(left, up))["vertices"] == 0
    assert describe(np.maximum.reduce([left, up, down]))["vertices"] == 1
    assert describe(np.maximum.reduce([left, up, down]))["tracks"] == 1
    two_tracks = draw(np.arange(5, 60), np.full(55, 12)) + draw(np.arange(5, 60), np.full(55, 50))
    assert describe(two_tracks)["tracks"] == 2 and describe(two_tracks)["vertices"] == 0
    ragged = line(0) + draw(np.arange(12, 52, 3), np.full(14, 31)) + draw(np.arange(12, 52, 5), np.full(8, 33))
    assert describe(ragged)["vertices"] == 0


@pytest.mark.parametrize(("first", "last", "ends"), [(0, 63, 0), (2, 61, 0), (3, 61, 1), (3, 60, 2), (20, 50, 2)])
@pytest.mark.parametrize("is_diagonal", [False, True])
def test_ends_at_least_three_pixels_from_the_border(first: int, last: int, ends: int, is_diagonal: bool) -> None:
    x = np.arange(first, last + 1)
    image = draw(x, x if is_diagonal else np.full(len(x), 30))
    assert describe(image)["track ends inside"] == ends
    image[:, (first + last) // 2] = 0  # a gap is no end
    assert describe(image)["track ends inside"] == ends


@pytest.mark.parametrize("angle", [0, 30, 45, 60, 135])
def test_empty_columns_are_crossed_by_a_track(angle: float) -> None:
    broken = line(angle)
    assert describe(broken)["empty columns"] == 0
    broken[:, 30] = broken[:, 35] = 0
    assert describe(broken)["empty columns"] == 2
    assert describe(draw(np.array([10, 12, 40, 42]), np.array([5, 50, 50, 5])))["empty columns"] == 0


def test_showers_open_and_blobs_are_filled() -> None:
    row, column = np.mgrid[:SIZE, :SIZE]
    cone = ((np.abs(row - 32) <= 0.25 * (column - 8)) & (column >= 8) & (column < 56)).astype(np.float32)
    found, thin = describe(cone), describe(line(0))
    assert found["track opening"] > 2 and found["charge off the axis"] > 0.2 and np.isnan(found["track sagitta"])
    assert found["filled neighbourhoods"] > 0.5 > thin["filled neighbourhoods"]
    assert thin["whole charges"] == 1 and describe(line(0) * np.float32(1.013))["whole charges"] == 0


def test_blank_images() -> None:
    found = describe(np.zeros((SIZE, SIZE)))
    counts = {"single-pixel clusters", "tracks", "vertices", "empty columns"}
    assert all(found[name] == 0 if name in counts else np.isnan(found[name]) for name in SHAPES)
    assert all(np.isnan(profile.values).all() for profile in compute_profiles(np.zeros((2, 1, 16, 16), np.float32)))


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_mirrored_and_transposed_images_have_the_same_shapes(seed: int) -> None:
    images = tracks(6, seed, 32)  # no two charges are equal
    shapes, curves = quantities(images)[..., len(FEATURES) :], compute_profiles(images)
    columns = list(SHAPES).index("empty columns")
    for turned, is_mirrored in ((images[..., ::-1, :], True), (images[..., ::-1], True), (images.swapaxes(2, 3), False)):
        turned = np.ascontiguousarray(turned)
        values = quantities(turned)[..., len(FEATURES) :]
        compared = np.arange(len(SHAPES)) if is_mirrored else np.delete(np.arange(len(SHAPES)), columns)
        np.testing.assert_allclose(values[..., compared], shapes[..., compared], rtol=1e-6, atol=1e-6)
        for before, after in zip(curves, compute_profiles(turned), strict=True):
            if before.name in ("dQ/dx from the end", "power spectrum", "charge correlation"):
                np.testing.assert_allclose(after.values, before.values, rtol=1e-4, atol=1e-5)


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=15, deadline=None)
def test_shapes_do_not_depend_on_the_unit_of_charge(seed: int) -> None:
    images = tracks(6, seed, 32)
    expected = quantities(images)[..., len(FEATURES) :]
    np.testing.assert_allclose(quantities(images * 4)[..., len(FEATURES) :][..., :-1], expected[..., :-1], rtol=1e-9, atol=1e-9)


def test_the_main_track_is_that_of_a_loop_over_images() -> None:
    images = tracks(60, 2, 48)
    images[::3, :, :, 20:22] = 0
    for image, row in zip(images[:, 0], quantities(images)[:, 0], strict=True):
        values = dict(zip(QUANTITIES, row, strict=True))
        labels, _ = ndimage.label(image > 0, np.ones((3, 3)))
        main = labels == 1 + np.argmax(ndimage.sum(image, labels, np.arange(1, labels.max() + 1)))
        at = np.argwhere(main)[:, ::-1].astype(float)
        weight = image[main].astype(float)
        centred = at - np.average(at, axis=0, weights=weight)
        _, vectors = np.linalg.eigh(np.cov(at.T, aweights=weight, bias=True))
        along, across = (centred @ vectors)[:, 1], (centred @ vectors)[:, 0]
        length = np.ptp(along) + 1
        line_of_pixel = at[:, 0] if abs(vectors[0, 1]) >= abs(vectors[1, 1]) else at[:, 1]
        lines = np.unique(line_of_pixel)
        x, y = (
            np.array([np.average(of_pixel[line_of_pixel == k], weights=weight[line_of_pixel == k]) for k in lines])
            for of_pixel in (along, across)
        )
        thickness = np.sqrt(np.average((across - y[np.searchsorted(lines, line_of_pixel)]) ** 2, weights=weight))
        is_slender = length >= 20 and length >= 10 * thickness
        assert np.isfinite(values["track sagitta"]) == is_slender
        if is_slender:
            assert values["track sagitta"] == pytest.approx(abs(np.polyfit(2 * x / (length - 1), y, 2)[0]), rel=1e-6, abs=1e-9)
        if length >= 10:
            assert values["charge off the axis"] == pytest.approx(weight[np.abs(across) > 3].sum() / weight.sum(), abs=1e-9)


def test_the_first_thirteen_quantities() -> None:
    """They are features of other metrics, whose values of earlier releases would change with them."""
    row, column = np.mgrid[:9, :12]
    image = np.where((row * 5 + column * 3) % 7 < 2, row * 3.25 + column, 0).astype(np.float32)
    image[:, 6] = image[4] = 0
    np.testing.assert_allclose(quantities(image[None, None], 2.0)[0, 0, :13], FROZEN, rtol=1e-9)
    assert list(QUANTITIES)[:13] == list(FEATURES) and list(SIGNED_QUANTITIES)[:15] == list(SIGNED_FEATURES)


def test_shapes_are_no_features() -> None:
    images = np.rint(tracks(5, 1, 24))
    values = quantities(images)
    assert quantities_to_features(values).shape == (5, len(FEATURES) + 1)
    assert quantities(images, signed=True).shape[-1] == len(SIGNED_QUANTITIES)


def test_power_spectrum_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    images = rng.random((3, 32, 48))
    power = np.abs(np.fft.fft2(images)) ** 2
    power[:, 0, 0] = 0
    radius = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(48)[None])
    edges = np.linspace(0, 0.5, profiles.FREQUENCIES + 1)
    for image, spectrum in zip(power, profiles.power_spectrum(images), strict=True):
        expected = np.histogram(radius, edges, weights=image)[0]
        np.testing.assert_allclose(spectrum, expected / image.sum(), rtol=1e-4)


def test_power_spectrum_of_two_waves() -> None:
    """The power of a wave is half of its squared amplitude (Parseval), in the ring of its frequency."""
    x = np.arange(32)
    waves = 7 + 2 * np.sin(2 * np.pi * 0.25 * x)[:, None] + np.sin(2 * np.pi * 0.125 * x)[None]
    spectrum = profiles.power_spectrum(waves[None])[0]
    assert spectrum[8] == pytest.approx(4 / 5, abs=1e-6) and spectrum[4] == pytest.approx(1 / 5, abs=1e-6)
    assert spectrum.sum() == pytest.approx(1)
    board = (-1.0) ** np.add.outer(x, x)  # its frequency is that of a corner
    assert profiles.power_spectrum(board[None]).max() == pytest.approx(0, abs=1e-6)
    assert profiles.power_spectrum(np.broadcast_to((-1.0) ** x, (1, 32, 32)))[0, -1] == pytest.approx(1)


def test_correlation_of_known_fields() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200, 32, 32))
    assert np.abs(profiles.correlation(noise).mean(0)).max() < 0.01
    np.testing.assert_allclose(profiles.correlation(np.ones((1, 20, 24))), 1, rtol=1e-5)


def test_correlation_is_that_of_all_pairs_of_pixels() -> None:
    two = np.zeros((16, 16))
    two[4, 4] = two[4, 9] = 3
    random = np.random.default_rng(1).random((9, 12))
    for image in (two, random):
        at = np.argwhere(np.ones_like(image))
        distance = np.rint(np.hypot(*(at[:, None] - at[None]).transpose(2, 0, 1)))
        products = np.outer(image, image)
        expected = [products[distance == d].mean() if (distance == d).any() else 0 for d in range(1, profiles.DISTANCES + 1)]
        np.testing.assert_allclose(profiles.correlation(image[None])[0], np.array(expected) / (image**2).mean(), rtol=1e-4, atol=1e-6)
    assert np.flatnonzero(profiles.correlation(two[None])[0] > 1e-6).tolist() == [4]


@pytest.mark.parametrize("angle", [0, 30, 90, 150, 210])
def test_bragg_peak_is_at_the_end(angle: float) -> None:
    t = np.linspace(-22, 22, 4001)
    x, y = SIZE / 2 + t * np.cos(np.radians(angle)), SIZE / 2 + t * np.sin(np.radians(angle))
    image = share_charge(x, y) + 4 * share_charge(x[-500:], y[-500:])
    values = named(image[None, None], "dQ/dx from the end")[0]
    assert values[:2].mean() > 4 * values[5:].mean() and np.isfinite(values).all()
    assert values[5:] == pytest.approx(4001 / 44, rel=0.25)  # charge per pixel of length
    leaving = draw(np.arange(SIZE), np.full(SIZE, 30))
    assert np.isnan(named(leaving[None, None], "dQ/dx from the end")).all()


def test_charge_along_and_across_a_straight_track() -> None:
    across = named(line(0)[None, None], "charge across the track")[0]
    assert across[profiles.ACROSS] == 1 and across.sum() == 1
    x = np.arange(10, 60)  # five pixels in each tenth
    np.testing.assert_allclose(named(draw(x, np.full(50, 30), 3.0)[None, None], "charge along the track")[0], 1)
    rising = draw(x, np.full(50, 30)) * np.arange(SIZE)
    assert (np.diff(named(rising[None, None], "charge along the track")[0]) > 0).all()


def test_the_documentation_lists_every_quantity_and_profile() -> None:
    cells = [[cell.strip() for cell in row.split("|")] for row in DOCS.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    rows = {name.strip(): row[2] for row in cells for name in row[1].split(",")}
    assert {name: rows.get(name) for name in QUANTITIES} == QUANTITIES
    for profile in compute_profiles(np.rint(tracks(3, 0, 24))):
        assert rows[profile.name] == profile.x_label
