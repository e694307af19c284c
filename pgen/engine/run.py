"""A run: the folder, the plug-in and its options, opened to train, deploy or sample."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import pgen
from pgen.data.source import open_images
from pgen.engine import checkpoint as checkpoints
from pgen.engine import defaults
from pgen.engine.answers import check_samples
from pgen.engine.conditions import Asked, load_labels, save_labels
from pgen.engine.data import TrainingData, open_held_out, open_training_data
from pgen.engine.device import choose_device
from pgen.engine.folder import RunFolder
from pgen.engine.images import ToImages, to_images_for
from pgen.engine.ranks import Ranks
from pgen.engine.reporter import Reporter
from pgen.engine.seeds import derive
from pgen.engine.settings import TrainSettings
from pgen.engine.sinks import Sink
from pgen.engine.weights import load_module, load_state, read_header, save_weights
from pgen.errors import UserError, described, flag, listed, problems
from pgen.files import atomic
from pgen.plugins import registry
from pgen.plugins.contract import DataInfo, ModelConfig
from pgen.plugins.registry import Plugin

UNSIGNED = "warning: negative charge counts as 0: a version of pgen began this run that knew no signed charge; begin a new run to keep it"


@dataclass
class Run:
    """One model with its options and its folder. ``data``, ``to_images`` and ``new_model`` are made when first asked for.

    ranks: the processes that train it together. profile: whether to look where the time goes. stopped_by: number of the signal that ended
    training early, or None. sinks: where metrics go besides the run folder. wanted: what samples are to be
    of, by condition (:meth:`ask`).
    """

    folder: RunFolder
    plugin: Plugin
    settings: TrainSettings
    config: ModelConfig
    device: torch.device
    reporter: Reporter = field(default_factory=Reporter)
    ranks: Ranks = field(default_factory=Ranks)
    profile: bool = False
    stopped_by: int | None = None
    sinks: list[Sink] = field(default_factory=list)
    wanted: Mapping[str, str] = field(default_factory=dict)

    def mend_folder(self) -> None:
        """Make the run folder again, should someone have removed it while the run goes on. UserError where another lies in its place."""
        if not self.folder.is_in_place():
            self.folder.path.mkdir(parents=True, exist_ok=True)
            self.folder.claim()
            self.fill(self.folder)
            self.say(f"{self.folder.path} had been removed, and was made again")

    @classmethod
    def open(cls, path: str | Path, *, device: torch.device | None = None, reporter: Reporter | None = None) -> Run:
        """The run in a folder, with the options that it was trained with, on ``device`` (None: the one that it was trained on)."""
        folder = RunFolder.open(path)
        saved = folder.read_config()
        plugin = registry.load(saved["model"])
        config = plugin.options(saved["config"], folder.config)
        try:
            settings = TrainSettings.model_validate(saved["settings"])
            DataInfo.from_dict(saved["data"])
        except (ValueError, KeyError, TypeError) as error:
            reason = described(error)
            raise UserError(f"{folder.config} does not fit pgen {pgen.__version__}: {reason}. Install the version it came from.") from error
        device = device or choose_device(settings.device, settings.gpu)
        return cls(folder, plugin, settings, config, device, reporter or Reporter())

    def fill(self, folder: RunFolder) -> None:
        """Write what makes a folder a run, before it is trained."""
        if (decoder := self.data.decoder()) is not None:
            with atomic(folder.decoder) as draft:
                shutil.copyfile(decoder, draft)
        if self.info.conditions:
            save_labels(folder.labels, self.info.conditions, self.data.samples.labels)
        folder.write_config(self.facts())

    def facts(self) -> dict[str, Any]:
        """What config.json holds."""
        versions = {"pgen": pgen.__version__, "torch": torch.__version__, "numpy": numpy.__version__, "python": platform.python_version()}
        entry = self.plugin.entry
        return {
            "model": entry.name,
            "plugin": {"distribution": entry.distribution, "version": entry.version},
            "settings": self.settings.model_dump(mode="json"),
            "config": self.config.model_dump(mode="json"),
            "data": self.info.to_dict(),
            "held_out": self.held_out_fingerprint,
            "ranks": self.ranks.count,
            "versions": versions,
        }

    def say(self, text: str) -> None:
        """A line for the log and for the user, of the first rank."""
        if self.ranks.rank == 0:
            self.mend_folder()
            self.folder.append_log(text)
            self.reporter.message(text)

    def record(self, step: int, values: dict[str, Any]) -> None:
        """Metrics after ``step`` steps, to wherever they are kept, by the first rank."""
        if self.ranks.rank == 0:
            self.mend_folder()
            self.folder.append_metrics({"step": step, **values})
            for sink in self.sinks:
                sink.scalars(step, values)

    @cached_property
    def data(self) -> TrainingData:
        """The training data. UserError where they are no longer what the run began with."""
        data = open_training_data(self.settings, self.plugin.spec, self.ranks.count)
        if self.folder.config.is_file() and data.info.fingerprint != self.info.fingerprint:
            raise UserError(
                f"{data.info.name} has changed since {self.folder.path} was trained on it; restore the data or start a new run."
            )
        if not self.folder.config.is_file():
            return data
        # The transform is the run's own: of a run of an earlier version it is unsigned, whatever the data hold.
        return replace(data, info=self.info, notes=data.notes if data.info.signed == self.info.signed else (UNSIGNED,))

    @cached_property
    def held_out(self) -> TrainingData | None:
        """The held-out data that the model looks at. UserError where they are those trained on."""
        return open_held_out(self.settings, self.info, self.ranks.count)

    @cached_property
    def held_out_fingerprint(self) -> str | None:
        """Of the held-out data by which checkpoints are judged, whoever looks at them."""
        settings = self.settings
        if settings.held_out is None or self.held_out is not None:
            return self.held_out.info.fingerprint if self.held_out else None
        return open_images(settings.held_out, data_root=settings.data_root, max_skipped=settings.max_skipped).fingerprint

    @cached_property
    def info(self) -> DataInfo:
        """Facts of the training data, as config.json keeps them."""
        return DataInfo.from_dict(self.folder.read_config()["data"])

    def new_model(self, info: DataInfo | None = None) -> nn.Module:
        """The untrained model on the run's device. Its first weights follow from the seed, whatever was drawn before."""
        torch.manual_seed(derive(self.settings.seed, "init"))
        return self.plugin.model_class()(self.config, info or self.info).to(self.device)

    def load_model(self, checkpoint: str = "best") -> nn.Module:
        """The trained model in evaluation mode: ``best``, ``last``, or a step that has a checkpoint; followed by ``:raw``, with the weights
        themselves where a run keeps a running average of them."""
        return self.load(checkpoint)[0]

    def load(self, checkpoint: str = "best") -> tuple[nn.Module, int]:
        """:meth:`load_model`, and after how many steps the model was so."""
        which, colon, raw = checkpoint.partition(":")
        if which == "best" and not colon:
            model, header = load_module(self.folder.weights, {name: getattr(self.config, name) for name in self.config.sampling})
            return model.to(self.device), header.step
        if (which not in ("best", "last") and not which.isdecimal()) or (colon and raw != "raw"):
            has = listed(checkpoints.steps(self.folder))
            raise UserError(f"--checkpoint {checkpoint}: wanted best, last or a step, perhaps with :raw; {self.folder.path} has {has}.")
        step = read_header(self.folder.weights).step if which == "best" else None if which == "last" else int(which)
        state = checkpoints.load(self.folder, step)
        model = self.new_model()
        load_state(model, state.model if raw else state.in_use, checkpoints.path_of(self.folder, state.step))
        return model.eval(), state.step

    def save_weights(self, state: dict[str, Any], step: int, path: Path | None = None) -> None:
        """Write a model's state as a weights file: all that is needed to use the model."""
        save_weights(
            path or self.folder.weights,
            state,
            model=self.plugin.spec.name,
            config=self.config,
            data=self.info,
            step=step,
            guard=self.folder.is_in_place,
        )

    def to_images(self, decoder: str | None = None) -> ToImages:
        """The way from model space to charge units, on the run's device."""
        return to_images_for(self.info, self.folder.decoder, decoder).to(self.device)

    def ask(self, given: Mapping[str, str]) -> None:
        """Take in what samples are to be of (``type`` to ``proton``), and how they are to be made: the model's options of
        sampling. UserError for anything else."""
        conditions = [condition.name for condition in self.info.conditions]
        if strange := [flag(name) for name in given if name not in (*conditions, *self.config.sampling)]:
            takes = ", ".join(map(flag, (*conditions, *self.config.sampling))) or "none"
            raise UserError(f"{', '.join(strange)}: no such option; those that {self.folder.path} adds: {takes}.")
        options = {name: value for name, value in given.items() if name not in conditions}
        try:
            self.config = type(self.config).model_validate({**self.config.model_dump(), **options})
        except ValidationError as error:
            raise UserError("; ".join(problems(error)) + ".") from error
        self.wanted = {name: value for name, value in given.items() if name in conditions}

    def asked(self) -> Asked | None:
        """What samples are made for; None for a model without conditions."""
        conditions = self.info.conditions
        if not conditions:
            return None
        return Asked.of(conditions, load_labels(self.folder.labels, conditions), self.wanted, self.reporter.message)

    @torch.no_grad()
    def draw(self, model: nn.Module, n: int, generator: torch.Generator, condition: Tensor | None = None) -> Tensor:
        """n samples in model space, for ``condition`` (n, K) where the model has conditions. UserError for a model that cannot sample."""
        if not callable(getattr(model, "sample", None)):
            name = self.plugin.spec.name
            raise UserError(
                f"{self.folder.path} holds {name!r}, which generates nothing; deploy it, then `pgen train ewm --targets codes.pt`."
            )
        told = {} if condition is None else {"condition": condition}
        samples = model.sample(n, generator=generator, **told)  # type: ignore[operator]
        check_samples(self.plugin, samples, n, self.info.shape)
        return samples

    def hooks(self) -> Any:
        """The plug-in's hooks, with the engine's own behind them for those it does not have."""
        if not self.plugin.manager.has_plugin("engine"):
            self.plugin.manager.register(defaults, name="engine")
        return self.plugin.manager.hook
