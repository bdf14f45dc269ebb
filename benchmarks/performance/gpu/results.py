"""Files of the parts that were measured on a card (benchmarks room)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from ..measure import Row


def read(out: Path, part: str) -> dict[str, Any] | None:
    """The file of a part; None where there is none."""
    place = out / f"{part}.json"
    return None if not place.exists() else dict(json.loads(place.read_text()))


def rows_of(out: Path, part: str, size: str) -> list[Row]:
    """What a part measured at one size; nothing where it was not run, or failed."""
    found = read(out, part)
    return list(found.get("rows", [])) if found and found["size"] == size else []


def state(out: Path, part: str) -> str | None:
    """Whether a part is `done` or `failed`, on what and how long it took; None where it was not run."""
    found = read(out, part)
    if found is None:
        return None
    how = f"{found['machine']['gpu'] or 'on a CPU'}, {found['size']}, {found['minutes']:.2g} min"
    if "error" in found:
        return f"failed ({how}): {found['error'].strip().splitlines()[-1]}"
    return f"done ({how})"
