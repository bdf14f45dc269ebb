"""Records of different protocols (benchmarks room): the newest of each run counts, and a table says what is mixed."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from ..grid.protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..records.record import Record

SHARED = ("data", "rounds")
"""Parts that methods of one comparison share; versions of methods say nothing about each other."""


def newest(records: Sequence[Record]) -> list[Record]:
    """The records without those whose run has one under a newer protocol, whatever its status; their order stays."""
    latest: dict[str, Protocol] = {}
    for record in records:
        latest[record.identity] = max(latest.get(record.identity, Protocol()), record.protocol)
    return [record for record in records if record.protocol == latest[record.identity]]


def superseded(records: Sequence[Record]) -> list[Record]:
    """The records that `newest` leaves out."""
    kept = set(map(id, newest(records)))
    return [record for record in records if id(record) not in kept]


def versions(protocols: Iterable[Protocol]) -> str:
    """The versions that occur: `data 1, rounds 1 and 2, method 1`."""
    parts = _parts(protocols)
    return ", ".join(f"{part} {' and '.join(map(str, sorted(found)))}" for part, found in parts.items())


def left_out(older: Sequence[Record], kept: Sequence[Record]) -> str:
    """How many records are left out for a newer one, in words; nothing where it is none.

    Args:
        older: what `superseded` says.
        kept: the records of a table or of a line.
    """
    runs = {record.identity for record in kept}
    replaced = [record.protocol for record in older if record.identity in runs]
    if not replaced:
        return ""
    return f"left out, as there are runs of a newer protocol: {len(replaced)} of protocol {versions(replaced)}"


def mixture(groups: Mapping[str, Iterable[Protocol]]) -> str:
    """A caution where methods of one table ran under different protocols; nothing where they did not.

    Args:
        groups: for each method the protocols of its runs.
    """
    parts = {name: _parts(protocols) for name, protocols in groups.items()}
    within = {name: found for name, found in parts.items() if any(len(seen) > 1 for seen in found.values())}
    shared = {name: tuple(tuple(sorted(found[part])) for part in SHARED) for name, found in parts.items() if found}
    if not within and len(set(shared.values())) < 2:
        return ""
    said: dict[str, list[str]] = defaultdict(list)
    for name, found in sorted(parts.items()):
        shown = found if name in within else {part: found[part] for part in SHARED if part in found}
        said[", ".join(f"{part} {' and '.join(map(str, sorted(seen)))}" for part, seen in shown.items())].append(name)
    rest = sorted(said, key=lambda words: len(said[words]))
    commonest = rest.pop()
    others = said[commonest][0] if len(said[commonest]) == 1 else "the others" if rest else "all"
    listing = "; ".join([*(f"{', '.join(said[words])}: {words}" for words in rest), f"{others}: {commonest}"])
    return f"caution: runs of different protocols, so that differences may be the code's ({listing})"


def _parts(protocols: Iterable[Protocol]) -> dict[str, set[int]]:
    """The versions of each part that occur."""
    found: dict[str, set[int]] = defaultdict(set)
    for protocol in protocols:
        for part, version in protocol.as_dict().items():
            found[part].add(version)
    return dict(found)
