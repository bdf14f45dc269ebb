"""Sealed values: hard to read by mistake, recorded when a method reads them."""

from __future__ import annotations

import numpy as np
import pytest

from fl_bench.errors import Unsupported
from fl_bench.sealed import Sealed


def test_openings_are_recorded_once_each_in_order() -> None:
    sealed = Sealed([1, 2], "public labels")
    assert sealed.badges() == []
    assert sealed.open("zeta") == [1, 2]
    sealed.open("alpha")
    sealed.open("zeta")
    assert sealed.openings == ["zeta", "alpha"]
    assert sealed.badges() == ["oracle: public labels (zeta)", "oracle: public labels (alpha)"]


def test_the_evaluator_leaves_no_trace() -> None:
    value = np.array([3, 4])
    sealed = Sealed(value, "test labels")
    assert sealed.open_for_evaluation() is value
    assert sealed.openings == sealed.badges() == []


def test_what_lacks_a_part_is_opened_by_nobody_but_the_evaluator() -> None:
    sealed = Sealed([1, -1], "public labels", lacking="1 of 2 samples has none")
    with pytest.raises(Unsupported, match="peeker opens public labels, but 1 of 2 samples has none"):
        sealed.open("peeker")
    assert sealed.openings == []
    assert sealed.open_for_evaluation() == [1, -1]


def test_the_value_does_not_show() -> None:
    sealed = Sealed(np.array([31337]), "true groups")
    assert repr(sealed) == f"{sealed}" == "Sealed(true groups)"
    assert not any("31337" in str(getattr(sealed, name)) for name in dir(sealed) if not name.startswith("_"))


@pytest.mark.parametrize("misuse", [lambda s: s[0], lambda s: list(s), lambda s: s.value, lambda s: s + 1, len])
def test_it_cannot_be_used_as_the_value(misuse) -> None:
    with pytest.raises((TypeError, AttributeError)):
        misuse(Sealed(np.array([1, 2]), "public labels"))
