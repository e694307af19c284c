"""The folder of an evaluation: its default name, and which files in it belong to pgen."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pgen.errors import ConfigError, option
from pgen.utils.drafts import sweep_around
from pgen.utils.files import Outputs, atomic_write, require_folder

#: Main file of each kind of evaluation -> the format named in it, and a pattern for the names of
#: all its files.
KINDS = {
    "results.json": ("pgen-results-1", r"results\.json|report\.html|images(-\d+)?\.csv"),
    "hamming.json": ("pgen-hamming-1", r"hamming\.(json|png)|pairs\.png"),
    "reconstruction.json": ("pgen-reconstruction-1", r"reconstruction\.(json|png)"),
    "cost.json": ("pgen-cost-1", r"cost\.json"),
}
#: Default folder of evaluations, each in a folder of its own.
EVALUATIONS = Path("evaluation")
#: Most characters of a folder's default name.
MAX_NAME = 100


def write_json(path: Path, values: Mapping[str, Any], files: Sequence[str], kind: str | None = None) -> None:
    """Write the main file of an evaluation.

    Args:
        path: The file.
        values: Its content; numbers that are not finite become null, since JSON has none.
        files: Names of the other files of the evaluation.
        kind: A key of KINDS; by default the name of the file.
    """
    content = {"format": KINDS[kind or path.name][0], **_finite(values), "files": [*files, path.name]}
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def default_folder(sources: Iterable[str], *, overwrite: bool) -> Path:
    """Return evaluation/NAME, after the runs or files that are evaluated.

    Without ``overwrite`` it is the first free one of NAME, NAME-2, ...
    """
    names = []
    for source in map(Path, sources):
        file = Path(str(source).partition(":")[0])
        names.append(source.resolve().name if source.is_dir() else file.stem)
    name = re.sub(r"[^\w.+=,@-]+", "_", "+".join(names)[:MAX_NAME]).strip(". ") or "images"
    folder, number = EVALUATIONS / name, 2
    while not overwrite and folder.exists() and not _is_empty(folder):
        folder, number = EVALUATIONS / f"{name}-{number}", number + 1
    return folder


@dataclass(frozen=True)
class EvaluationFolder:
    """Folder into which one evaluation is written.

    An earlier one of the same kind is replaced; other files stay.

    Attributes:
        path: The folder.
        kind: Main file of the evaluation, a key of KINDS.
        overwrite: Whether an earlier evaluation may be replaced.
        again: Function that returns another folder if another process takes this one in the
            meantime; None if the user chose the folder.
    """

    path: Path
    kind: str
    overwrite: bool
    again: Callable[[], Path] | None = None

    @classmethod
    def choose(cls, out: Path | None, sources: Sequence[str], kind: str, *, overwrite: bool) -> EvaluationFolder:
        """Choose the folder ``out``, or the default one for these sources.

        Raises:
            ConfigError: It holds files that may not be replaced.
        """
        again = None if overwrite or out is not None else partial(default_folder, sources, overwrite=False)
        folder = cls(require_folder(out or default_folder(sources, overwrite=overwrite)), kind, overwrite, again)
        sweep_around(folder.path)
        folder.refuse_other_files()
        return folder

    def refuse_other_files(self) -> None:
        """Check that only files of an earlier evaluation are replaced, and only with ``overwrite``.

        Raises:
            ConfigError: Other files would be lost, or the earlier evaluation may not be replaced.
        """
        if not self.path.exists() or _is_empty(self.path):
            return
        out = option("out", self.path)
        evaluations = {kind: files for kind in KINDS if (files := self._files(kind)) is not None}
        if not evaluations:
            first = min(path.name for path in self.path.iterdir())
            raise ConfigError(f"{out}: holds {first}, which is of no evaluation by this pgen; name another folder.")
        if not self.overwrite:
            raise ConfigError(f"{out}: holds an earlier evaluation that would be lost; name another folder or pass {option('overwrite')}.")
        for path in sorted(self.path.iterdir()):
            if re.fullmatch(KINDS[self.kind][1], path.name) and path.name not in evaluations.get(self.kind, ()):
                raise ConfigError(f"{out}: holds {path.name}, which pgen did not write; move it away, or name another folder.")

    def fill(self, write: Callable[[Path], object]) -> list[Path]:
        """Write the files of an evaluation, and put them in place together.

        Args:
            write: Function that writes them into the folder that it is given.

        Returns:
            Where they are now.
        """
        place = self.path
        with Outputs(overwrite=True) as outputs:
            if new := not place.exists():
                draft = outputs.add(self.path, folder=True, alternative=self.again)
                draft.mkdir()
                write(draft)
                names = self._names(draft)
            else:
                draft = outputs.folder(self.path)
                write(draft)
                names = self._names(draft)
                self.refuse_other_files()  # once more, after the time it took
                for name in names[:-1]:
                    outputs.add(self.path / name)
                for name in set(self._files(self.kind) or ()) - set(names):
                    outputs.remove(self.path / name)
                outputs.add(self.path / self.kind)  # last, since it names the others
        if new:
            place = outputs.targets[0]
        return [place / name for name in names]

    def _names(self, draft: Path) -> list[str]:
        return json.loads((draft / self.kind).read_text(encoding="utf-8"))["files"]

    def _files(self, kind: str) -> list[str] | None:
        """Return the names of an earlier evaluation's files; None if there is none of the kind."""
        form, pattern = KINDS[kind]
        try:
            content = json.loads((self.path / kind).read_text(encoding="utf-8"))
            if content["format"] != form:
                return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        # Earlier versions of pgen did not list them.
        names = content.get("files", [path.name for path in self.path.iterdir()])
        return [name for name in names if isinstance(name, str) and re.fullmatch(pattern, name)] if isinstance(names, list) else None


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())
