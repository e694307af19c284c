"""generator.pt2, as the documentation uses it: with torch only, and without gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pgen.engine import hooks
from pgen.plugins.requests import DeployRequest
from tests.helpers.trained import trained

SMALL = {
    "gan": {"n_hidden": 8, "p": 0.2},
    "ewm": {"n_hidden": 8, "ots_steps": 4},
    "flow": {"n_hidden": 8, "n_layers": 1, "coupling": "independent", "n_steps": 3},
}


@pytest.mark.parametrize("model", SMALL)
def test_an_exported_program_tracks_no_gradients_of_its_weights(model: str, tmp_path: Path) -> None:
    run = trained(model, "simulate:n=24,size=8,seed=6", tmp_path, max_steps=2, batch_size=8, **SMALL[model])
    (path,) = hooks.call(run, "deploy", request=DeployRequest(out=tmp_path / "deploy"))
    program = torch.export.load(path).module()
    noise = run.load_model().noise(3, generator=torch.Generator().manual_seed(1))
    images = program(noise)
    assert not images.requires_grad and images.numpy().shape == (3, 1, 8, 8)
    assert not any(value.requires_grad for value in (*program.parameters(), *program.buffers()))
    # Gradients of the noise remain possible.
    assert program(noise.requires_grad_()).requires_grad
