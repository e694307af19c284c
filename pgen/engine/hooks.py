"""The engine's implementations of the plug-in hooks, tried last: a plug-in's own come first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pgen.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from pgen.engine.run import Run
    from pgen.plugins.requests import DeployRequest, SampleRequest


@hookimpl(trylast=True)
def train(run: Run) -> Path:
    from pgen.engine.training.loop import TrainingLoop

    try:
        return TrainingLoop(run).run_to_end()
    finally:
        run.folder.release()


@hookimpl(trylast=True)
def deploy(run: Run, request: DeployRequest) -> list[Path]:
    from pgen.engine.inference import deploy

    return deploy.deploy(run, request)


@hookimpl(trylast=True)
def sample(run: Run, request: SampleRequest) -> Path:
    from pgen.engine.inference import sample

    return sample.sample_run(run, request)
