"""Training, deployment and sampling: everything that a model does not define itself.

A run is a directory with a trained model. Example::

    from pgen.engine import Run

    model = Run.open("runs/flow-1").load_model()

Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgen.engine.config import TrainConfig as TrainConfig
    from pgen.engine.monitoring.loggers import Logger as Logger
    from pgen.engine.run import Run as Run
    from pgen.engine.training.session import TrainingSession as TrainingSession
    from pgen.engine.training.setup import create_run as create_run
    from pgen.engine.training.setup import resume_run as resume_run
    from pgen.engine.training.trainer import Trainer as Trainer

_MODULE_OF = {
    "Logger": "monitoring.loggers",
    "Run": "run",
    "TrainConfig": "config",
    "Trainer": "training.trainer",
    "TrainingSession": "training.session",
    "create_run": "training.setup",
    "resume_run": "training.setup",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
