"""Equal targets are one target of their joint mass, and nearly equal ones do not spoil a solve."""

from __future__ import annotations

import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pgen.ot import COSTS, DualAscent, SemiDiscreteOT, Targets, assign, certify, cost_matrix
from pgen.ot.assignment import streaming as stream
from pgen.ot.assignment.assign import nearest
from pgen.ot.duplicates import FRACTION, MEMBERS
from tests.helpers.problems import Problem, assert_exact, brute_force, dense_and_sparse, problems

PRECISIONS = (torch.float32, torch.float64)


@st.composite
def repeated(draw: st.DrawFn) -> torch.Tensor:
    """Targets of few values, so that many are equal, some but for the sign of a zero."""
    count, size = draw(st.integers(1, 40)), draw(st.integers(1, 3))
    random = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randint(-1, 2, (count, size), generator=random).to(draw(st.sampled_from(PRECISIONS)))
    return torch.where(torch.rand(count, size, generator=random) < 0.5, values, -values * 1.0)


@given(repeated())
@settings(max_examples=60, deadline=None)
def test_groups_are_those_of_a_brute_force_search(y: torch.Tensor) -> None:
    first = [next(i for i in range(len(y)) if torch.equal(y[i], row)) for row in y]
    sizes = torch.tensor([first.count(i) for i in range(len(y))])
    values = torch.arange(1.0, len(y) + 1)
    for targets in dense_and_sparse(y):
        assert targets.distinct == len(set(first))
        if targets.duplicates is None:
            assert first == list(range(len(y)))
            continue
        assert targets.duplicates.representative.tolist() == first
        assert targets.duplicates.repeated == int(sizes[sizes > 1].sum()) and targets.duplicates.merged == int((sizes > 1).sum())
        assert torch.equal(targets.merge(torch.ones(len(y))), sizes.float())
        assert torch.equal(targets.spread(values), values[first])
        assert targets.hits(torch.arange(len(y))).tolist() == sizes.tolist()


