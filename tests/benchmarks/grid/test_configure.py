"""Plain values become settings, or one message that says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.configure import assignments, configure, parse_yaml, plain, read_yaml
from fl_bench.errors import ConfigError
from fl_bench.federation.settings import Training
from fl_bench.later import LATER

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Knobs:
    count: int = 1
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] = ()
    limit: int | Literal["auto"] | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ConfigError(f"knobs.count must not be negative, got {self.count}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cuont": 1}, "knobs has no setting 'cuont'; did you mean 'count'? (known: count, rate, kind, names, limit)"),
        ({"count": "1"}, "knobs.count must be a valid integer, found '1'"),
        ({"count": True}, "knobs.count must be a valid integer, found True"),
        ({"count": 1.5}, "knobs.count must be a valid integer, found 1.5"),
        ({"kind": "c"}, "knobs.kind must be 'a' or 'b', found 'c'"),
        ({"names": ["x", 3]}, "knobs.names.1 must be a valid string, found 3"),
        ({"limit": "aut"}, "knobs.limit must be a valid integer or 'auto', found 'aut'"),
        ({"count": -1}, "knobs.count must not be negative, got -1"),
        ([1], "knobs must be a mapping of settings, found [1]"),
    ],
)
def test_a_wrong_value_is_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        configure(Knobs, values, "knobs")
    assert str(error.value) == message


class NoKnobs:
    pass


def test_settings_that_are_no_dataclass_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"NoKnobs is no class of settings: it must be a frozen dataclass"):
        configure(NoKnobs, {}, "knobs")


@given(
    count=st.integers(0, 10**6),
    rate=st.floats(allow_nan=False),
    kind=st.sampled_from(["a", "b"]),
    names=st.lists(st.text()),
    limit=st.none() | st.integers(),
)
def test_settings_survive_being_plain(count: int, rate: float, kind: Any, names: list[str], limit: int | None) -> None:
    knobs = Knobs(count, rate, kind, tuple(names), limit)
    assert configure(Knobs, plain(knobs), "knobs") == knobs


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", "0.001", ".1e-2"])
def test_numbers_with_exponents_are_numbers(text: str) -> None:
    assert parse_yaml(text, "-o") == 0.001


def test_whole_numbers_stay_whole() -> None:
    assert parse_yaml("{a: 10, b: -3, c: 0-4, d: e3}", "-o") == {"a": 10, "b": -3, "c": "0-4", "d": "e3"}


def test_a_key_given_twice_is_an_error_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"g.yaml, line 3, column 1: this is not valid YAML: 'a' is given twice"):
        parse_yaml("a: 1\nb: 2\na: 3\n", "g.yaml")


def test_yaml_makes_no_objects() -> None:
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        parse_yaml("!!python/object/apply:os.getcwd []", "g.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (tmp_path / "none.yaml", "there is no file"),
        (tmp_path, "cannot be read"),
        (tmp_path / "bytes.yaml", "is not UTF-8"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_yaml(path)


def test_settings_that_came_later_move_no_key_at_their_default() -> None:
    assert "store" not in plain(Training())
    assert plain(Training(store="float16"))["store"] == "float16"
    assert configure(Training, plain(Training(store="float16")), "training").store == "float16"


@dataclass(frozen=True)
class Inner:
    from_: str = "x"
    later: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    with_: float = 1.0


def test_words_of_python_are_written_without_the_underscore() -> None:
    assert plain(Outer()) == {"inner": {"from": "x"}, "with": 1.0}
    assert plain(Outer(Inner("y", 2))) == {"inner": {"from": "y", "later": 2}, "with": 1.0}
    assert configure(Inner, {"from": "z"}, "inner") == Inner("z")
    with pytest.raises(ConfigError, match=r"inner has no setting 'form'; did you mean 'from'\? \(known: from, later\)"):
        configure(Inner, {"form": "z"}, "inner")
    with pytest.raises(ConfigError, match=r"inner\.from must be a valid string, found 3"):
        configure(Inner, {"from": 3}, "inner")


def test_assignments_of_an_option() -> None:
    assert assignments(["threads=2", " stack = null"], "--use", "threads=2") == {"threads": 2, "stack": None}
    with pytest.raises(ConfigError, match="--use threads: write key=value, such as --use threads=2"):
        assignments(["threads"], "--use", "threads=2")
    with pytest.raises(ConfigError, match="--use threads is given twice"):
        assignments(["threads=1", "threads=2"], "--use", "threads=2")
