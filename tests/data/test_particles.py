"""Labels from the particles of LArCV files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pgen.data import open_images
from pgen.data.particles import join
from pgen.errors import UserError

CONTAINERS = Path(__file__).parents[1] / "containers"


@pytest.mark.parametrize(
    ("source", "energy", "first"),
    [
        ("larcv2_rect.root:plane=0", "energy_init", 1000),
        ("larcv1_forward_rect.root:plane=0", "energy_deposit", 100),
        ("larcv3_256.h5:plane=0", "energy_init", 1000),
    ],
)
def test_labels_belong_to_their_events(source: str, energy: str, first: int) -> None:
    images = open_images(source, data_root=CONTAINERS)
    event = [int(name.split("/")[2]) for name in images.ids]
    start = event[0] if source.startswith("larcv1") else 0
    # The files' makers counted the energy up with the event.
    assert images.labels[energy].tolist() == [first + e - start for e in event]
    assert images.labels["pdg"].tolist() == [13] * len(images) and images.labels["pdg"].dtype == np.int64
    assert images.labels["particles"].tolist() == [1] * len(images)
    assert not open_images(f"{source},labels=none", data_root=CONTAINERS).labels
    with pytest.raises(UserError, match="found"):
        open_images(f"{source},labels=nobody", data_root=CONTAINERS)


def test_events_are_joined_by_name_and_may_have_no_particle() -> None:
    members = {"pdg": [[11, 22], [], [2212]], "px": [[1.5, 2.0], [], [-3.0]], "py": [[np.nan, 0.0], [], [0.0]]}
    labels = join(np.array(["1/0/3", "1/0/1", "1/0/9", "1/0/2"]), np.array(["1/0/1", "1/0/2", "1/0/3"]), members.get)
    assert labels["pdg"].tolist() == [2212, 11, 0, 0] and labels["px"].tolist() == [-3.0, 1.5, 0.0, 0.0]
    assert labels["particles"].tolist() == [1, 2, 0, 0]
    assert "py" not in labels and "pz" not in labels
