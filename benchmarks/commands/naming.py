"""Which records the name of a run means (benchmarks room): names of folders, and names as tables show them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError

from ..grid.cell import safe_name
from ..leaderboard.versions import newest
from ..records.reading import read_record
from ..records.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..records.record import Record
    from .filters import Filters

SHOWN = 10
"""Names of records in a message."""


def find_record(name: str, results: Path, filters: Filters | None = None) -> tuple[Record, list[str]]:
    """The record that a name means; of a run with records of several protocols the newest.

    Args:
        name: a record's folder, or what `matching` takes.
        results: where to look.
        filters: which records count.
    Returns:
        The record, and the names of those of older protocols that it was preferred to.

    Raises:
        ConfigError: none or several do.
        DataError: it cannot be read.
    """
    if (Path(name) / "run.json").exists():
        return read_record(Path(name)), []
    store = Store(results)
    names = store.names()
    if not names:
        raise ConfigError(
            f"{results} has no records; name another folder (`fl-bench show {name} FOLDER`), or a record's own"
        )
    hits = matching(name, names)
    if filters:
        hits = [record.name for record in filters.take([store.read(hit) for hit in hits])]
    if len(hits) == 1:
        return store.read(hits[0]), []
    if len({hit.rpartition("-")[0] for hit in hits}) == 1:  # one label and seed
        records = [store.read(hit) for hit in hits]
        kept = newest(records)
        if len(kept) == 1:
            return kept[0], [record.name for record in records if record is not kept[0]]
    shown = "".join(f"\n  {hit}" for hit in sorted(hits)[:SHOWN])
    more = f"\n  and {len(hits) - SHOWN} more" if len(hits) > SHOWN else ""
    raise ConfigError(f"{name!r} is part of {len(hits)} records; write more of the name:{shown}{more}")


def matching(name: str, names: Sequence[str]) -> list[str]:
    """The records that a name means: those whose `dataset/label-seed` it is, else begins, else is a part of.

    A label may be written as tables show it, `digits/fedamp[sigma=1]-0`, or as its folder is called.

    Args:
        name: what was typed.
        names: of all records, `<dataset>/<label>-<seed>-<key>`.
    Raises:
        ConfigError: none does; suggests the nearest.
    """
    spellings = [name, *_spellings(name)]
    tests = (
        lambda full, part: full.startswith(f"{part}-") or full == part,
        lambda full, part: full.startswith(part),
        lambda full, part: part in full,
    )
    for test in tests:
        hits = [full for full in names if any(test(full, part) for part in spellings)]
        if hits:
            return hits
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(sorted(names)[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    raise ConfigError(f"no record is named {name!r}{hint} (known: {known})")


def _spellings(name: str) -> Iterator[str]:
    """What folders may be called that tables show as `name`: a slash may end the data set or belong to a name."""
    label, rest = re.fullmatch(r"(.*?)((?:-\d+(?:-[0-9a-f]*)?)?)", name, re.DOTALL).groups()  # type: ignore[union-attr]  # it takes any text
    yield f"{safe_name(label)}{rest}"
    for slash in re.finditer("/", label):
        yield f"{safe_name(label[: slash.start()])}/{safe_name(label[slash.end() :])}{rest}"
