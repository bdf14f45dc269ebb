"""Bundles (benchmarks room): the records of a results folder as one compressed file, `records.tar.xz`.

An ordinary tar archive that any tar reads, with the same bytes for the same records: no times, no owners, members
sorted by file and then by record, which puts what is alike side by side. It is read into memory, never unpacked by
name: what is not a record's file in its place is refused.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
from typing import TYPE_CHECKING

from fl_bench.errors import DataError
from fl_bench.files import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIX = ".tar.xz"
"""How the name of a bundle ends."""

NAME = f"records{SUFFIX}"
"""The bundle of a results folder."""

FILES = ("run.json", "rounds.csv", "clients.csv")
"""What a record consists of."""

Texts = dict[str, dict[str, str]]
"""Records by name, `<dataset>/<folder>`: the text of each file."""

MEMBER = re.compile(rf"runs/([^/.][^/]*/[^/.][^/]*)/({'|'.join(map(re.escape, FILES))})")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]
"""For text: contexts of four bits of the byte before, no alignment."""


def is_bundle(path: Path) -> bool:
    """Whether a path names a bundle, by its suffix."""
    return path.name.endswith(SUFFIX)


def read_bundle(path: Path) -> Texts:
    """All records of a bundle, sorted by name.

    Raises:
        DataError: it is damaged, or holds something that is no record.
    """
    texts: Texts = {}
    try:
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                found = MEMBER.fullmatch(member.name)
                file = archive.extractfile(member) if found is not None and member.isfile() else None
                if found is None or file is None:
                    raise DataError(f"{path} holds {member.name!r}, which is no file of a record; restore the bundle")
                texts.setdefault(found[1], {})[found[2]] = file.read().decode()
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it") from None
    for name, files in texts.items():
        if missing := [file for file in FILES if file not in files]:
            raise DataError(f"{path} lacks {', '.join(missing)} of {name}; restore the bundle")
    return dict(sorted(texts.items()))


def write_bundle(path: Path, texts: Mapping[str, Mapping[str, str]]) -> None:
    """Write records as a bundle, in one step: it is there whole, or as it was.

    Args:
        path: where; its name ends in `.tar.xz`.
        texts: records by name, the text of each file.
    Raises:
        StorageError: it cannot be written.
    """
    with (
        replacing(path) as temporary,
        lzma.open(temporary, "wb", format=lzma.FORMAT_XZ, filters=FILTERS) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in FILES:
            for name in sorted(texts):
                content = texts[name][file].encode()
                member = tarfile.TarInfo(f"runs/{name}/{file}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
