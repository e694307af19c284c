"""The flow's parts against what is known of them: its couplings, its steps, its networks; and that it learns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pgen.data import LatentCodes
from pgen.engine.artifacts.exported_program import load_program, save_program
from pgen.engine.run import Run
from pgen.errors import PgenError
from pgen.models.flow.config import FlowConfig
from pgen.models.flow.coupling import Coupling
from pgen.models.flow.networks import make_velocity
from pgen.models.flow.ode import integrate, integrate_with_noise
from pgen.models.flow.time_schedule import TimeSchedule
from pgen.ot import Targets, assign, pair_cost
from pgen.plugins.specs import DataInfo
from tests.helpers.trained import trained

IMAGES = "simulate:n=30,size=16,seed=1,threshold=10"
EVEN = TimeSchedule()


def alone(batch_size: int, say: Callable[[str], None] = lambda text: None) -> SimpleNamespace:
    """Of a Trainer what a coupling asks, on one rank."""
    generator = lambda step, common: torch.Generator().manual_seed(abs(step))  # noqa: E731
    rows = {"gather": lambda x: x, "local_rows": lambda x: x}
    return SimpleNamespace(step=3, batch_size=batch_size, device="cpu", generator=generator, log=say, **rows)


@given(st.integers(0, 2**31), st.integers(2, 30), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_minibatch_coupling_is_the_least_transport_of_its_batch(seed: int, n: int, size: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, targets = torch.randn(n, size, generator=random), Targets(torch.randn(50, size, generator=random))
    index = Coupling("minibatch", 50, 1.0).targets_of(x, targets, alone(n))
    y = targets.rows(index)
    least = ot.emd2([], [], ot.dist(x.double().numpy(), y.double().numpy()))
    assert float(pair_cost(x, y, "sqeuclidean").mean()) == pytest.approx(least, rel=1e-4)
    # The same targets as without transport, in another order.
    assert sorted(index.tolist()) == sorted(Coupling("independent", 50, 1.0).targets_of(x, targets, alone(n)).tolist())


def test_semidiscrete_coupling_hits_all_targets_evenly_and_costs_less_than_any_other() -> None:
    random = torch.Generator().manual_seed(0)
    targets = Targets(torch.randn(100, 5, generator=random) * 2 + 1)
    x = torch.randn(20000, 5, generator=random)
    costs = {}
    for kind in ("independent", "semidiscrete"):
        coupling = Coupling(kind, 100, 0.05)
        said: list[str] = []
        coupling.begin(targets, lambda n, generator: torch.randn(n, 5, generator=generator), alone(256, said.append))
        assert (kind == "semidiscrete") == any("chi2" in text and "goal 0.05" in text for text in said)
        index = coupling.targets_of(x, targets, alone(len(x)))
        hits = torch.bincount(index, minlength=100) / 200
        assert float((hits - 1).square().mean()) < 0.1
        costs[kind] = float(pair_cost(x, targets.rows(index), "sqeuclidean").mean())
    assert costs["semidiscrete"] < 0.6 * costs["independent"]


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_error_of_a_step_is_of_its_order(solver: str, order: int) -> None:
    """dx/dt = t x, whose answer is x exp(1/2)."""
    x = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    errors = [
        float((integrate(lambda x, t: t[:, None] * x, x, EVEN.step_bounds(n), solver) - x * math.exp(0.5)).abs().max()) for n in (16, 32)
    ]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize("times", [EVEN, TimeSchedule(2.5)], ids=str)
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("steps", "error"), [(48, 0.02), (256, 0.004), (500, 0.004)])
def test_fresh_noise_keeps_to_the_distribution_of_the_flow(steps: int, error: float, spread: float, times: TimeSchedule) -> None:
    """From normal noise to a normal distribution of another mean and spread, whose velocity is known."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        variance = (1 - t).square() + (t * spread).square()
        return 2 + (t * spread**2 - (1 - t)) / variance * (x - 2 * t)

    # Noise whose moments are exact up to the second, so that what is off is the solver's.
    noise = torch.randn(3000, steps, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.linalg.qr(noise - noise.mean(0)).Q[..., None] * 2999**0.5
    samples = integrate_with_noise(velocity, noise, times.step_bounds(steps))
    assert float(samples.mean()) == pytest.approx(2, abs=0.01 * spread)
    assert float(samples.std()) == pytest.approx(spread, rel=error)
    assert abs(float(samples[:, 0] @ noise[:, 0, 0])) / (samples.norm() * noise[:, 0].norm()) < 0.1  # forgotten


def test_fresh_noise_mends_what_a_wrong_velocity_does() -> None:
    """A velocity that is right but for a push early on."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        t = t[:, None]
        return (2 * t - 1) / ((1 - t).square() + t.square()) * x + 4 * (t < 0.5)

    noise = torch.randn(2000, 64, 1, generator=torch.Generator().manual_seed(0))
    off = float(integrate(velocity, noise[:, 0], EVEN.step_bounds(64), "heun").mean())
    assert abs(float(integrate_with_noise(velocity, noise, EVEN.step_bounds(64)).mean())) < 0.5 * abs(off)


def info(kind: str, *shape: int) -> DataInfo:
    return DataInfo(kind, shape, 10)  # type: ignore[arg-type]


def maps(*shape: int) -> DataInfo:
    """Of codes that are maps."""
    return DataInfo("codes", (math.prod(shape),), 10, codes={"shape": list(shape)})


@pytest.mark.parametrize(("data", "options"), [
    (info("codes", 7), {}), (info("images", 1, 16, 24), {}), (info("images", 3, 6, 10), {"patch": 1, "n_layers": 2, "n_hidden": 5}),
    (info("images", 2, 9, 9), {"patch": 3, "n_layers": 1}), (maps(3, 4, 2), {}), (maps(2, 4, 4), {"patch": 2, "n_layers": 1}),
])  # fmt: skip
def test_velocity_has_the_shape_of_its_point_and_depends_on_the_time(data: DataInfo, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    network = make_velocity(FlowConfig(**options), data)
    x = torch.randn(4, *data.shape)
    assert torch.equal(network(x, torch.rand(4)), torch.zeros_like(x))  # at first nothing moves
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    early, late = network(x, torch.zeros(4)), network(x, torch.ones(4))
    assert early.shape == x.shape and not torch.allclose(early, late)
    # Samples do not see each other.
    assert torch.allclose(network(x[1:2], torch.zeros(1)), early[1:2], atol=1e-5)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(PgenError, match="not divisible by 8"):
        make_velocity(FlowConfig(), info("images", 1, 20, 16))
    with pytest.raises(PgenError, match="5×4 pixels are not divisible by 2"):
        make_velocity(FlowConfig(), maps(3, 5, 4))
    with pytest.raises(PgenError, match="have no pixels"):
        make_velocity(FlowConfig(patch=4), info("codes", 7))


def drawn(run: Run, steps: int) -> Tensor:
    model = run.load_model()
    model.config = model.config.model_copy(update={"n_steps": steps, "solver": "euler"})
    with torch.no_grad():
        return model.sample(1000, generator=torch.Generator().manual_seed(1))  # type: ignore[operator]


def test_two_clusters_are_learnt_and_transport_needs_fewer_steps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sides = random.choice([-1.0, 1.0], 400)
    np.save(tmp_path / "codes.npy", np.stack([sides + 0.1 * random.standard_normal(400), random.standard_normal(400)], 1).astype("f4"))
    between = {}
    for coupling in ("independent", "semidiscrete"):
        run = trained(
            "flow", tmp_path / "codes.npy", tmp_path, max_steps=400, n_hidden=32, coupling=coupling, batch_size=128, num_epochs=128
        )
        far, near = drawn(run, 32), drawn(run, 2)
        assert 0.4 < float((far[:, 0] > 0).float().mean()) < 0.6
        assert float(far[:, 1].std()) == pytest.approx(1, abs=0.15)
        between[coupling] = float((near[:, 0].abs() < 0.6).float().mean())  # where no target is
        assert float((far[:, 0].abs() < 0.6).float().mean()) < 0.1
    assert between["semidiscrete"] < 0.5 * between["independent"]


def copies(path: Path, number: int, count: int = 500) -> Path:
    """Codes, of which ``number`` are equal."""
    codes = np.random.default_rng(0).standard_normal((count, 6)).astype("f4")
    codes[:number] = codes[0] + 1
    np.save(path, codes)
    return path


@pytest.mark.parametrize("number", [166, 50, 5])
def test_noise_goes_to_identical_codes_in_proportion(number: int, tmp_path: Path) -> None:
    run = trained("flow", copies(tmp_path / "codes.npy", number), tmp_path, max_steps=2, n_hidden=8, batch_size=16)
    model, codes = run.load_model("last:raw"), run.data.tensor()
    index, _ = assign(torch.randn(20_000, 6, generator=torch.Generator().manual_seed(3)), Targets(codes), model.coupling.psi, "sqeuclidean")
    assert float((index < number).float().mean()) == pytest.approx(number / 500, abs=0.01)
    assert run.folder.log.read_text().count(f"{number} of 500 targets ({number / 500:.1%}) are identical to others") == 1


def test_equal_codes_of_other_labels_are_other_targets(tmp_path: Path) -> None:
    codes = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    codes[:30] = codes[0]
    kinds = [str(i % 2) for i in range(90)]
    LatentCodes.from_vectors(codes, list(map(str, range(90))), {}, labels={"kind": np.array(kinds)}).save(tmp_path / "codes.pt")
    run = trained("flow", tmp_path / "codes.pt", tmp_path, max_steps=2, n_hidden=8, batch_size=16, condition="kind")
    assert "30 of 90 targets (33.3%) are identical to others, but for rounding; they are merged into 2," in run.folder.log.read_text()


def moments(samples: Tensor) -> tuple[list[float], list[float]]:
    return samples.mean(0).tolist(), samples.std(0).tolist()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_moments_are_those_of_the_sampler_and_the_weights_in_use(ema: float, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = trained("flow", copies(tmp_path / "codes.npy", 3), tmp_path, max_steps=25, n_hidden=16, batch_size=64, ema=ema, checkpoint=10)
    caplog.set_level("INFO", logger="pgen")
    caplog.clear()
    for checkpoint in ("best", "10"):
        run.load_model(checkpoint)
    assert not caplog.messages  # measured in training
    for sampler, checkpoint in itertools.product(({"solver": "euler", "n_steps": "2"}, {"n_steps": "1"}, {}), ("best", "last:raw")):
        run = run.with_sampling_options(sampler)
        model = run.load_model(checkpoint)
        mean, std = moments(model.sample(4000, generator=torch.Generator().manual_seed(1)).detach())
        assert mean == pytest.approx([0] * 6, abs=0.08) and std == pytest.approx([1] * 6, abs=0.08)
        again = run.load_model(checkpoint)
        assert all(torch.equal(values, again.state_dict()[name]) for name, values in model.state_dict().items())
    assert "measuring mean and spread of 2,048 samples by 2 steps of euler" in caplog.messages


def test_states_of_earlier_versions_are_measured_anew(tmp_path: Path) -> None:
    run = trained("flow", copies(tmp_path / "codes.npy", 3), tmp_path, max_steps=10, n_hidden=16, batch_size=64)
    state, model = run.load_model().state_dict(), run.new_model()
    del state["measured"]
    state["moments.running_var"] *= 100
    model.load_state_dict(state)
    run.prepare_sampling(model.eval())
    assert torch.equal(model.moments.running_var, run.load_model().moments.running_var)


def test_an_exported_program_has_the_moments_of_its_sampler(tmp_path: Path) -> None:
    run = trained("flow", copies(tmp_path / "codes.npy", 3), tmp_path, max_steps=10, n_hidden=16, batch_size=64)
    run = run.with_sampling_options({"solver": "euler", "n_steps": "3"})
    model = run.load_model()
    noise = model.noise(300, generator=torch.Generator().manual_seed(0))
    save_program(tmp_path / "generator.pt2", model, nn.Identity(), (noise[:2],), {})
    program, _ = load_program(tmp_path / "generator.pt2", torch.device("cpu"))
    with torch.no_grad():
        torch.testing.assert_close(program(noise), model(noise), rtol=1e-4, atol=1e-5)
    assert moments(program(noise))[1] == pytest.approx([1] * 6, abs=0.2)


def test_images_come_back_in_the_range_of_the_model(tmp_path: Path) -> None:
    run = trained("flow", IMAGES, tmp_path, max_steps=3, n_hidden=32, batch_size=8)
    model = run.load_model()
    with torch.no_grad():
        images = model.sample(5, generator=torch.Generator().manual_seed(0))  # type: ignore[operator]
    assert images.shape == (5, 1, 16, 16) and float(images.min()) >= 0 and float(images.max()) <= 1
    assert float(model.spread) < 0.2  # type: ignore[arg-type]  # most pixels are dark
    assert run.folder.read_metrics()[-1]["chi2"] < 0.3


@pytest.mark.parametrize("more", [{}, {"solver": "sde", "coupling": "independent"}])
def test_it_is_deployed_as_one_program(more: dict[str, str], tmp_path: Path, pgen) -> None:
    run = trained("flow", IMAGES, tmp_path, max_steps=2, n_hidden=8, n_layers=1, batch_size=8, n_steps=3, **more)
    pgen("deploy", run.folder.path)
    for what, out in ((run.folder.path, "a.npz"), (run.folder.path / "deploy/generator.pt2", "b.npz")):
        pgen("sample", what, "-n", 4, "--out", out, cwd=tmp_path)
    a, b = (np.load(tmp_path / name)["images"] for name in ("a.npz", "b.npz"))
    np.testing.assert_allclose(a, b, atol=1e-3)


def test_fresh_noise_asks_for_independent_noise(tmp_path: Path, refuses) -> None:
    with pytest.raises(PgenError, match="`solver=sde` requires"):
        trained("flow", IMAGES, tmp_path, max_steps=2, n_hidden=32, solver="sde")
    run = trained("flow", IMAGES, tmp_path, max_steps=2, n_hidden=32)
    refuses("sample", run.folder.path, "-n", 2, "--solver", "sde", "--out", tmp_path / "x.h5", saying="--coupling independent")


def test_an_order_of_targets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PgenError, match="`no_shuffle`"):
        trained("flow", IMAGES, tmp_path, max_steps=2, n_hidden=32, shuffle=False)
