"""Bundles (benchmarks room): the records of a results folder as one compressed file, `records.tar.xz`.

An ordinary tar archive that any tar reads, with the same bytes for the same records: no times, no owners, members
sorted by file and then by record, which puts what is alike side by side. What was declared of the comparison
(`comparison.json`) comes first, so that it is read without the rest. A bundle is read into memory, never unpacked by
name: what is not a record's file in its place is refused, and so is more than memory is for.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
from typing import TYPE_CHECKING

from fl_bench.errors import DataError
from fl_bench.files import replacing
from fl_bench.limits import BUNDLE_BYTES, BUNDLE_MEMORY, DECLARATION_BYTES

from .texts import FILES, limit_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

SUFFIX = ".tar.xz"
"""How the name of a bundle ends."""

NAME = f"records{SUFFIX}"
"""The bundle of a results folder."""

BESIDE = "comparison.json"
"""What a bundle may hold beside records, as its first member; see `declarations.py`."""

Texts = dict[str, dict[str, str]]
"""Records by name, `<dataset>/<folder>`: the text of each file."""

PART = r"[0-9A-Za-z+=~-][0-9A-Za-z._+=~-]*"
"""A folder of a record as `safe_name` makes them: no separator of any system, nothing hidden."""

MEMBER = re.compile(rf"runs/({PART}/{PART})/({'|'.join(map(re.escape, FILES))})")
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}]
"""For text: contexts of four bits of the byte before, no alignment."""

CHUNK, BUFFER = 2**20, 2**15
"""Bytes that are read at a time, of the file and of the archive in it."""


def is_bundle(path: Path) -> bool:
    """Whether a path names a bundle, by its suffix."""
    return path.name.endswith(SUFFIX)


def state(path: Path) -> object:
    """What changes when a bundle is written anew; None for no bundle."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def read_bundle(path: Path) -> Texts:
    """All records of a bundle, sorted by name.

    Raises:
        DataError: it is damaged, too large, or holds something that is no record.
    """
    texts: Texts = {}
    try:
        with path.open("rb") as packed:
            unpacked = _Unpacked(packed)
            with tarfile.open(fileobj=unpacked, mode="r|", bufsize=BUFFER) as archive:
                for place, member in enumerate(archive):
                    if place == 0 and member.name == BESIDE and member.isreg() and member.size <= DECLARATION_BYTES:
                        continue
                    found = MEMBER.fullmatch(member.name)
                    file = archive.extractfile(member) if found is not None and member.isreg() else None
                    if found is None or file is None:
                        raise DataError(
                            f"{path} holds {member.name!r:.200}, which is no file of a record; restore the bundle"
                        )
                    if member.size > limit_of(found[2]):
                        raise DataError(
                            f"{path} holds {member.name} of {member.size} bytes, more than any record's "
                            f"({limit_of(found[2])}); restore the bundle"
                        )
                    if found[2] in texts.setdefault(found[1], {}):
                        raise DataError(f"{path} holds {member.name} twice; restore the bundle")
                    texts[found[1]][found[2]] = file.read().decode()
            while unpacked.read(CHUNK):  # to the end, where the checksums are
                pass
    except _TooLarge:
        raise DataError(
            f"{path} unpacks to more than {BUNDLE_BYTES} bytes, or needs more than {BUNDLE_MEMORY} to unpack; "
            "unpack it with `tar -xJf` if you trust it, and pack its data sets one by one"
        ) from None
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it") from None
    for name, files in texts.items():
        if missing := [file for file in FILES if file not in files]:
            raise DataError(f"{path} lacks {', '.join(missing)} of {name}; restore the bundle")
    return dict(sorted(texts.items()))


def read_beside(path: Path) -> str | None:
    """What was declared of the comparison of a bundle's records, as it was written; None where nothing was.

    Raises:
        DataError: the beginning of the bundle is damaged.
    """
    try:
        with path.open("rb") as packed, tarfile.open(fileobj=_Unpacked(packed), mode="r|", bufsize=BUFFER) as archive:
            member = archive.next()
            if member is None or member.name != BESIDE or not member.isreg() or member.size > DECLARATION_BYTES:
                return None
            file = archive.extractfile(member)
            return None if file is None else file.read().decode()
    except _TooLarge:
        return None  # whoever reads the records is told
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it") from None


def write_bundle(path: Path, texts: Mapping[str, Mapping[str, str]], beside: str | None = None) -> None:
    """Write records as a bundle, in one step: it is there whole, or as it was.

    Args:
        path: where; its name ends in `.tar.xz`.
        texts: records by name, the text of each file.
        beside: what was declared of their comparison, the text of `comparison.json`.
    Raises:
        StorageError: it cannot be written.
    """
    with (
        replacing(path) as temporary,
        lzma.open(temporary, "wb", format=lzma.FORMAT_XZ, filters=FILTERS) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        if beside is not None:
            _add(archive, BESIDE, beside)
        for file in FILES:
            for name in sorted(texts):
                _add(archive, f"runs/{name}/{file}", texts[name][file])


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


class _TooLarge(Exception):
    """A bundle goes beyond a limit."""


class _Unpacked(io.RawIOBase):
    """What an xz file unpacks to, up to a limit, whatever sizes its headers promise.

    Raises:
        _TooLarge: it is more, or unpacking takes more memory than a bundle of ours.
        EOFError: the file ends too early.
    """

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._unpacker = _unpacker()
        self._left = BUNDLE_BYTES

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, none at the end."""
        if size == 0:
            return b""
        content = b""
        while not content:
            if self._unpacker.eof:
                rest = self._unpacker.unused_data or self._packed.read(CHUNK)
                if not rest.strip(b"\0"):  # streams may follow one another, and be padded with zeros
                    return b""
                self._unpacker = _unpacker()
            else:
                rest = self._packed.read(CHUNK) if self._unpacker.needs_input else b""
                if not rest and self._unpacker.needs_input:
                    raise EOFError("it ends too early")
            try:
                content = self._unpacker.decompress(rest, CHUNK if size < 0 else min(size, CHUNK))
            except lzma.LZMAError as error:
                if "limit" in str(error).lower():
                    raise _TooLarge from None
                raise
        self._left -= len(content)
        if self._left < 0:
            raise _TooLarge
        return content


def _unpacker() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=BUNDLE_MEMORY)
