"""The solver and its certificate against POT, scipy and counting."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.ot import COSTS, SemiDiscreteOT, Targets, certify, cost_matrix
from pgen.ot.solvers.entropic import soft_frequency
from pgen.ot.solvers.initialisation import mean_cost
from pgen.ot.solvers.plan_rounding import rounded_plan_cost


class Choice:
    """A discrete source: points of a finite set, so that POT knows the exact answer."""

    def __init__(self, points: torch.Tensor, seed: int = 0) -> None:
        self.points, self.random = points, torch.Generator().manual_seed(seed)

    def __call__(self, n: int) -> torch.Tensor:
        return self.points[torch.randint(len(self.points), (n,), generator=self.random)]


def normal(scale: float = 1.0, size: int = 6, seed: int = 0):
    random = torch.Generator().manual_seed(seed)
    return lambda n: scale * torch.randn(n, size, generator=random)


def targets(count: int = 100, size: int = 6) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(1)) + 0.5


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_dual_and_primal_enclose_the_exact_cost(cost: str, weighted: bool) -> None:
    y = targets(20)
    b = torch.arange(1.0, 21) if weighted else torch.ones(20)
    x = normal(size=6)(200)
    exact = ot.emd2([], (b / b.sum()).double().numpy(), cost_matrix(x, y, cost).double().numpy())
    solver = SemiDiscreteOT(y, cost, weights=b)
    solver.fit(Choice(x), chi2=0.01, max_samples_per_target=2000)
    # All of the source's points, once each: no sampling noise.
    found = certify([x], y, solver.psi, cost, b, bound=True)
    assert found.dual <= exact + 1e-4 <= found.primal + 2e-4
    assert found.dual == pytest.approx(exact, rel=0.01)
    assert found.primal == pytest.approx(exact, rel=0.05)
    assert found.gap == found.primal - found.dual


@pytest.mark.parametrize(
    "options", [{}, {"method": "adam"}, {"averaging": "tail"}, {"averaging": "ema"}, {"epsilon": 0.05}, {"momentum": 0.9}], ids=str
)
def test_every_way_of_ascent_solves(options: dict) -> None:
    solver = SemiDiscreteOT(targets(), "l1", shortlist=0, **options)
    sampler = normal(1.5)
    found = solver.fit(sampler, chi2=0.15, max_samples_per_target=200)
    assert found.chi2 <= 0.15
    assert solver.certify(sampler, 20_000).chi2 < 0.25
    assert abs(float(solver.psi.mean())) < 1e-4


def test_samples_that_are_nearly_alike_are_transported() -> None:
    """A generator without training: its samples' spread is a thousandth of the targets'. The unit of the steps is what has to be moved."""
    y = targets(300, 20)
    solver = SemiDiscreteOT(y, "l1")
    assert solver.fit(normal(1e-3, 20), chi2=0.2, max_samples_per_target=60).chi2 <= 0.2


def test_unit_is_the_interaction_of_a_two_way_table() -> None:
    x, y = normal()(50), targets(40)
    for cost in COSTS:
        mean, unit = mean_cost(x, Targets(y), cost)
        table = cost_matrix(x, y, cost).double()
        centred = table - table.mean(0) - table.mean(1, keepdim=True) + table.mean()
        torch.testing.assert_close(mean, table.mean(0) - table.mean())
        assert unit == pytest.approx(float(centred.std(correction=0)), rel=1e-4)


def test_callback_stall_and_limit() -> None:
    seen, sizes = [], []

    def sampler(n: int) -> torch.Tensor:
        sizes.append(n)
        return normal(seed=len(sizes))(n)

    last = SemiDiscreteOT(targets(), batch_size=16, shortlist=0, rate=1e-9).fit(
        sampler, chi2=1e-6, max_samples_per_target=30, callback=lambda c, n: seen.append((c.chi2, n))
    )
    assert seen[-1][0] == last.chi2
    assert [n for _, n in seen] == sorted(n for _, n in seen)
    assert 30 * 100 <= seen[-1][1] < 30 * 100 + max(sizes)
    # Steps that move nothing stall, and a stall doubles the batch.
    assert {16, 32} <= set(sizes)


def test_state_resumes_bit_for_bit_and_only_beside_its_targets(tmp_path) -> None:
    y, batches = targets(), [normal(seed=k)(64) for k in range(20)]
    whole, first, second = (SemiDiscreteOT(y, "l2", averaging="tail") for _ in range(3))
    for solver, part in ((whole, batches), (first, batches[:9])):
        solver.ascent.begin(batches[0], solver.targets)
        for x in part:
            solver.ascent.step(x, solver.targets)
    torch.save(first.state_dict(), tmp_path / "solver.pt")
    second.load_state_dict(torch.load(tmp_path / "solver.pt", weights_only=True))
    for x in batches[9:]:
        second.ascent.step(x, second.targets)
    assert torch.equal(second.psi, whole.psi) and torch.equal(second.ascent.psi, whole.ascent.psi)
    with pytest.raises(ValueError, match="other targets"):
        SemiDiscreteOT(y + 1, "l2").load_state_dict(first.state_dict())


def test_a_new_solve_starts_from_the_last() -> None:
    solver, sampler = SemiDiscreteOT(targets(), "l1"), normal(1.5)
    solver.fit(sampler, chi2=0.02, max_samples_per_target=300)
    before = solver.psi.clone()
    solver.ascent.begin(sampler(256), solver.targets)
    assert torch.allclose(solver.psi, before, atol=1e-5)


def test_pairs_are_noise_and_its_target() -> None:
    solver, noise = SemiDiscreteOT(targets(), "l1"), normal(1.5)
    solver.fit(noise, chi2=0.1)
    for sparse in (False, True):
        if sparse:
            solver.targets = Targets(targets().to_sparse_csr())
        z, y = next(solver.pairs(noise, lambda z: 2 * z, batch_size=30))
        values = cost_matrix(2 * z, targets(), "l1") - solver.psi
        assert torch.equal(y, targets()[values.argmin(1)])


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_balanced_plan_is_feasible_and_not_below_the_best(samples: int, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = (torch.from_numpy(random.normal(size=(n, 3)).astype(np.float32)) for n in (samples * count, count))
    index = torch.from_numpy(random.integers(count, size=len(x)))
    paid = rounded_plan_cost(x, index, Targets(y), torch.zeros(count), "l1", torch.full((count,), 1 / count, dtype=torch.float64))
    exact = ot.emd2([], [], cost_matrix(x, y, "l1").double().numpy())
    assert len(paid) == len(x)
    assert float(paid.mean()) >= exact - 1e-4


def test_chi2_and_its_interval_are_honest() -> None:
    """Unbiased, and the interval covers the true value about as often as it says."""
    p = torch.tensor([0.4, 0.3, 0.2, 0.06, 0.04])
    b = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.2])
    truth = float((p**2 / b).sum()) - 1
    y = torch.eye(5)
    random, estimates, covered = torch.Generator().manual_seed(0), [], 0
    for _ in range(400):
        found = certify([y[torch.multinomial(p, 150, replacement=True, generator=random)]], y, torch.zeros(5), "l1", b)
        estimates.append(found.chi2)
        covered += abs(found.chi2 - truth) <= found.chi2_interval
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - truth) < 3 * error
    assert 0.91 <= covered / 400 <= 0.98


def test_certificate_of_unequal_masses() -> None:
    y, b = torch.eye(3), torch.tensor([0.5, 0.25, 0.25])
    found = certify([y[torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])]], y, torch.zeros(3), "l1", b, bound=True)
    assert found.tv == 0 and found.evenness == 1 and found.never_hit == 0
    assert found.dual == found.primal == found.gap == 0
    # One without mass that is never hit is as it should be.
    found = certify([y[torch.tensor([0, 1])].repeat(4, 1)], y, torch.zeros(3), "l1", torch.tensor([0.5, 0.5, 0]))
    assert found.evenness == 1


def test_soft_assignment_by_brute_force_and_its_limit() -> None:
    x, y, psi = normal()(40), targets(30), torch.linspace(-1, 1, 30)
    b = torch.arange(1.0, 31) / 465
    shares = torch.softmax((psi - cost_matrix(x, y, "l1")) / 0.7 + b.log(), dim=1).mean(0)
    torch.testing.assert_close(soft_frequency(x, Targets(y), psi, "l1", b, 0.7), shares, rtol=1e-4, atol=1e-6)
    hard = torch.bincount((cost_matrix(x, y, "l1") - psi).argmin(1), minlength=30) / 40
    torch.testing.assert_close(soft_frequency(x, Targets(y), psi, "l1", b, 1e-4), hard, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"method": "newton"}, {"averaging": "mode"}, {"cost": "L1"}, {"momentum": 1.0}, {"batch_size": 1}, {"shortlist": 1}, {"shortlist": -3},
     {"weights": torch.ones(3)}, {"weights": torch.full((100,), -1.0)}, {"weights": torch.full((100,), math.nan)}],
    ids=str,
)  # fmt: skip
def test_options_out_of_their_range_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        SemiDiscreteOT(targets(), **options)


def test_what_cannot_be_solved_is_refused() -> None:
    solver = SemiDiscreteOT(targets(), shortlist=0)
    with pytest.raises(RuntimeError, match="call begin"):
        solver.step(normal()(8))
    with pytest.raises(ValueError, match="two or more"):
        solver.begin(normal()(1))
    for goal in ({"chi2": 0.0}, {"max_samples_per_target": 0.0}):
        with pytest.raises(ValueError, match="above 0"):
            solver.fit(normal(), **goal)
    for sampler in (lambda n: normal()(10), normal(size=5), lambda n: normal()(n).double()):
        for ask in (solver.fit, solver.certify):
            with pytest.raises(ValueError, match="the sampler to return"):
                ask(sampler)
    with pytest.raises(ValueError, match="three"):
        certify([normal()(2)], targets(), torch.zeros(100), "l1")
    assert solver.certify(normal(), 1).samples == 3


def test_a_sample_that_is_no_number_is_told_and_does_no_lasting_harm() -> None:
    solver, clean = SemiDiscreteOT(targets()), normal(1.5)

    def once_broken(n: int) -> torch.Tensor:
        x = clean(n)
        x[0, 0] = torch.nan
        return x

    with pytest.raises(ValueError, match="NaN among the samples"):
        solver.fit(once_broken)
    assert solver.fit(clean, chi2=0.1).chi2 <= 0.1


@pytest.mark.parametrize("weights", [torch.arange(1, 101), torch.arange(1.0, 101, dtype=torch.float64)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_the_potential_has_the_type_of_its_targets(weights: torch.Tensor, precision: torch.dtype) -> None:
    solver, sampler = SemiDiscreteOT(targets().to(precision), weights=weights), normal(1.5)
    assert solver.fit(lambda n: sampler(n).to(precision), chi2=0.1).chi2 <= 0.1
    assert solver.psi.dtype == precision


def test_state_has_what_shortlists_found() -> None:
    solver, sampler = SemiDiscreteOT(targets()), normal(1.5)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solver.fit(sampler, callback=stop)
    other = SemiDiscreteOT(targets())
    other.load_state_dict(solver.state_dict())
    assert other.psi.abs().max() > 0 and torch.equal(other.psi, solver.psi)