@pytest.mark.parametrize("cost", COSTS)
@given(repeated(), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_assignment_is_exact_whatever_the_potentials_of_equal_targets(cost: str, y: torch.Tensor, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    x, psi = torch.randn(30, y.shape[1], generator=random).to(y.dtype), torch.randint(3, (len(y),), generator=random).to(y.dtype)
    for targets in dense_and_sparse(y):
        found = assign(x, targets, psi, cost)
        assert_exact(found, brute_force(x, y, psi, cost))
        # Of equal targets with equal potentials the first.
        twins = (y[found[0]][:, None] == y[None]).all(-1) & (psi[found[0]][:, None] == psi[None])
        assert torch.equal(found[0], twins.int().argmax(1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stream, "BLOCK", 64)
            if targets.duplicates:
                psi = targets.duplicates.single_out(psi)
            streamed = stream.assign_streamed(x, targets, psi, cost, nearest)
        assert torch.equal(streamed[0], found[0])


@given(problems(samples=5, count=60), st.sampled_from(COSTS))
@settings(max_examples=20, deadline=None)
def test_a_certificate_is_of_merged_masses(problem: Problem, cost: str) -> None:
    _, y, psi = problem
    x = torch.randn(200, y.shape[1], generator=torch.Generator().manual_seed(0))
    targets = Targets(y)
    psi, sizes = targets.spread(psi), targets.merge(torch.ones(len(y)))
    merged = certify([x], targets, psi, cost)
    once = certify([x], y[sizes > 0], psi[sizes > 0], cost, sizes[sizes > 0])
    for name in ("chi2", "chi2_interval", "tv", "never_hit", "evenness", "dual"):
        assert getattr(merged, name) == pytest.approx(getattr(once, name), rel=1e-4, abs=1e-5), name
    assert torch.equal(merged.hits[sizes > 0], once.hits) and not merged.hits[sizes == 0].any()


@given(st.lists(st.integers(0, 6), min_size=8, max_size=25), st.sampled_from(COSTS), st.integers(0, 2**31))
@settings(max_examples=6, deadline=None)
def test_a_solve_with_duplicates_is_exact_transport(numbers: list[int], cost: str, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    y, x = torch.randn(7, 4, generator=random)[numbers], torch.randn(150, 4, generator=random)
    exact = ot.emd2([], [], cost_matrix(x, y, cost).double().numpy())
    solver = SemiDiscreteOT(y, cost)
    solver.fit(lambda n: x[torch.randint(len(x), (n,), generator=random)], chi2=0.005, max_samples_per_target=1000)
    found = certify([x], solver.targets, solver.psi, cost, bound=True)
    assert found.dual <= exact + 1e-4 <= found.primal + 2e-4
    assert found.dual == pytest.approx(exact, rel=0.02)
    assert all(len(set(solver.psi[torch.tensor(numbers) == number].tolist())) <= 1 for number in range(7))


def share_of(y: torch.Tensor, is_copy: torch.Tensor, cost: str = "sqeuclidean", **options: object) -> float:
    """The fraction of fresh noise that is sent to the targets ``is_copy`` after a solve."""
    random = torch.Generator().manual_seed(1)
    noise = lambda n: torch.randn(n, y.shape[1], generator=random).to(y.dtype)  # noqa: E731
    solver = SemiDiscreteOT(y, cost, **options)
    solver.fit(noise, chi2=0.05, max_samples_per_target=200)
    assert solver.psi.isfinite().all()
    return float(is_copy[assign(noise(20_000), solver.targets, solver.psi, cost)[0]].float().mean())


def with_copies(count: int, size: int, copies: int, jitter: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets, of which so many are 0 but for the jitter, and which ones."""
    random = torch.Generator().manual_seed(0)
    y, is_copy = torch.randn(count, size, generator=random), torch.arange(count) * copies % count < copies
    y[is_copy] = jitter * torch.randn(int(is_copy.sum()), size, generator=random)
    return y, is_copy


@pytest.mark.parametrize(("copies", "options"), [(200, {}), (60, {"shortlist": 0}), (6, {}), (60, {"cost": "l1"}), (599, {})], ids=str)
def test_noise_goes_to_equal_targets_in_proportion(copies: int, options: dict) -> None:
    y, is_copy = with_copies(600, 12, copies)
    assert share_of(y, is_copy, **options) == pytest.approx(copies / 600, abs=0.01)


def test_it_does_in_double_precision_and_for_sparse_targets() -> None:
    y, is_copy = with_copies(400, 30, 130)
    y[~is_copy] *= torch.rand(270, 30, generator=torch.Generator().manual_seed(2)) < 0.1
    for targets in (y.to_sparse_csr(), y[:, :6].double()):
        is_blank = (targets.to_dense() == 0).all(1)  # a few of the others too
        assert share_of(targets, is_blank) == pytest.approx(float(is_blank.float().mean()), abs=0.015)


@pytest.mark.parametrize("jitter", [1e-7, 1e-4])
def test_targets_that_are_nearly_equal_get_their_mass_together(jitter: float) -> None:
    y, is_copy = with_copies(600, 12, 200, jitter)
    assert len(y[is_copy].unique(dim=0)) == 200
    assert share_of(y, is_copy) == pytest.approx(1 / 3, abs=0.01)
    # Each is still a target of its own where the nearest is searched.
    x, psi = torch.randn(50, 12), torch.rand(600)
    assert_exact(assign(x, Targets(y), psi, "l2"), brute_force(x, y, psi, "l2"))


def test_two_groups_of_copies_that_differ_by_rounding() -> None:
    """As codes of blank images do that came from batches of different sizes."""
    y, is_copy = with_copies(600, 12, 200)
    y[500:][is_copy[500:]] = 1e-7
    assert share_of(y, is_copy) == pytest.approx(1 / 3, abs=0.01)


def test_smooth_distributions_have_no_duplicates() -> None:
    random = torch.Generator().manual_seed(0)
    for size in (2, 5, 60):
        assert Targets(torch.randn(3000, size, generator=random)).duplicates is None
    assert Targets(torch.randn(MEMBERS - 1, 1) * 1e-9).distinct == MEMBERS - 1
    few = torch.randn(2000, 5, generator=random)
    few[: int(FRACTION * 2000) - 1] = 1e-6 * torch.randn(int(FRACTION * 2000) - 1, 5, generator=random)
    assert Targets(few).duplicates is None


def test_what_is_not_a_number_is_no_duplicate_of_anything_else() -> None:
    y = torch.tensor([[torch.nan, 1.0], [0.0, 1.0], [torch.inf, 1.0], [0.0, 1.0]])
    duplicates = Targets(y).duplicates
    assert duplicates is not None and duplicates.representative.tolist() == [0, 1, 2, 1]


def test_a_transposed_view_has_duplicates_too() -> None:
    assert Targets(torch.tensor([[1.0, 2.0, 1.0]], dtype=torch.float64).T).distinct == 2
    assert Targets(torch.ones(3, 8)[:, ::2].T).distinct == 1


@pytest.mark.parametrize("options", [{}, {"method": "adam"}, {"averaging": "tail"}, {"epsilon": 0.01}], ids=str)
def test_equal_targets_keep_equal_potentials_in_every_way_of_ascent(options: dict) -> None:
    y, is_copy = with_copies(60, 3, 20)
    random, targets = torch.Generator().manual_seed(3), Targets(y)
    ascent = DualAscent(60, "l1", **options)
    ascent.average.copy_(torch.rand(60, generator=random))  # as of an earlier version, which did not keep them equal
    ascent.begin(torch.randn(64, 3, generator=random), targets)
    hits = torch.zeros(60)
    for step in range(300):
        index, _ = ascent.step(torch.randn(64, 3, generator=random), targets)
        hits += torch.bincount(index, minlength=60) * (step >= 100)
    assert len(ascent.psi[is_copy].unique()) == len(ascent.average[is_copy].unique()) == 1
    assert float(hits[is_copy].sum() / hits.sum()) == pytest.approx(1 / 3, abs=0.03)


def test_weights_of_equal_targets_add_up() -> None:
    y, is_copy = with_copies(200, 4, 50)
    weights = torch.where(is_copy, 0.5, 1.0)
    assert share_of(y, is_copy, weights=weights) == pytest.approx(25 / 175, abs=0.01)
    # A heavy target without copies is no other matter.
    heavy = torch.ones(150)
    heavy[7] = 70
    assert share_of(y[~is_copy], torch.arange(150) == 7, weights=heavy) == pytest.approx(70 / 219, abs=0.01)
