"""What rows and columns of an image are, by what a file says or their sizes suggest."""

from __future__ import annotations

#: By number of wires of a plane: the detectors. A size proves nothing, it is a hint.
WIRES = {
    240: "ArgoNeuT or LArIAT",
    800: "ProtoDUNE-SP or DUNE",
    952: "ProtoDUNE-VD",
    960: "ProtoDUNE-SP or DUNE",
    1056: "ICARUS",
    1168: "ProtoDUNE-VD",
    1664: "SBND",
    1984: "SBND",
    2112: "ICARUS",
    2400: "MicroBooNE",
    2560: "ProtoDUNE-SP or DUNE",
    3456: "MicroBooNE",
    5600: "ICARUS",
}
#: Images are often padded to a multiple of PADDED, by at most the fraction PADDING of their size.
PADDED, PADDING = 64, 0.04


def wires_hint(size: int) -> str:
    """Name the detector with ``size`` wires in a plane, possibly padded; empty if there is none."""
    if size in WIRES:
        return f"{size} is the number of wires of a plane of {WIRES[size]}"
    near = [wires for wires in WIRES if (1 - PADDING) * size <= wires < size and size % PADDED == 0]
    return f"{size} could hold the {near[-1]} wires of a plane of {WIRES[near[-1]]}" if near else ""


def larcv3_axes(size: tuple[int, int], *, transposed: bool) -> dict[str, str]:
    """Describe rows and columns of a LArCV3 file, whose writers differ in the order of axes.

    Args:
        size: (rows, columns) as they are read.
        transposed: Whether the axes are swapped.
    """
    row_hint, column_hint = map(wires_hint, size)
    rows, columns = "assumed to be ticks", "assumed to be wires"
    if column_hint and not row_hint:
        columns += f": {column_hint}"
    elif row_hint and not column_hint:
        rows += f", but {row_hint}: if rows are wires, " + ("leave transpose out" if transposed else "add transpose=true")
    else:
        rows += "; LArCV3 files do not say, and transpose=true swaps them"
    order = "axes as transpose=true turns them" if transposed else "axes as in the file"
    return {"layout": f"events, planes, rows, columns; {order}", "rows": rows, "columns": columns}


def larcv_root_axes(version: int, unit: int | None, tick_order: str | None) -> dict[str, str]:
    """Describe rows and columns of a LArCV1 or LArCV2 file, whose images are stored by columns.

    Args:
        version: 1 or 2.
        unit: Unit in the file; 1 is cm.
        tick_order: The option, for LArCV1.
    """
    layout = "events, planes, rows, columns"
    if version == 2 and unit == 1:
        return {"layout": layout, "rows": "positions in cm (the unit in the file)", "columns": "positions in cm (the unit in the file)"}
    rows = "ticks, by LArCV's convention"
    if version == 1:
        rows += f", in {tick_order or 'forward'} order (option tick_order; the file does not say)"
    return {"layout": layout, "rows": rows, "columns": "wires, by LArCV's convention"}
