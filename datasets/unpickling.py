"""Arrays and tables out of old pickles, without running anything that a pickle names (datasets room).

A pickle is a program: it names functions, and whoever unpickles it calls them. Data sets of ten years ago are often
pickles all the same. `read_pickle` follows such a program with a table of all it may name (`KNOWN`), each of which is
played by a harmless stand-in of this file; the first other name ends the reading. Neither NumPy's nor pandas' own
unpickling code runs, so the file needs no pandas and no NumPy of its time.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fl_bench.errors import DataError
from fl_bench.limits import refuse_larger

if TYPE_CHECKING:
    from collections.abc import Callable

STORED = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
"""Number formats that are read; text arrays are too, as `U5`."""

PARTS = 2**20
"""Entries of an array of objects."""


class Frame:
    """What a pickled table (pandas' DataFrame) holds."""

    columns: dict[str, np.ndarray]
    """Each column by its name."""

    def __setstate__(self, state: object) -> None:
        manager = state.get("_data", state.get("_mgr")) if isinstance(state, dict) else None
        if not isinstance(manager, _Blocks):
            raise pickle.UnpicklingError("a table holds no blocks")
        self.columns = manager.columns


class _Blocks:
    """pandas' BlockManager: the columns of a table, those of one number format in one array."""

    columns: dict[str, np.ndarray]

    def __setstate__(self, state: Any) -> None:
        try:
            axes, values, items = state[:3]
            names = [[name for name in item if isinstance(name, str)] for item in (axes[0], *items)]
            blocks = [np.atleast_2d(_plain(block)) for block in values]
            columns = dict(
                pair for own, block in zip(names[1:], blocks, strict=True) for pair in zip(own, block, strict=True)
            )
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise pickle.UnpicklingError(f"the blocks of a table do not fit together: {error}") from error
        if sorted(columns) != sorted(names[0]):
            raise pickle.UnpicklingError("the blocks of a table do not hold its columns")
        self.columns = columns


class _Type:
    """NumPy's dtype."""

    def __init__(self, code: object) -> None:
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a number format says no byte order")
        self.order = state[1]

    @property
    def holds_objects(self) -> bool:
        return self.code in ("O8", "O4", "O")

    def numpy(self) -> np.dtype[Any]:
        """The format, if it is one of plain numbers or text."""
        width = self.code[1:]
        if self.code not in STORED and not (self.code[:1] == "U" and width.isdecimal() and len(width) < 6):
            raise pickle.UnpicklingError(f"arrays of {self.code!r} are not read")
        return np.dtype(self.order + self.code)


class _Array:
    """An array before its content is known; `array` when it is."""

    array: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array says too little of itself")
        _, shape, kind, fortran, content = state
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
            raise pickle.UnpicklingError(f"an array has the shape {shape!r}")
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("an array has no number format")
        if kind.holds_objects:
            self.array = _objects(content, shape)
        elif isinstance(content, bytes):
            try:
                flat = np.frombuffer(content, kind.numpy())
                self.array = flat.reshape(shape, order="F" if fortran else "C")
            except ValueError as error:
                raise pickle.UnpicklingError(f"an array does not hold what it declares: {error}") from error
        else:
            raise pickle.UnpicklingError("an array's content is neither bytes nor a list")


def _objects(content: object, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(content, list) or len(content) != prod(shape) or len(content) > PARTS:
        raise pickle.UnpicklingError(f"an array of objects of shape {shape} does not hold so many")
    array = np.empty(len(content), dtype=object)
    for place, entry in enumerate(content):
        array[place] = entry
    return array.reshape(shape)


def _plain(value: Any) -> Any:
    """Stand-ins inside containers replaced by what they stand for."""
    if isinstance(value, _Array):
        if value.array is None:
            raise pickle.UnpicklingError("an array was never filled")
        return value.array
    return value


class _Name:
    """A class that a pickle may name as an argument; it cannot be called, changed or made an instance of."""

    __slots__ = ("_name",)
    _name: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a pickle may not change what it names")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a pickle may not change what it names")


class _Function(_Name):
    """A function that a pickle may call, played by one of ours."""

    def __call__(self, *arguments: Any) -> Any:
        """Play the function of this name."""
        try:
            return PLAYED[self._name](*arguments)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise pickle.UnpicklingError(f"{self._name} is called as nobody calls it") from error


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(encoding)
    return text.encode("latin1")


def _nothing() -> bytes:
    """What `bytes()` is, the content of an empty array."""
    return b""


def _reconstructor(kind: _Name, base: object, state: object) -> Frame | _Blocks:
    made: dict[str, type[Frame] | type[_Blocks]] = {"DataFrame": Frame, "BlockManager": _Blocks}
    return made[kind._name]()


def _new_index(kind: object, state: dict[str, Any]) -> np.ndarray | None:
    """The labels of an axis; None where they are counted, as rows are."""
    return np.asarray(_plain(state["data"])) if "data" in state else None


def _slice(*arguments: object) -> None:
    """Where a block's columns stand in the table: the blocks say their names, which is enough."""


PLAYED: dict[str, Callable[..., Any]] = {
    "_reconstruct": _reconstruct,
    "encode": _encode,
    "bytes": _nothing,
    "dtype": lambda code, *_: _Type(code),
    "_reconstructor": _reconstructor,
    "_new_Index": _new_index,
    "slice": _slice,
}

ARRAYS = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Function("_reconstruct") for core in ("core", "_core")},
    ("numpy", "ndarray"): _Name("ndarray"),
    ("numpy", "dtype"): _Function("dtype"),
    ("_codecs", "encode"): _Function("encode"),
    **{(module, "bytes"): _Function("bytes") for module in ("__builtin__", "builtins")},
}
"""What a pickle of arrays names."""

