"""Which engine trains a cohort: as asked, or by device, net and number of members."""

from __future__ import annotations

from typing import Any

import pytest

from fl_bench.federation.engine import chosen_engine
from fl_bench.federation.models import build_net


def test_a_small_recurrence_is_stacked_and_other_nets_of_sequences_are_not() -> None:
    text = {name: build_net(name, (80,), 64, vocabulary=64) for name in ("gru-64", "cnn1d", "char-transformer")}
    chosen = {name: chosen_engine("auto", "cpu", net, 12) for name, net in text.items()}
    assert chosen == {"gru-64": "stacked", "cnn1d": "loop", "char-transformer": "loop"}
    assert chosen_engine("auto", "cpu", build_net("gru-64", (6, 128), 12), 12) == "stacked"


@pytest.mark.parametrize(
    ("name", "kind", "net", "members", "expected"),
    [
        ("auto", "cpu", "mlp-64", 4, "stacked"),
        ("auto", "cpu", "mlp-64", 3, "loop"),
        # 784 * 82 + 82 + 82 * 10 + 10 weights are 65 200 of 65 536; one unit more has 795 more
        ("auto", "cpu", "mlp-82", 4, "stacked"),
        ("auto", "cpu", "mlp-83", 4, "loop"),
        ("auto", "cpu", "cnn-small", 100, "loop"),
        ("auto", "cuda", "cnn-small", 1, "stacked"),
        ("loop", "cuda", "mlp-64", 4, "loop"),
        ("stacked", "cpu", "cnn-small", 1, "stacked"),
    ],
)
def test_the_engine_fits_device_net_and_cohort(name: Any, kind: str, net: str, members: int, expected: str) -> None:
    assert chosen_engine(name, kind, build_net(net, (1, 28, 28), 10), members) == expected
