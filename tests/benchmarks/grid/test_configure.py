"""Plain values become settings, or one message that says what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.configure import configure, plain
from fl_bench.errors import ConfigError
from fl_bench.federation.settings import Training
from fl_bench.later import LATER
from fl_bench.limits import WHOLE_NUMBER


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
        ({"rate": float("inf")}, "knobs.rate must be a finite number, found inf"),
        ({"rate": float("nan")}, "knobs.rate must be a finite number, found nan"),
        ({"names": ["x", "\ud800"]}, r"knobs.names.1 must be text of whole characters, found '\ud800'"),
        ({"count": 10**9 + 1}, "knobs.count must be at most 1000000000 in size as a whole number, found 1000000001"),
        (
            {"limit": -(10**9) - 1},
            "knobs.limit must be at most 1000000000 in size as a whole number, found -1000000001",
        ),
    ],
)
def test_a_wrong_value_is_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        configure(Knobs, values, "knobs")
    assert str(error.value) == message


def test_a_number_of_any_length_is_named_in_short() -> None:
    with pytest.raises(ConfigError, match=r"knobs\.count must be at most .* found 0x[0-9a-f]+\.\.\.$"):
        configure(Knobs, {"count": 10**5000}, "knobs")


class NoKnobs:
    pass


def test_settings_that_are_no_dataclass_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"NoKnobs is no class of settings: it must be a frozen dataclass"):
        configure(NoKnobs, {}, "knobs")


@given(
    count=st.integers(0, 10**6),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    kind=st.sampled_from(["a", "b"]),
    names=st.lists(st.text()),
    limit=st.none() | st.integers(-WHOLE_NUMBER, WHOLE_NUMBER),
)
def test_settings_survive_being_plain(count: int, rate: float, kind: Any, names: list[str], limit: int | None) -> None:
    knobs = Knobs(count, rate, kind, tuple(names), limit)
    assert configure(Knobs, plain(knobs), "knobs") == knobs


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
