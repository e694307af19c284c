"""The line that reports targets which transport merges."""

from __future__ import annotations

from collections.abc import Callable

from pgen.ot import Targets


def report_merged(targets: Targets, say: Callable[[str], None]) -> None:
    """Say how many targets share their place with others, if any do."""
    if (duplicates := targets.duplicates) is None:
        return
    count, total = duplicates.repeated, targets.total
    say(
        f"{count:,} of {total:,} targets ({count / total:.1%}) are identical to others, but for rounding; "
        f"they are merged into {duplicates.merged:,}, each with the weight of its copies"
    )