KNOWN = {
    **ARRAYS,
    **{(module, "_reconstructor"): _Function("_reconstructor") for module in ("copy_reg", "copyreg")},
    **{(module, "object"): _Name("object") for module in ("__builtin__", "builtins")},
    **{(module, "slice"): _Function("slice") for module in ("__builtin__", "builtins")},
    ("pandas.core.frame", "DataFrame"): _Name("DataFrame"),
    ("pandas.core.internals.managers", "BlockManager"): _Name("BlockManager"),
    ("pandas.core.indexes.base", "_new_Index"): _Function("_new_Index"),
    ("pandas.core.indexes.base", "Index"): _Name("Index"),
    ("pandas.core.indexes.range", "RangeIndex"): _Name("RangeIndex"),
}
"""All that a pickle may name: arrays, and tables that pandas wrote from 0.25 on."""


class _Reader(pickle.Unpickler):
    """The standard library's reader, which looks every name up here."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in of a name, or the end of the reading."""
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no data need")
        return KNOWN[module, name]

    def persistent_load(self, pid: object) -> Any:
        """Refuse objects that are kept elsewhere."""
        raise pickle.UnpicklingError("it names objects outside itself")


def read_pickle(content: bytes, what: str) -> Any:
    """Lists, dictionaries, numbers, texts, arrays and `Frame`s of a pickle; tuples and arrays of objects become lists.

    Args:
        content: the pickle.
        what: where it is from, for the error.
    Raises:
        DataError: it is damaged, or names anything but arrays and tables.
    """
    refuse_larger(what, 3 * len(content))  # the text of the bytes, the bytes, the arrays' own copies
    try:
        _check_memo(content)
        return _unwrapped(_Reader(io.BytesIO(content), encoding="latin1").load(), {})
    except Exception as error:  # the reader raises almost anything on a damaged file
        raise DataError(f"{what} cannot be read as plain arrays and tables: {error}") from error


def _check_memo(content: bytes) -> None:
    """Refuse a pickle that remembers something under a number larger than its length: the reader makes room for all."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name == "LONG_BINPUT" and argument is not None and argument > len(content):
            raise pickle.UnpicklingError(f"it remembers a thing number {argument}")


def _unwrapped(value: Any, known: dict[int, Any]) -> Any:
    """Everything inside containers without stand-ins; what several of them hold is looked at once."""
    value = _plain(value)
    if isinstance(value, (_Name, _Type, _Blocks)):
        raise pickle.UnpicklingError("it holds a class or a part of a table by itself")
    if not isinstance(value, (dict, list, tuple, np.ndarray)):
        return value
    if id(value) not in known:
        known[id(value)] = _INSIDE
        known[id(value)] = _contents(value, known)
    if known[id(value)] is _INSIDE:
        raise pickle.UnpicklingError("a container holds itself")
    return known[id(value)]


_INSIDE = object()
"""Stands for a container that is being looked at."""


def _contents(value: dict[Any, Any] | list[Any] | tuple[Any, ...] | np.ndarray, known: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _unwrapped(entry, known) for key, entry in value.items()}
    if not isinstance(value, np.ndarray):
        return [_unwrapped(entry, known) for entry in value]
    if value.dtype != object:
        return value
    entries = [_unwrapped(entry, known) for entry in value.ravel()]
    return entries[0] if value.ndim == 0 else entries
