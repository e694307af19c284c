"""Report: the base class of results that are shown as tables and written into a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from pgen.report.report_directory import EvaluationFolder
from pgen.report.tables import Table


class Report:
    """Results that a script, a notebook or a terminal shows as tables.

    Attributes:
        kind: Main file of the evaluation, a key of :data:`pgen.report.report_directory.KINDS`.
    """

    kind: ClassVar[str]

    def tables(self) -> list[Table]:
        """Return what to show."""
        raise NotImplementedError

    def write(self, folder: Path) -> object:
        """Write all files into a folder."""
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write all files into the folder ``path``, together or not at all.

        Args:
            path: The folder, new or empty, or one with an earlier evaluation.
            overwrite: Whether an earlier evaluation may be replaced.

        Returns:
            The files written.

        Raises:
            ConfigError: The folder has files that may not be replaced.
        """
        return EvaluationFolder.choose(Path(path), [], self.kind, overwrite=overwrite).fill(self.write)

    def __repr__(self) -> str:
        return "\n\n".join(map(str, self.tables()))

    def _repr_html_(self) -> str:
        """Return the tables as HTML, as notebooks show them."""
        return "".join(table._repr_html_() for table in self.tables())
