"""Old pickles: arrays and tables come out as they went in, and nothing that a pickle names is ever run."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fuzzing import budget, damaged
from hypothesis import given
from hypothesis import strategies as st
from old_pickles import array, bare, called, ended, filled, frame, listed, mapped, named, objects, pair, text, whole

from fl_bench.datasets.unpickling import Frame, read_pickle
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUMBERS = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    "values",
    [
        NUMBERS,
        NUMBERS.astype(">f4"),
        np.array([3, -1], dtype=np.int16),
        np.array([True, False]),
        np.array(["PEN", "ABDUCT"]),
        np.array(2.5),
        np.empty((0, 4)),
    ],
)
@pytest.mark.parametrize("written", [lambda values: ended(array(values)), lambda values: pickle.dumps(values, 2)])
def test_arrays_are_read(values: np.ndarray, written: Callable[[np.ndarray], bytes]) -> None:
    found = read_pickle(written(values), "here")
    assert found.dtype == values.dtype
    assert found.shape == values.shape
    assert found.tolist() == values.tolist()


def test_an_array_keeps_its_order_in_memory() -> None:
    assert read_pickle(pickle.dumps(np.asfortranarray(NUMBERS), 2), "here").tolist() == NUMBERS.tolist()


def test_containers_and_arrays_of_objects_are_read() -> None:
    content = mapped((text("X"), objects(array(NUMBERS), array(NUMBERS[:1]))), (text("n"), whole(7)))
    found = read_pickle(ended(content), "here")
    assert found["n"] == 7
    assert [part.tolist() for part in found["X"]] == [NUMBERS.tolist(), NUMBERS[:1].tolist()]


def test_tables_are_read_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "pandas"]:
        monkeypatch.delitem(sys.modules, module)
    columns = {"a": np.array([0.5, 1.5]), "n": np.array([3, 4]), "b": np.array([2.5, 3.5])}
    found = read_pickle(ended(listed(frame(columns))), "here")[0]
    assert isinstance(found, Frame)
    assert {name: values.tolist() for name, values in found.columns.items()} == {
        name: values.tolist() for name, values in columns.items()
    }
    assert "pandas" not in sys.modules


class Attack:
    """Pickles to the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_command_is_refused_by_name_and_never_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "was here"
    attack = pickle.dumps({1: [Attack(os.system, f'echo > "{mark}"')]}, protocol)
    refusal = rf"HAPT cannot be read .* it names {os.system.__module__}\.system, which no data need"
    with pytest.raises(DataError, match=refusal):
        read_pickle(attack, "HAPT")
    assert not mark.exists()
    pickle.loads(attack)  # it would have worked
    assert mark.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("numpy", "load"),
        ("numpy", "ndarray.tofile"),
        ("numpy.core.multiarray", "scalar"),
        ("copyreg", "__newobj__"),
        ("pandas.io.pickle", "read_pickle"),
        ("pandas.core.frame", "DataFrame.query"),
        ("fl_bench.datasets.unpickling", "Frame"),
    ],
)
@pytest.mark.parametrize("stacked", [False, True])
def test_all_other_names_are_refused(module: str, name: str, stacked: bool) -> None:
    content = b"\x80\x04" + text(module) + text(name) + b"\x93" if stacked else named(module, name)
    with pytest.raises(DataError, match=f"it names {module}.{name}, which no data need"):
        read_pickle(ended(content), "here")


EVIL = mapped((text("_name"), text("encode")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (filled(named("numpy", "ndarray"), EVIL), "may not change what it names"),
        (filled(named("_codecs", "encode"), EVIL), "may not change what it names"),
        (filled(named("numpy", "dtype"), pair(NONE := b"N", EVIL)), "may not change what it names"),
        (named("numpy", "ndarray") + b")\x81", "class"),  # an instance of what is no class
        (called(named("numpy", "ndarray"), whole(3)), "not callable"),
        (called(named("_codecs", "encode"), text("x"), text("rot13")), "encode is called as nobody calls it"),
        (called(named("_codecs", "encode"), whole(3), text("latin1")), "encode is called as nobody"),
        (called(named("builtins", "bytes"), whole(10**12)), "bytes is called as nobody calls it"),
        (bare("numpy", "ndarray"), "_reconstructor is called as nobody"),
        (filled(bare("pandas.core.frame", "DataFrame"), mapped((text("_data"), whole(1)))), "holds no blocks"),
        (filled(bare("pandas.core.internals.managers", "BlockManager"), pair(whole(1))), "do not fit together"),
        (called(named("numpy", "dtype"), text("f8")), "a class or a part of a table"),
        (named("numpy", "ndarray"), "a class or a part of a table"),
        (b"Pelsewhere\n", "outside itself"),
        (b"(lq\x00h\x00a", "holds itself"),
        (b"\x80\x02)r" + struct.pack("<I", 2**31), "remembers a thing number 2147483648"),
        (b"\x80\x02X\xff\xff\xff\x7fabc", "cannot be read"),
        (array(NUMBERS)[:-40], "cannot be read"),
    ],
)
def test_what_is_no_data_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_pickle(ended(content), "here")


def lying(shape: bytes, code: str, content: bytes) -> bytes:
    """An array that declares what it likes."""
    kind = filled(called(named("numpy", "dtype"), text(code)), pair(whole(3), text("<")))
    empty = called(named("numpy.core.multiarray", "_reconstruct"), named("numpy", "ndarray"), pair(whole(0)), NONE)
    return filled(empty, pair(whole(1), shape, kind, b"I00\n", content))


EIGHT = called(named("_codecs", "encode"), text("\x00" * 8), text("latin1"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lying(pair(whole(2)), "f8", EIGHT), "does not hold what it declares"),
        (lying(pair(whole(10**9), whole(10**9)), "f8", EIGHT), "does not hold what it declares"),
        (lying(pair(whole(-1)), "f8", EIGHT), "has the shape"),
        (lying(whole(1), "f8", EIGHT), "has the shape"),
        (lying(pair(whole(1)), "f8", whole(8)), "neither bytes nor a list"),
        (lying(pair(whole(1)), "V8", EIGHT), "arrays of 'V8' are not read"),
        (lying(pair(whole(1)), "M8", EIGHT), "arrays of 'M8' are not read"),
        (lying(pair(whole(1)), "f8,O", EIGHT), "are not read"),
        (lying(pair(whole(1)), "O8", EIGHT), "does not hold so many"),
        (lying(pair(whole(2)), "O8", listed(whole(1))), "does not hold so many"),
    ],
)
def test_an_array_that_is_not_what_it_declares(content: bytes, message: str) -> None:
    assert read_pickle(ended(lying(pair(whole(1)), "f8", EIGHT)), "here").tolist() == [0.0]
    with pytest.raises(DataError, match=message):
        read_pickle(ended(content), "here")


def test_a_list_of_itself_many_times_over_takes_no_time() -> None:
    doubled: list[Any] = [1.0]
    for _ in range(200):  # 2^200 numbers, for who looks at each
        doubled = [doubled, doubled]
    found = read_pickle(pickle.dumps(doubled, 2), "here")
    assert found[0] is found[1]


GOOD = ended(mapped((whole(1), listed(frame({"a": NUMBERS[0], "n": np.array([3, 4, 5])}))), (whole(2), array(NUMBERS))))


@budget(150)
@given(damaged(GOOD) | st.binary(max_size=200))
def test_fuzz_damaged_pickles_are_read_or_refused(content: bytes) -> None:
    try:
        read_pickle(content, "here")
    except DataError:
        return
