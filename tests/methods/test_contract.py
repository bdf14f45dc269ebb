"""Every registered method, and the next one too, keeps the contract of `fl_bench.methods.contract`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fl_bench.methods.contract import CHECKS
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", METHODS.names())
def test_method_keeps_the_contract(name: str, check: Callable[[str], None]) -> None:
    check(name)
