"""Optimiser steps: schedules, gradient clipping, gradient accumulation and the EMA of weights."""

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


def one_step(n_micro: int, rows: int, **options) -> nn.Linear:
    model = linear()
    trainer = trainer_of(model, batch_size=rows, **options)
    batch = torch.randn(rows, 3, generator=torch.Generator().manual_seed(1))
    trainer.start_step(0, 0.0)
    for number, shard in enumerate(ProcessGroup().shards(rows, n_micro)):
        trainer.start_microbatch(shard, number, n_micro)
        noise = trainer.sample_noise(lambda n, *, generator: torch.randn(n, 3, generator=generator))
        trainer.update("all", model(shard.take(batch) + noise).square().mean())
        assert trainer.has_stepped == (number + 1 == n_micro)
    return model


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(6, 20))
def test_micro_batches_update_weights_as_the_whole_batch(n_micro: int, rows: int) -> None:
    torch.testing.assert_close(one_step(n_micro, rows).weight, one_step(1, rows).weight)


def test_dropout_masks_of_micro_batches_are_those_of_the_whole_batch() -> None:
    def train(n_micro: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5), nn.Linear(40, 1), nn.Dropout(0.1))
        trainer = trainer_of(model, batch_size=11)
        if n_micro > 1:
            sync_batch_layers(model, trainer)
        batch = torch.randn(11, 3, generator=torch.Generator().manual_seed(1))
        trainer.start_step(0, 0.0)
        for number, shard in enumerate(ProcessGroup().shards(11, n_micro)):
            trainer.start_microbatch(shard, number, n_micro)
            trainer.update("all", model(shard.take(batch)).square().mean())
        return list(model.parameters())

    for whole, accumulated in zip(train(1), train(4), strict=True):
        torch.testing.assert_close(whole, accumulated)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 60))
def test_shards_of_all_ranks_are_the_batch_in_order(count: int, n_micro: int, more: int) -> None:
    total = count * n_micro + more
    group = ProcessGroup()
    group.count = count
    rows = []
    for rank in range(count):
        group.rank = rank
        shards = group.shards(total, n_micro)
        rows += [row for shard in shards for row in shard.take(list(range(total)))]
        assert all(shard.counts[rank] == shard.count >= 1 for shard in shards)
        assert all(sum(shard.counts) <= total for shard in shards)
    assert rows == list(range(total))


def test_gradients_are_clipped_to_the_largest_norm() -> None:
    before, free, clipped = linear().weight, one_step(1, 8).weight, one_step(1, 8, max_grad_norm=0.1)
    moved = torch.cat([(a - b).flatten() for a, b in zip(clipped.parameters(), linear().parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-3)
    assert (free - before).norm() > 0.2


def test_learning_rates_warm_up_and_decay() -> None:
    trainer = trainer_of(linear(), warm_up=4, lr_decay=0.1)
    rates = []
    for step, done in enumerate((0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0)):
        trainer.start_step(step, done)
        rates.append(trainer.optimizers["all"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.55, 0.1, 0.1])


def test_learning_rates_decay_over_the_nearer_of_steps_and_epochs(tmp_path: Path) -> None:
    for length, last in (({"max_steps": 9, "num_epochs": 300}, 9), ({"max_steps": 300, "num_epochs": 2}, 8), ({"num_epochs": 3}, 12)):
        run = trained("gan", "simulate:n=16,size=8,seed=1", tmp_path, n_hidden=4, batch_size=4, lr_decay=0.03, **length)
        saved = checkpoints.load(run.folder)
        assert saved.step == last
        (rate,) = {group["lr"] / group["initial_lr"] for state in saved.optimizers.values() for group in state["param_groups"]}
        assert rate == pytest.approx(0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * (last - 1) / last)))


def test_ema_of_weights_follows_its_formula() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    ema = ExponentialMovingAverage(model, decay=0.5)
    expected: float | None = None
    for update in range(40):
        with torch.no_grad():
            model[0].weight.fill_(math.sin(update))
        model[1].num_batches_tracked.fill_(update)
        ema.update(model)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = math.sin(update) if expected is None else decay * expected + (1 - decay) * math.sin(update)
        assert ema.model[0].weight.item() == pytest.approx(expected, abs=1e-6)
    assert ema.model[1].num_batches_tracked == 39  # counted, not averaged
    restored = ExponentialMovingAverage(nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1)), decay=0.5)
    restored.load(ema.state())
    for copy in (ema, restored):
        copy.update(model)
    assert torch.equal(restored.model[0].weight, ema.model[0].weight)


def test_micro_batches_draw_different_noise_unless_it_is_common() -> None:
    trainer = trainer_of(linear(), batch_size=8)
    own, common = [], []
    for number, shard in enumerate(ProcessGroup().shards(8, 2)):
        trainer.start_microbatch(shard, number, 2)
        own.append(torch.randn(4, generator=trainer.generator()))
        common.append(torch.randn(4, generator=trainer.generator(common=True)))
    assert not torch.equal(*own) and torch.equal(*common)
