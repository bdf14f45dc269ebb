"""Every registered method, and the next one too, keeps the contract of `fl_bench.methods.contract`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.methods.contract import CHECKS
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = {
    "cosmos": "scores, clusters and server models",
    "ditto": "two models at each client",
    "fedavg": "weights, and their server's model",
    "fedct": "hard labels",
    "fedmd": "scores of a subset",
    "fedproto": "prototypes",
    "local": "sends nothing",
}
"""One method of each kind, and what it stands for: checked among the fast tests, all others among the slow."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in METHODS.names()]
)
def test_method_keeps_the_contract(name: str, check: Callable[[str], None]) -> None:
    check(name)


def test_the_quick_ones_are_methods() -> None:
    assert set(METHODS.names()) >= QUICK.keys()
