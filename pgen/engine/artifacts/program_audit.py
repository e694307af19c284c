"""Security check of a generator.pt2 before torch reads it.

torch unpickles parts of such a file, evaluates others and may load libraries. A file from a
stranger may contain none of these.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import torch

from pgen.utils.untrusted import load_torch, refuse_odd_archive

#: Names of archive members: raw tensors, and small files that torch and pgen write.
_RAW = re.compile(r"data/(weights/weight|constants/tensor)_[0-9]+")
_SMALL = re.compile(r"(\.data/)?(version|byteorder|serialization_id)|archive_(format|version)|extra(_files)?/pgen\.json")
#: Without brackets, quotes and spaces, nothing can be evaluated.
_HARMLESS = re.compile(r"[\w.+:-]*")
#: Nesting of arguments, as JSON of plain containers.
_NESTING = re.compile(r'[\w\s\[\]{}",:.]*')
#: Operations: torch's ATen, and arithmetic of sizes.
_TARGET = re.compile(r"torch\.ops\.aten\.\w+(\.\w+)?|_operator\.(add|mul|sub|floordiv|getitem|ge|le|eq|gt|lt)|")
#: Guard that noise and conditions have the same batch size.
_GUARD = re.compile(r"L\['(noise|condition)'\]\.size\(\)\[0\] == L\['(noise|condition)'\]\.size\(\)\[0\]|")
#: Tokens of sizes that depend on the batch size. No powers, which could take forever.
_SIZE = re.compile(
    r"Symbol|Integer|Mul|Add|FloorDiv|Mod|True|positive|integer|'?[su]\d{1,9}\b'?|\b\d{1,18}\b|(?<!\*)\*(?!\*)|[(),= +-]", re.ASCII
)
_LONGEST_SIZE = 500


def check_program(path: Path) -> None:
    """Check that a file holds only tensors and a graph of torch's operations.

    Raises:
        ValueError: It holds more than that. A damaged file raises errors of zipfile, json or torch.
    """
    refuse_odd_archive(path)
    # With torch's own reader, so that what is checked is what torch will read.
    archive = torch._C.PyTorchFileReader(str(path))
    for name in archive.get_all_records():
        if _RAW.fullmatch(name) or _SMALL.fullmatch(name):
            continue
        if name.endswith(".json"):
            _check_text(json.loads(archive.get_record(name)), "")
        elif name.endswith(".pt"):
            load_torch(io.BytesIO(archive.get_record(name)))  # torch unpickles what is not plain
        else:
            raise ValueError(f"it holds {name!r}, which pgen does not write")


def _check_text(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, part in value.items():
            _check_text(name, "")
            _check_text(part, name)
    elif isinstance(value, list):
        for part in value:
            _check_text(part, key)
    elif key == "use_pickle" and value:
        raise ValueError("it holds pickled objects")
    elif isinstance(value, str) and not _is_allowed(value, key):
        raise ValueError(f"its {key or 'text'} {value[:60]!r} is nothing that pgen writes")


def _is_allowed(value: str, key: str) -> bool:
    if key == "expr_str":
        return len(value) <= _LONGEST_SIZE and not _SIZE.sub("", value)
    pattern = {"in_spec": _NESTING, "out_spec": _NESTING, "target": _TARGET, "guards_code": _GUARD}.get(key, _HARMLESS)
    return pattern.fullmatch(value) is not None
