"""The hooks of a run: those of its plug-in, or else the engine's train, deploy and sample."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgen.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pgen.engine.run import Run
    from pgen.engine.training.session import TrainingSession
    from pgen.plugins.requests import DeployRequest, SampleRequest


def call(run: Run, hook: str, **arguments: Any) -> Any:
    """Call a hook of the run's plug-in, or the engine's own where the plug-in has none.

    Args:
        run: The run, passed to the hook.
        hook: "train", "deploy" or "sample".
        arguments: Further arguments of the hook.
    """
    manager = run.plugin.manager
    if not manager.has_plugin("engine"):
        manager.register(sys.modules[__name__], name="engine")
    return getattr(manager.hook, hook)(run=run, **arguments)


def train_session(session: TrainingSession) -> Path:
    """Train the run of a session by its plug-in's hook or the engine's loop.

    Return its directory.
    """
    try:
        return call(session.run, "train", session=session)
    finally:
        session.run.folder.release()


@hookimpl(trylast=True)
def train(run: Run, session: TrainingSession) -> Path:
    """Train by the engine's loop."""
    from pgen.engine.training.loop import TrainingLoop

    return TrainingLoop(session).run_to_end()


@hookimpl(trylast=True)
def deploy(run: Run, request: DeployRequest) -> list[Path]:
    """Write codes.pt, reconstructions or generator.pt2."""
    from pgen.engine.inference.deploy import deploy

    return deploy(run, request)


@hookimpl(trylast=True)
def sample(run: Run, request: SampleRequest) -> Path:
    """Write samples in charge units."""
    from pgen.engine.inference.sample import sample_run

    return sample_run(run, request)
