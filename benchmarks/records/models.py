"""The file of models that a run kept (benchmarks room): safetensors beside its record, read without executing anything.

    <n: 8 bytes, little endian> <n bytes of JSON: type, shape and place of each array, and what they are> <the arrays>

That is the format of the package safetensors, which reads these files, too. Arrays are stacked: `<architecture>/<name>`
has a row for each model of the architecture, so that one model is read without the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from fl_bench.errors import ConfigError, DataError
from fl_bench.lazy import np
from fl_bench.limits import MODEL_BYTES, MODELS_HEADER

from ...federation.kept import Kept, KeptAbout
from ..grid.configure import configure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from .record import Record

MODELS = "models.safetensors"
"""The file, in the folder of a record."""

TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
"""Number formats that models have, and NumPy's names of them."""

VERSION = 1
"""Of what the file says of the arrays."""

CHUNK = 2**24
"""Bytes that are looked through at a time."""


class Place(NamedTuple):
    """Where an array is in a file."""

    kind: np.dtype[Any]
    shape: tuple[int, ...]
    first: int
    """Its first byte, behind the header."""


@dataclass(frozen=True)
class Models:
    """A file of models: what it says of them; arrays are read when they are asked for."""

    path: Path
    about: KeptAbout
    arrays: dict[str, Place]
    """Where each is, by name."""
    sha256: str
    """Of all arrays, one behind the other."""
    begin: int
    """Where the arrays begin."""

    def of_client(self, client: int) -> tuple[str, dict[str, np.ndarray]]:
        """The architecture of a client, and the weights of the model that it deploys.

        Raises:
            ConfigError: there is no such client.
            DataError: the file cannot be read, or the model is too large.
        """
        architecture, row = self.about.of_client(client)
        start = f"{architecture}/"
        own = {name.removeprefix(start): place for name, place in self.arrays.items() if name.startswith(start)}
        size = sum(place.kind.itemsize * prod(place.shape[1:]) for place in own.values())
        if size > MODEL_BYTES:
            raise DataError(f"{self.path} has a model of {size} bytes; {MODEL_BYTES} are the most")
        with _reading(self.path) as file:
            return architecture, {name: self._row(file, place, row) for name, place in own.items()}

    def _row(self, file: BinaryIO, place: Place, row: int) -> np.ndarray:
        """A row of a stacked array."""
        size = place.kind.itemsize * prod(place.shape[1:])
        file.seek(self.begin + place.first + row * size)
        return np.frombuffer(bytearray(file.read(size)), dtype=place.kind).reshape(place.shape[1:])

    def check(self) -> None:
        """Make sure that every byte is as it was written.

        Raises:
            DataError: one is not, or the file cannot be read.
        """
        digest = hashlib.sha256()
        with _reading(self.path) as file:
            file.seek(self.begin)
            while part := file.read(CHUNK):
                digest.update(part)
        if digest.hexdigest() != self.sha256:
            raise DataError(f"{self.path} has weights that are not those that were written; restore or remove it")


def models_of(record: Record) -> Path | None:
    """The file of a record's models; None where its run kept none, or it is in a bundle, which has no models."""
    path = record.folder / MODELS
    return path if record.packed is None and os.path.lexists(path) else None


def write_models(path: Path, kept: Kept) -> None:
    """Write a file of models, and wait until the disk has it.

    Raises:
        OSError: the disk does not take it.
    """
    codes = {np.dtype(name): code for code, name in TYPES.items()}
    stacked = {f"{name}/{key}": array for name, tree in kept.weights.items() for key, array in tree.items()}
    arrays = {name: stacked[name] for name in sorted(stacked, key=lambda name: (-stacked[name].dtype.itemsize, name))}
    digest, header, place = hashlib.sha256(), {}, 0
    for name, array in arrays.items():
        digest.update(_bytes(array))
        offsets = [place, place + array.nbytes]
        header[name] = {"dtype": codes[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        place += array.nbytes
    about = {"version": VERSION, "sha256": digest.hexdigest(), "about": asdict(kept.about)}
    text = json.dumps({"__metadata__": {"fl_bench": json.dumps(about)}, **header}).encode()
    text += b" " * (-len(text) % 8)  # arrays begin at a multiple of eight
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(_bytes(array))
        file.flush()
        os.fsync(file.fileno())


def read_models(path: Path) -> Models:
    """What a file of models says of itself; every array is where it must be, and nothing else is in the file.

    Raises:
        DataError: it is missing, no ordinary file, or no file of models that a run kept.
    """
    with _reading(path) as file:
        whole = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MODELS_HEADER, whole - 8):
            raise DataError(f"{path} is no file of models: its header would have {length} bytes; restore or remove it")
        text = file.read(length)
    try:
        header = json.loads(text)
        said = json.loads(header.pop("__metadata__")["fl_bench"])
        version = said["version"]
        about = configure(KeptAbout, said["about"], "about") if version == VERSION else None
        sha256 = str(said["sha256"])
    except ConfigError as error:
        raise DataError(f"{path} says of its models what cannot be ({error}); restore or remove it") from None
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise DataError(f"{path} does not say what models it has; restore or remove it") from None
    if about is None:
        raise DataError(f"{path} has version {version!r:.20}, this fl-bench reads {VERSION}: update fl-bench")
    models = Models(path, about, _arrays(header, path, whole - 8 - length), sha256, 8 + length)
    for name, nets in about.nets.items():
        rows = {place.shape[:1] for key, place in models.arrays.items() if key.startswith(f"{name}/")}
        if len(rows) != 1 or rows == {()} or max(nets.models, default=0) >= min(rows)[0]:
            raise DataError(f"{path} lacks models of {name}; restore or remove it")
    return models


def _arrays(header: dict[str, Any], path: Path, size: int) -> dict[str, Place]:
    """Where all arrays are, which fill the rest of a file without gaps.

    Raises:
        DataError: they do not.
    """
    arrays, ends = {}, []
    for name, one in header.items():
        try:
            kind, shape, (first, end) = np.dtype(TYPES[one["dtype"]]), tuple(one["shape"]), one["data_offsets"]
            sound = all(type(number) is int and number >= 0 for number in (*shape, first, end))
            sound = sound and first <= end <= size and end - first == kind.itemsize * prod(shape)
        except (LookupError, TypeError, ValueError):
            sound = False
        if not sound:
            raise DataError(f"{path} does not say where {name!r:.80} is; restore or remove it")
        arrays[name] = Place(kind, shape, first)
        ends.append((first, end))
    places = sorted(ends)
    if [first for first, _ in places] + [size] != [0, *(end for _, end in places)]:
        raise DataError(f"{path} has gaps between its arrays, or bytes behind them; restore or remove it")
    return arrays


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """A file to read, an ordinary one.

    Raises:
        DataError: it is none, or the disk does not give it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would have us wait for ever
            raise DataError(f"{path} is no ordinary file; restore or remove it")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}); restore or remove it") from None


def _bytes(array: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, least first."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data
