"""The toy simulator: reproducible, and of the right shape where physics can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from pgen.data import open_images, read_all
from pgen.data.simulation import energy_loss as physics
from pgen.data.simulation.generate import BLOCK, GAIN, PARTICLES, simulate
from pgen.data.simulation.transport import Rays, transport
from pgen.errors import PgenError


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


def beam(mass: float, momentum: float, n: int) -> Rays:
    """n particles along the columns of an endless picture."""
    kinetic = np.full(n, np.hypot(momentum, mass) - mass)
    return Rays(np.arange(n), np.full(n, mass), kinetic, np.tile([500.0, 0, 1.0], (n, 1)), np.tile([0.0, 0, 1], (n, 1)))


def track(mass: float, momentum: float, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """(depth in cm, dE/dx) of all deposits of a beam."""
    _, position, _, loss = transport(beam(mass, momentum, n), (1000.0, 1000.0), 0.15, np.random.default_rng(0))
    return position[:, 2] - 1, loss


def csda_range(mass: float, kinetic: float) -> float:
    """The way (cm) on which a particle loses its energy, if it loses the mean of it everywhere."""
    return quad(lambda energy: 1 / float(physics.energy_loss(np.array(energy), np.array(mass))), 0.3, kinetic)[0]


@pytest.mark.parametrize(
    ("kinetic", "length"), [(10, 0.9833), (20, 3.321), (40, 10.58), (80, 30.84), (140, 67.32), (200, 106.3), (400, 238.5)]
)
def test_muons_go_as_far_as_tables_say(kinetic: float, length: float) -> None:
    """CSDA ranges of muons in liquid argon, g/cm2: PDG, Atomic Data and Nuclear Data Tables 78 (2001) 183."""
    assert csda_range(PARTICLES["mu"][1], kinetic) == pytest.approx(length / physics.DENSITY, rel=0.01)


@pytest.mark.parametrize("momentum", [300, 365, 480, 650])
def test_protons_go_as_far_whatever_the_steps(momentum: float) -> None:
    mass, n = PARTICLES["p"][1], 60
    for step in (0.06, 0.15, 0.4):
        image, position, _, _ = transport(beam(mass, momentum, n), (1000.0, 1000.0), step, np.random.default_rng(1))
        depth = np.zeros(n)
        np.maximum.at(depth, image, position[:, 2] - 1)
        assert depth.mean() == pytest.approx(csda_range(mass, np.hypot(momentum, mass) - mass), rel=0.012)


@pytest.mark.parametrize("length", [1.0, 5.0, 14.0])
def test_scattering_is_that_of_the_whole_length(length: float) -> None:
    """Highland's formula (PDG), however many steps there are."""
    mass, kinetic = np.array([105.6584]), np.array([2000.0])
    momentum, beta, _ = physics.speeds(kinetic, mass)
    whole = 13.6 / (beta * momentum) * np.sqrt(length / 14) * (1 + 0.038 * np.log(length / 14))
    for count in (1, 7, 300):
        step = length / count
        angles = [physics.scattering_angle(kinetic, mass, np.array([step]), before=k * step) for k in range(count)]
        assert np.sqrt(np.sum(np.square(angles))) == pytest.approx(whole[0], rel=1e-6)


def test_tracks_scatter_as_much_whatever_the_steps() -> None:
    """How far muons are off their line after 8 cm: what comes of angles at each depth, by the distance that is left there."""
    mass, momentum, n, length = 105.6584, 3000.0, 1500, 8.0
    depth = np.linspace(0, length, 2001)
    angles = physics.scattering_angle(np.full(2001, np.hypot(momentum, mass) - mass), np.full(2001, mass), depth)
    expected = np.sqrt(np.sum(np.diff(angles**2) * (length - depth[1:]) ** 2))
    for step in (0.1, 0.25):
        rays = beam(mass, momentum, n)
        rays.position[:, 2] = 0
        image, position, _, _ = transport(rays, (1000.0, length), step, np.random.default_rng(2))
        off, far = np.zeros(n), np.zeros(n)
        order = np.argsort(position[:, 2], kind="stable")
        off[image[order]], far[image[order]] = position[order, 0] - 500, position[order, 2]
        assert far.min() > length - step
        # Without the tails that delta rays make.
        assert np.quantile(np.abs(off), 0.6827) == pytest.approx(expected, rel=0.06)


def test_charge_of_a_minimum_ionising_track() -> None:
    image, position, energy, loss = transport(beam(105.6584, 250.0, 300), (1000.0, 1000.0), 0.15, np.random.default_rng(3))
    charge = energy / physics.ION_WORK * physics.recombination(loss) * GAIN
    near = (position[:, 2] > 1) & (position[:, 2] < 13)
    wire = image[near] * 40 + ((position[near, 2] - 1) / 0.3).astype(int)
    counts = np.bincount(wire, charge[near], minlength=300 * 40)
    assert np.median(counts) == pytest.approx(54, rel=0.02) and counts.mean() == pytest.approx(59, rel=0.03)


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
        with pytest.raises(PgenError):
            open_images(f"simulate:{option}")
