"""Training on several processes: launched by torchrun or srun, joined by torch.distributed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgen.engine.distributed.group import ProcessGroup


@contextmanager
def process_group() -> Iterator[ProcessGroup]:
    """Join the processes that were launched together with this one, until the block ends.

    Raises:
        RunError: They do not find each other.
    """
    from pgen.engine.distributed.group import ProcessGroup
    from pgen.engine.distributed.launch import find_launch

    launch = find_launch()
    if launch is None:
        yield ProcessGroup()
        return
    from pgen.engine.distributed.torch_group import join

    with join(launch) as group:
        yield group
