"""The folder of an evaluation: where it lies, and which files in it are pgen's own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pgen.errors import PgenError
from pgen.utils.drafts import sweep_around
from pgen.utils.files import Outputs, atomic_write, require_folder

#: Of each kind of evaluation the file that tells of it, the format named there, and the names that its files may have.
KINDS = {
    "results.json": ("pgen-results-1", r"results\.json|report\.html|images(-\d+)?\.csv"),
    "hamming.json": ("pgen-hamming-1", r"hamming\.(json|png)|pairs\.png"),
    "reconstruction.json": ("pgen-reconstruction-1", r"reconstruction\.(json|png)"),
    "cost.json": ("pgen-cost-1", r"cost\.json"),
}
#: Where evaluations lie by default, each in a folder of its own.
EVALUATIONS = Path("evaluation")
#: Characters that the name of a folder is cut to.
LONGEST = 100


def write_json(path: Path, values: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write the file that tells of an evaluation, with its format and the names of the other ``files`` that belong to it.

    Numbers that are not finite become null, since JSON has none.
    """
    content = {"format": KINDS[path.name][0], **_finite(values), "files": [*files, path.name]}
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def default_folder(sources: Iterable[str], *, overwrite: bool) -> Path:
    """evaluation/NAME, after the runs or files that are evaluated; without ``overwrite`` the first free one of NAME, NAME-2, ..."""
    names = []
    for source in map(Path, sources):
        place = Path(str(source).partition(":")[0])
        names.append(source.resolve().name if source.is_dir() else place.stem)
    name = re.sub(r"[^\w.+=,@-]+", "_", "+".join(names)[:LONGEST]).strip(". ") or "images"
    folder, number = EVALUATIONS / name, 2
    while not overwrite and folder.exists() and not _is_empty(folder):
        folder, number = EVALUATIONS / f"{name}-{number}", number + 1
    return folder


@dataclass(frozen=True)
class EvaluationFolder:
    """Where one evaluation is written. An earlier one of the same kind is replaced, other files in the folder stay.

    kind: the file that tells of the evaluation, a key of KINDS. overwrite: whether an earlier evaluation may be replaced. again: gives
    another folder, should another process have taken this one; None where the user has chosen it.
    """

    path: Path
    kind: str
    overwrite: bool
    again: Callable[[], Path] | None = None

    @classmethod
    def choose(cls, out: Path | None, sources: Sequence[str], kind: str, *, overwrite: bool) -> EvaluationFolder:
        """The folder ``out``, or the default one for these sources. UserError where it holds what may not be replaced."""
        again = None if overwrite or out is not None else partial(default_folder, sources, overwrite=False)
        folder = cls(require_folder(out or default_folder(sources, overwrite=overwrite)), kind, overwrite, again)
        sweep_around(folder.path)
        folder.refuse_other_files()
        return folder

    def refuse_other_files(self) -> None:
        """UserError where files would be lost that are not of an earlier evaluation, or where that may not be replaced."""
        if not self.path.exists() or _is_empty(self.path):
            return
        evaluations = {kind: files for kind in KINDS if (files := self._files(kind)) is not None}
        if not evaluations:
            first = min(path.name for path in self.path.iterdir())
            raise PgenError(f"--out {self.path}: holds {first}, which is of no evaluation by this pgen; name another folder.")
        if not self.overwrite:
            raise PgenError(f"--out {self.path}: holds an earlier evaluation that would be lost; name another folder or pass --overwrite.")
        for path in sorted(self.path.iterdir()):
            if re.fullmatch(KINDS[self.kind][1], path.name) and path.name not in evaluations.get(self.kind, ()):
                raise PgenError(f"--out {self.path}: holds {path.name}, which pgen did not write; move it away, or name another folder.")

    def fill(self, write: Callable[[Path], object]) -> list[Path]:
        """Have ``write`` make the files of an evaluation in a folder, and put them in their place together; where they lie then."""
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
        """The files of an earlier evaluation of a kind; None where there is none."""
        form, pattern = KINDS[kind]
        try:
            content = json.loads((self.path / kind).read_text(encoding="utf-8"))
            if content["format"] != form:
                return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        # One by an earlier version of pgen does not list them.
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
