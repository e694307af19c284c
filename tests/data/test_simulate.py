"""The toy simulator: reproducible, and of the right shape where physics can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pgen.data import open_images, physics, read_all
from pgen.data.cascade import Rays, transport
from pgen.data.simulate import BLOCK, PARTICLES, simulate
from pgen.errors import UserError


def test_same_seed_same_bytes_whatever_n() -> None:
    few, many = simulate(5, seed=3), simulate(BLOCK + 5, seed=3)
    assert np.array_equal(read_all(few), read_all(many)[:5]) and np.array_equal(few.labels["momentum"], many.labels["momentum"][:5])
    assert np.array_equal(read_all(simulate(BLOCK + 5, seed=3)), read_all(many))
    assert not np.array_equal(read_all(simulate(5, seed=4)), read_all(few))


@pytest.mark.parametrize("particle", PARTICLES)
def test_images_look_like_data(particle: str) -> None:
    images = simulate(BLOCK, seed=1, particles=[particle])
    pixels = read_all(images)[:, 0]
    lit = (pixels > 0).mean((1, 2))
    assert images.shape == (1, 64, 64) and set(images.labels["pdg"]) == {PARTICLES[particle][0]}
    assert np.mean(lit == 0) < 0.02 and 0.01 < lit.mean() < 0.06
    assert 50 < np.median(pixels.max((1, 2))) < 250
    assert pixels[pixels > 0].min() >= 10 and np.array_equal(pixels, np.rint(pixels))


def track(mass: float, momentum: float, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(depth in cm, dE/dx) of all deposits of n particles starting along the columns of an endless picture."""
    kinetic = np.full(n, np.hypot(momentum, mass) - mass)
    start = Rays(np.arange(n), np.full(n, mass), kinetic, np.tile([500.0, 0, 1.0], (n, 1)), np.tile([0.0, 0, 1], (n, 1)))
    _, position, _, loss = transport(start, (1000.0, 1000.0), 0.15, np.random.default_rng(0))
    return position[:, 2] - 1, loss


def test_protons_lose_more_towards_their_end() -> None:
    depth, loss = track(*(938.2721, 500.0))
    end = np.quantile(depth, 0.99)
    assert 8 < end < 16  # CSDA range of a 125 MeV proton in argon (NIST PSTAR): about 11 cm
    means = [loss[(depth >= low * end) & (depth < (low + 0.2) * end)].mean() for low in (0, 0.2, 0.4, 0.6, 0.8)]
    assert np.all(np.diff(means) > 0) and means[-1] > 2 * means[0]


@pytest.mark.parametrize("particle", ["mu", "pi", "p"])
def test_range_grows_with_momentum(particle: str) -> None:
    ranges = [np.quantile(track(PARTICLES[particle][1], momentum, 20)[0], 0.95) for momentum in (100, 150, 200)]
    assert ranges[0] < ranges[1] < ranges[2]


def test_energy_is_kept() -> None:
    """All of a particle's energy is deposited in a picture without borders, but for photons too soft to follow and pair masses."""
    for mass, energy, least in ((938.2721, 100.0, 0.97), (physics.ELECTRON_MASS, 100.0, 0.85)):
        start = Rays(np.arange(30), np.full(30, mass), np.full(30, energy), np.full((30, 3), 5e3), np.tile([0.0, 0, 1], (30, 1)))
        _, _, deposited, _ = transport(start, (1e4, 1e4), 0.15, np.random.default_rng(0))
        assert least < deposited.sum() / (30 * energy) < 1.001


def test_minimum_ionising_loss_and_recombination() -> None:
    """PDG, liquid argon: minimum dE/dx 1.508 MeV cm2/g for muons of 266 MeV; recombination of about 0.6 to 0.7 there, less when denser."""
    loss = physics.energy_loss(np.array([266.0]), np.array([105.6584]))[0]
    assert loss / physics.DENSITY == pytest.approx(1.508, rel=0.05)
    survivors = physics.recombination(np.array([2.1, 5.0, 20.0]))
    assert 0.55 < survivors[0] < 0.7 and np.all(np.diff(survivors) < 0)


def test_source() -> None:
    images = open_images("simulate:n=3,size=32x48,seed=1,particles=e+mu,momentum=100-300")
    assert images.shape == (1, 32, 48) and len(images) == 3 and images.about["format"] == "simulated"
    again = simulate(3, size=(32, 48), seed=1, particles=["e", "mu"], momentum=(100, 300))
    assert images.fingerprint == again.fingerprint
    bad = (
        "n=0",
        "n=x",
        "size=3",
        "size=1x2x3",
        "size=a",
        "seed=-1",
        "particles=K",
        "particles=",
        "momentum=5",
        "momentum=9-2",
        "noise=nan",
    )
    for option in bad:
        with pytest.raises(UserError):
            open_images(f"simulate:{option}")
