"""The hooks of plug-ins.

A model only needs ``pgen_model``, since the engine has its own train, deploy and sample. Metrics
are described by ``pgen_metrics``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

from pgen.plugins.specs import MetricSpec, ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    from pgen.plugins.protocols import RunInfo, SessionInfo
    from pgen.plugins.requests import DeployRequest, SampleRequest

PROJECT = "pgen"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def pgen_model() -> ModelSpec:  # type: ignore[empty-body]
    """Describe the model.

    The package's entry points name the module of this hook, which must not import torch.

    A complete plug-in is three files. ``pyproject.toml``::

        [project]
        name = "pgen-mean"
        version = "0.1"
        dependencies = ["pgen-lartpc"]

        [project.entry-points."pgen.models"]
        mean = "pgen_mean"

    ``pgen_mean/__init__.py``::

        from pgen import ModelConfig, ModelSpec, hookimpl
        from pydantic import Field

        class MeanConfig(ModelConfig):
            lr: float = Field(0.1, gt=0, description="Learning rate.")

        @hookimpl
        def pgen_model():
            return ModelSpec(
                name="mean",
                summary="Learns the mean image",
                config="pgen_mean:MeanConfig",
                model="pgen_mean.model:Mean",
            )

    ``pgen_mean/model.py``::

        import torch

        class Mean(torch.nn.Module):
            def __init__(self, config, data):
                super().__init__()
                self.config = config
                self.mean = torch.nn.Parameter(torch.zeros(data.shape))

            def optimizers(self):
                return {"mean": torch.optim.Adam([self.mean], lr=self.config.lr)}

            def training_step(self, batch, trainer):
                loss = (batch - self.mean).square().mean()
                trainer.update("mean", loss)
                return {"mse": loss}

            def sample(self, n, *, generator):
                return self.mean.expand(n, *self.mean.shape)

    After ``pip install .`` there is a command ``pgen train mean``.

    On several GPUs each rank gets a part of the batch. A loss is a mean over its samples; noise
    comes from ``trainer.sample_noise(draw)``, with ``draw(n, *, generator)``, so that it does not
    depend on the number of GPUs (:class:`pgen.plugins.protocols.Trainer`). A model that gets all
    targets (``inputs="targets"``) also has an attribute ``epoch``, its outer iterations so far,
    which ``--num-epochs`` counts. It may list in ``per_target`` the state that has a row per
    target: targets and these rows are then shared by the ranks.

    A model that must measure its samples before use, such as their mean and spread, does so in
    ``prepare_sampling(*, generator, conditions, log)``. It is called in evaluation mode, without
    gradients, before each checkpoint is written and whenever the model is loaded, with the current
    sampling options in its config. The results belong in buffers, together with the options that
    they were measured for, so that they are not measured twice. ``conditions`` (N, K) are those of
    all training samples, None without any; ``log`` takes a line for the user.
    """


@hookspec(firstresult=True)
def train(run: RunInfo, session: SessionInfo) -> Path:  # type: ignore[empty-body]
    """Train the model of a run and return the run folder, in place of the engine's training loop.

    An implementation may leave out ``session``, which logs text and metrics.

    Example, a model that is fitted in closed form::

        from pgen import hookimpl

        @hookimpl
        def train(run):
            model = run.new_model()
            model.mean.data = run.data.tensor().mean(dim=0)
            run.save_weights(model.state_dict(), step=0)
            return run.folder.path
    """


@hookspec(firstresult=True)
def deploy(run: RunInfo, request: DeployRequest) -> list[Path]:  # type: ignore[empty-body]
    """Write what the trained model is used for into ``request.out`` and return the files.

    The engine writes ``codes.pt`` and reconstructions for a model with ``encode`` and ``decode``,
    ``generator.pt2`` for one with ``noise`` and ``forward``, and all of it for one with all four.
    Example::

        from pgen import hookimpl

        @hookimpl
        def deploy(run, request):
            model = run.load_model(request.checkpoint)
            path = request.out / "mean.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(float(model.mean.mean())))
            return [path]
    """


@hookspec(firstresult=True)
def sample(run: RunInfo, request: SampleRequest) -> Path:  # type: ignore[empty-body]
    """Write ``request.n`` images, in units of charge, to ``request.out`` and return that path.

    The engine draws batches from the model's ``sample`` and inverts the transform. Example::

        from pgen import hookimpl
        from pgen.data import ArrayImages, write_images

        @hookimpl
        def sample(run, request):
            model, to_images = run.load_model(request.checkpoint), run.image_decoder()
            samples = to_images(model.mean.expand(request.n, *model.mean.shape))
            images = ArrayImages(samples.detach().cpu().numpy(), unit=to_images.unit)
            return write_images(request.out, images, overwrite=request.overwrite)
    """


@hookspec
def pgen_metrics() -> list[MetricSpec]:  # type: ignore[empty-body]
    """Describe metrics.

    The package's entry points name the module of this hook, which must not import torch.

    ``pyproject.toml``::

        [project]
        name = "pgen-contrast"
        version = "0.1"
        dependencies = ["pgen-lartpc"]

        [project.entry-points."pgen.metrics"]
        contrast = "pgen_contrast"

    ``pgen_contrast/__init__.py``::

        from pgen import MetricSpec, hookimpl

        @hookimpl
        def pgen_metrics():
            return [
                MetricSpec(
                    name="contrast",
                    summary="Is the brightest pixel as bright?",
                    function="pgen_contrast.metric:contrast",
                )
            ]

    ``pgen_contrast/metric.py``::

        from pgen.metrics import MetricResult, measure

        def contrast(sets):
            def distance(a, b):
                return abs(a.mean() - b.mean())

            brightest = sets.rows(lambda images: images.max(axis=(1, 2, 3)))
            score = measure("brightest pixel", distance, brightest, sets.rng("contrast"))
            return MetricResult("contrast", (score,))

    After ``pip install .`` there is a command ``pgen evaluate contrast``, and ``pgen evaluate all``
    includes it.
    """
