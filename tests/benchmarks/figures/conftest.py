"""Courses, blocks and comparisons small enough to work out by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.figures.blocks import Course

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.fixture
def course() -> Callable[..., Course]:
    """A course from the accuracies of its seeds; every round costs 10 bytes, 2 seconds and 5 samples."""

    def make(label: str, *accuracy: Sequence[float], category: str = "averaging", **changes: Any) -> Course:
        rounds = range(1, len(accuracy[0]) + 1)
        known: dict[str, Any] = {
            "is_reference": False,
            "costs": {
                name: tuple(tuple(each * float(count) for count in rounds) for _ in accuracy)
                for name, each in (("bytes", 10), ("seconds", 2), ("samples", 5))
            },
        }
        return Course(
            label=label,
            category=category,
            seeds=tuple(range(len(accuracy))),
            accuracy=tuple(tuple(map(float, values)) for values in accuracy),
            **{**known, **changes},
        )

    return make
