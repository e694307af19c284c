"""Steps of the optimiser: schedules, clipping, batches in pieces, and the running average of weights."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pgen.engine.artifacts import checkpoint as checkpoints
from pgen.engine.config import TrainConfig
from pgen.engine.distributed.group import ProcessGroup
from pgen.engine.training.ema import ExponentialMovingAverage
from pgen.engine.training.sync_layers import sync_batch_layers
from pgen.engine.training.trainer import Trainer
from tests.helpers.trained import trained

CPU = torch.device("cpu")


def trainer_of(model: nn.Module, **options) -> Trainer:
    return Trainer({"all": torch.optim.SGD(model.parameters(), lr=1.0)}, CPU, TrainConfig(**options))


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def one_step(pieces: int, rows: int, **options) -> nn.Linear:
    model = linear()
    trainer = trainer_of(model, batch_size=rows, **options)
    batch = torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))
    trainer.start_step(0, 0.0)
    for number, part in enumerate(ProcessGroup().shards(rows, pieces)):
        trainer.start_microbatch(part, number, pieces)
        noise = trainer.sample_noise(lambda n, *, generator: torch.randn(n, 3, generator=generator))
        trainer.update("all", model(part.take(batch) + noise).square().mean())
        assert trainer.has_stepped == (number + 1 == pieces)
    return model


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(6, 20))
def test_a_batch_in_pieces_moves_weights_as_one(pieces: int, rows: int) -> None:
    torch.testing.assert_close(one_step(pieces, rows).weight, one_step(1, rows).weight)


def test_dropout_in_pieces_has_the_mask_of_the_whole_batch() -> None:
    def moved(pieces: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5), nn.Linear(40, 1), nn.Dropout(0.1))
        trainer = trainer_of(model, batch_size=11)
        if pieces > 1:
            sync_batch_layers(model, trainer)
        batch = torch.randn(11, 3, generator=torch.Generator().manual_seed(1))
        trainer.start_step(0, 0.0)
        for number, part in enumerate(ProcessGroup().shards(11, pieces)):
            trainer.start_microbatch(part, number, pieces)
            trainer.update("all", model(part.take(batch)).square().mean())
        return list(model.parameters())

    for whole, pieces in zip(moved(1), moved(4), strict=True):
        torch.testing.assert_close(whole, pieces)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 60))
def test_parts_of_all_ranks_are_the_batch_in_order(count: int, pieces: int, more: int) -> None:
    total = count * pieces + more
    ranks = ProcessGroup()
    ranks.count = count
    found = []
    for rank in range(count):
        ranks.rank = rank
        parts = ranks.shards(total, pieces)
        found += [row for part in parts for row in part.take(list(range(total)))]
        assert all(part.counts[rank] == part.count >= 1 for part in parts)
        assert all(sum(part.counts) <= total for part in parts)
    assert found == list(range(total))


def test_long_gradients_are_shortened() -> None:
    before, free, short = linear().weight, one_step(1, 8).weight, one_step(1, 8, max_grad_norm=0.1)
    moved = torch.cat([(a - b).flatten() for a, b in zip(short.parameters(), linear().parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-3)
    assert (free - before).norm() > 0.2


def test_rates_rise_and_fall() -> None:
    trainer = trainer_of(linear(), warm_up=4, lr_decay=0.1)
    rates = []
    for step, done in enumerate((0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0)):
        trainer.start_step(step, done)
        rates.append(trainer.optimizers["all"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.55, 0.1, 0.1])


def test_rates_fall_over_the_nearer_of_steps_and_epochs(tmp_path: Path) -> None:
    for length, last in (({"max_steps": 9, "num_epochs": 300}, 9), ({"max_steps": 300, "num_epochs": 2}, 8), ({"num_epochs": 3}, 12)):
        run = trained("gan", "simulate:n=16,size=8,seed=1", tmp_path, n_hidden=4, batch_size=4, lr_decay=0.03, **length)
        saved = checkpoints.load(run.folder)
        assert saved.step == last
        (rate,) = {group["lr"] / group["initial_lr"] for each in saved.optimizers.values() for group in each["param_groups"]}
        assert rate == pytest.approx(0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * (last - 1) / last)))


def test_average_of_weights_is_what_the_formula_says() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    average = ExponentialMovingAverage(model, decay=0.5)
    expected: float | None = None
    for update in range(40):
        with torch.no_grad():
            model[0].weight.fill_(math.sin(update))
        model[1].num_batches_tracked.fill_(update)
        average.update(model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = math.sin(update) if expected is None else decay * expected + (1 - decay) * math.sin(update)
        assert average.model[0].weight.item() == pytest.approx(expected, abs=1e-6)
    assert average.model[1].num_batches_tracked == 39  # counted, not averaged
    again = ExponentialMovingAverage(nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), decay=0.5)
    again.load(average.state())
    for both in (average, again):
        both.update(model)
    assert torch.equal(again.model[0].weight, average.model[0].weight)


def test_parts_draw_different_noise_unless_they_ask_for_the_same() -> None:
    trainer = trainer_of(linear(), batch_size=8)
    drawn, common = [], []
    for number, part in enumerate(ProcessGroup().shards(8, 2)):
        trainer.start_microbatch(part, number, 2)
        drawn.append(torch.randn(4, generator=trainer.generator()))
        common.append(torch.randn(4, generator=trainer.generator(common=True)))
    assert not torch.equal(*drawn) and torch.equal(*common)
