"""Pickles as Python, NumPy and pandas of 2020 wrote them, put together operation by operation; nothing is pickled."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

NONE = b"N"


def named(module: str, name: str) -> bytes:
    """A function or class by its name."""
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    """A text."""
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def whole(value: int) -> bytes:
    """A whole number."""
    return f"I{value}\n".encode()


def pair(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def listed(*items: bytes) -> bytes:
    """A list."""
    return b"(" + b"".join(items) + b"l"


def mapped(*items: tuple[bytes, bytes]) -> bytes:
    """A dictionary."""
    return b"(" + b"".join(key + value for key, value in items) + b"d"


def called(function: bytes, *arguments: bytes) -> bytes:
    """What a function returns."""
    return function + pair(*arguments) + b"R"


def filled(made: bytes, state: bytes) -> bytes:
    """An object with its state."""
    return made + state + b"b"


def array(values: np.ndarray) -> bytes:
    """An array of numbers, texts or objects (whose entries are pickles)."""
    encode, code = named("_codecs", "encode"), values.dtype.str[1:]
    empty = called(
        named("numpy.core.multiarray", "_reconstruct"),
        named("numpy", "ndarray"),
        pair(whole(0)),
        called(encode, text("b"), text("latin1")),
    )
    if values.dtype == object:
        code, order, content = "O8", "|", listed(*values.ravel().tolist())
    else:
        order = values.dtype.str[0]
        content = called(encode, text(values.tobytes().decode("latin1")), text("latin1"))
    kind = filled(
        called(named("numpy", "dtype"), text(code), whole(0), whole(1)),
        pair(whole(3), text(order), NONE, NONE, NONE, whole(-1), whole(-1), whole(0)),
    )
    return filled(empty, pair(whole(1), pair(*map(whole, values.shape)), kind, b"I00\n", content))


def objects(*entries: bytes) -> bytes:
    """An array of objects."""
    holder = np.empty(len(entries), dtype=object)
    holder[:] = entries
    return array(holder)


def bare(module: str, name: str) -> bytes:
    """An object of a class before its state is known."""
    reconstructor = named("copy_reg", "_reconstructor")
    return called(reconstructor, named(module, name), named("__builtin__", "object"), NONE)


def frame(columns: Mapping[str, np.ndarray]) -> bytes:
    """A pandas table; columns of one number format stand in one block."""

    def index(names: list[str]) -> bytes:
        new, kind = named("pandas.core.indexes.base", "_new_Index"), named("pandas.core.indexes.base", "Index")
        return called(new, kind, mapped((text("data"), objects(*map(text, names))), (text("name"), NONE)))

    kinds = list(dict.fromkeys(values.dtype.str for values in columns.values()))
    blocks = [[name for name, values in columns.items() if values.dtype.str == kind] for kind in kinds]
    rows = len(next(iter(columns.values())))
    counted = called(
        named("pandas.core.indexes.base", "_new_Index"),
        named("pandas.core.indexes.range", "RangeIndex"),
        mapped((text("start"), whole(0)), (text("stop"), whole(rows)), (text("step"), whole(1)), (text("name"), NONE)),
    )
    manager = filled(
        bare("pandas.core.internals.managers", "BlockManager"),
        pair(
            listed(index(list(columns)), counted),
            listed(*[array(np.stack([columns[name] for name in block])) for block in blocks]),
            listed(*map(index, blocks)),
            mapped((text("0.14.1"), called(named("__builtin__", "slice"), whole(0), whole(1), NONE))),
        ),
    )
    return filled(bare("pandas.core.frame", "DataFrame"), mapped((text("_data"), manager)))


def ended(content: bytes) -> bytes:
    """A whole pickle."""
    return content + b"."
