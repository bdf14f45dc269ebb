"""Spaces map shares to values, know their edges, and go on there within what a setting can be."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.errors import ConfigError
from fl_bench.federation.settings import Training
from fl_bench.methods.registry import METHODS
from fl_bench.spaces import Choices, Integers, Linear, Log, Space, parse_space, spaces_of

SPACES: list[Space] = [
    Log(1e-4, 1e-1),
    Linear(0.1, 0.9, least=0, most=1),
    Integers(2, 10),
    Integers(1, 10, log=True),
    Choices(("a", "b", "c")),
]


@given(st.sampled_from(SPACES), st.floats(0, 1))
def test_a_share_is_a_value_inside(space: Space, share: float) -> None:
    value = space.at(share)
    if isinstance(space, Choices):
        assert value in space.values
    else:
        assert space.low <= value <= space.high


def test_the_ends_and_the_middle() -> None:
    assert [Log(1e-4, 1e-2).at(share) for share in (0, 0.5, 1)] == [1e-4, 1e-3, 1e-2]
    assert [Linear(0.0, 2.0, least=0).at(share) for share in (0, 0.25, 1)] == [0.0, 0.5, 2.0]
    assert [Integers(2, 4).at(share) for share in (0, 0.34, 0.67, 1)] == [2, 3, 4, 4]
    assert [Choices(("a", "b")).at(share) for share in (0, 0.49, 0.5, 1)] == ["a", "a", "b", "b"]


def test_whole_numbers_are_even_in_their_logarithm() -> None:
    drawn = [Integers(1, 8, log=True).at((place + 0.5) / 1000) for place in range(1000)]
    octaves = [sum(low <= value < 2 * low for value in drawn) for low in (1, 2, 4)]
    assert max(octaves) - min(octaves) <= 3  # ln 9 is a little more than three octaves, the rest is the 8
    assert set(drawn) == set(range(1, 9))


def test_values_have_few_digits() -> None:
    assert Log(1e-4, 1e-1).at(0.123) == 2.3e-4
    assert Linear(0.0, 1.0).at(0.123456) == 0.12


def test_edges_are_a_tenth_of_the_space() -> None:
    assert Log(1e-4, 1e-1).edge(1.9e-4) == "low"
    assert Log(1e-4, 1e-1).edge(3e-4) is None
    assert Log(1e-4, 1e-1).edge(0.3) == "high"  # beyond it, as a grid's own value may be
    assert Integers(2, 10).edge(10) == "high"
    assert Integers(2, 10).edge(9) is None
    assert Choices((1, 2)).edge(1) is None


def test_widening_goes_on_where_it_can() -> None:
    assert Log(1e-4, 1e-1).widened("high") == Log(1e-4, 1.0)
    assert Log(1e-4, 1e-1).widened("low") == Log(1e-5, 1e-1)
    assert Log(0.1, 1.0, most=2.0).widened("high").high == 2.0
    assert Linear(0.2, 0.8, least=0, most=1).widened("low").low == 0.0
    assert Integers(1, 10).widened("high") == Integers(1, 20)


def test_an_end_that_cannot_be_passed_is_no_edge() -> None:
    assert Integers(1, 10, log=True).edge(1) is None
    assert Linear(0.0, 2.0, least=0).edge(0.0) is None


@pytest.mark.parametrize("make", [lambda: Log(0, 1), lambda: Log(1, 1), lambda: Linear(2, 1), lambda: Choices((1,))])
def test_impossible_spaces_are_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match="a space"):
        make()


@pytest.mark.parametrize("name", [*METHODS.names(), "training"])
def test_defaults_lie_in_their_spaces(name: str) -> None:
    kind = Training if name == "training" else METHODS[name].config_type
    defaults = {field.name: field.default for field in fields(kind)}
    for setting, space in spaces_of(kind).items():
        default = defaults[setting]
        assert default is not MISSING
        if default is not None:
            assert space.low <= default <= space.high, setting  # type: ignore[union-attr]


def test_every_method_with_a_rate_of_its_own_has_it_tuned() -> None:
    """A rate that nobody tunes would make a comparison of tuned methods unequal."""
    rates = {
        f"{name}.{field.name}"
        for name in METHODS.names()
        for field in fields(METHODS[name].config_type)
        if field.name == "lr" or field.name.endswith("_lr")
    }
    tuned = {f"{name}.{setting}" for name in METHODS.names() for setting in spaces_of(METHODS[name].config_type)}
    assert rates - tuned == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("log(1e-6, 1e-2)", Log(1e-6, 1e-2)),
        ("linear(0, 1.5)", Linear(0, 1.5)),
        ("integers(1, 8)", Integers(1, 8)),
        ("log integers(1,8)", Integers(1, 8, log=True)),
        ("8|16 | 32", Choices((8, 16, 32))),
        ("null|1.5|adam", Choices((None, 1.5, "adam"))),
    ],
)
def test_a_space_is_read_as_it_is_written(text: str, expected: Space) -> None:
    assert parse_space(text) == expected
    if "null" not in text:  # which is shown as None
        assert parse_space(str(expected)) == expected


@pytest.mark.parametrize("text", ["8", "log(1, x)", "integers(1, 2.5)", "log(1)", "exp(1, 2)", "log(0, 1)", "8|8"])
def test_what_is_no_space_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_space(text)
