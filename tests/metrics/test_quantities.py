"""Shapes and profiles of images whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.metrics.features import profiles
from pgen.metrics.features.observables import FEATURES, QUANTITIES, SHAPES, SIGNED_QUANTITIES, quantities, quantities_to_features
from pgen.metrics.features.profiles import compute_profiles
from tests.helpers.toy_tracks import tracks

SIZE = 64
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


def draw_curve(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An image of a curve y(x), whose charge is shared between the two nearest rows."""
    below = np.floor(y)
    return draw(x, below, 1.0) * (1 - _at(x, below, y - below)) * 10 + draw(x, below + 1, 1.0) * _at(x, below + 1, y - below) * 10


def _at(x: np.ndarray, y: np.ndarray, values: np.ndarray) -> np.ndarray:
    image = np.zeros((SIZE, SIZE), np.float32)
    image[y.astype(int), x.astype(int)] = values
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


@pytest.mark.parametrize("sagitta", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("is_steep", [False, True])
def test_sagitta_of_an_arc(sagitta: float, is_steep: bool) -> None:
    x = np.arange(8, 57)
    y = 30 + sagitta * (1 - ((x - 32) / 24) ** 2)
    image = draw_curve(x, y)
    assert describe(image.T if is_steep else image)["track sagitta"] == pytest.approx(sagitta, rel=0.1)


def test_a_polyline_has_one_kink() -> None:
    x = np.arange(6, 58)
    assert describe(draw(x, np.where(x < 32, 20 + 0.6 * (x - 6), 20 + 0.6 * 26 - 0.3 * (x - 32))))["track kinks"] == 1


def test_gaps_of_a_dotted_track() -> None:
    x = np.arange(4, 60)
    dotted = x[x % 4 != 0]
    # A quarter is missing, but for the first, which is no gap.
    assert describe(draw(dotted, np.full(len(dotted), 30)))["track gaps"] == pytest.approx(13 / 55, abs=0.02)
    assert describe(draw(x, np.full(len(x), 30)))["track gaps"] == 0
    far = x[(x < 20) | (x > 30)]  # two tracks
    assert describe(draw(far, np.full(len(far), 30)))["track gaps"] == 0


def test_specks_vertices_ends_and_columns() -> None:
    specks = draw(np.array([3, 10, 60]), np.array([60, 55, 5]))
    found = describe(line(0), specks)
    assert found["single-pixel clusters"] == 3 and found["clusters"] == 4 and found["tracks"] == 1
    t = np.arange(25)
    star = draw(32 + t, np.full(25, 32)) + draw(32 - t, 32 + t) + draw(32 - t, 32 - t)
    assert describe(star)["vertices"] >= 1
    x = np.arange(40)
    assert describe(draw(x, np.full(40, 30)))["track ends inside"] == 1
    assert describe(draw(np.arange(SIZE), np.full(SIZE, 30)))["track ends inside"] == 0
    broken = line(0)
    broken[:, 30] = 0
    assert describe(broken)["empty columns"] == 1 and describe(line(0))["empty columns"] == 0


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
    images = np.rint(tracks(6, seed, 32))
    expected = quantities(images)[..., len(FEATURES) :]
    keep = [name != "empty columns" for name in SHAPES]
    for turned in (images[..., ::-1, :], images[..., ::-1], images.swapaxes(2, 3)):
        values = quantities(np.ascontiguousarray(turned))[..., len(FEATURES) :]
        # Equal charges may make another cluster the main one, and 45 degrees other lines.
        same = np.isclose(values, expected, atol=1e-6, equal_nan=True)[..., keep]
        assert same.mean() > 0.9


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
    edges = np.append(np.linspace(0, 0.5, profiles.FREQUENCIES + 1)[:-1], 1)
    for image, spectrum in zip(power, profiles.power_spectrum(images), strict=True):
        expected = np.histogram(radius, edges, weights=image)[0]
        np.testing.assert_allclose(spectrum, expected / expected.sum(), rtol=1e-4)
    wave = 1 + np.sin(2 * np.pi * 0.25 * np.arange(32))[None, None] * np.ones((1, 32, 1))
    assert profiles.power_spectrum(wave)[0].argmax() == 8  # a quarter of a cycle per pixel


def test_correlation_of_known_fields() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((200, 32, 32))
    assert np.abs(profiles.correlation(noise).mean(0)).max() < 0.01
    np.testing.assert_allclose(profiles.correlation(np.ones((1, 20, 24))), 1, rtol=1e-5)
    two = np.zeros((1, 16, 16))
    two[0, 4, 4] = two[0, 4, 9] = 3
    found = profiles.correlation(two)[0]
    assert found[4] > 0 and np.abs(np.delete(found, 4)).max() < 1e-6


def test_bragg_peak_is_at_the_end() -> None:
    image = line(0)
    image[:, 50:] *= 4
    values = named(image[None, None], "dQ/dx from the end")[0]
    assert values[0] > 3 * values[5] and np.isfinite(values).all()
    across = named(line(0)[None, None], "charge across the track")[0]
    assert across[profiles.ACROSS] == 1 and across.sum() == 1
    assert named(line(0)[None, None], "charge along the track")[0] == pytest.approx(1, abs=0.25)


def test_the_documentation_lists_every_quantity_and_profile() -> None:
    cells = [[cell.strip() for cell in row.split("|")] for row in DOCS.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    rows = {name.strip(): row[2] for row in cells for name in row[1].split(",")}
    assert {name: rows.get(name) for name in QUANTITIES} == QUANTITIES
    for profile in compute_profiles(np.rint(tracks(3, 0, 24))):
        assert rows[profile.name] == profile.x_label
