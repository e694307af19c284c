"""A small run of a built-in model, trained in this process, without pictures."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from pgen.engine import hooks
from pgen.engine.config import TrainConfig, validate_options
from pgen.engine.run import Run
from pgen.engine.training.setup import create_run
from pgen.plugins import registry


def trained(model: str, source: Path | str, root: Path, **options: object) -> Run:
    """The run, opened anew, of ``model`` with ``options``, in ``root``; on images, or on targets where it wants such."""
    plugin = registry.load(model)
    given = {
        "data" if plugin.spec.inputs == "images" else "targets": str(source),
        "save_root": str(root),
        "sample_size": 0,
        **options,
    }
    settings, config = validate_options([(TrainConfig, dict(plugin.spec.settings)), (plugin.config_class(), {})], given)
    session = create_run(model, settings, config)  # type: ignore[arg-type]
    with patch("pgen.engine.training.previews.draw"):  # which would take longer than all else
        hooks.train_session(session)
    return Run.open(session.run.folder.path)
