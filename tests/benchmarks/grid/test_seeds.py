"""Seeds read back from text, and impossible ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.seeds import parse_seeds
from fl_bench.errors import ConfigError


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20, unique=True))
def test_seeds_read_back(seeds: list[int]) -> None:
    assert parse_seeds(seeds) == parse_seeds(",".join(map(str, seeds))) == seeds


def test_seed_ranges() -> None:
    assert parse_seeds("0-2, 7") == [0, 1, 2, 7]
    for wrong in ("", "a", "3-1", "1,1", "-1", "0-99999999", "1.5", [], [-1], [2, 2]):
        with pytest.raises(ConfigError, match="seeds must"):
            parse_seeds(wrong)
