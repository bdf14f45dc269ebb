"""What is measured on a GPU; the same `make bench` runs it where torch finds one. Nothing is gated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.performance.comparison import compare
from fl_bench.benchmarks.performance.measure import matrix_rate
from fl_bench.benchmarks.performance.workloads import SIZES, W1, W2, W3_COSMOS, W3_FEDMD, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.performance.measure import Row
    from fl_bench.benchmarks.performance.workloads import Size

CONTENDERS = ["plain", "fl-bench loop", "fl-bench stacked"]


def test_matrix_rate(benchmark: Any, keep: Callable[[str, Row], None]) -> None:
    """The card's attainable arithmetic in float32."""
    rate = benchmark.pedantic(lambda: matrix_rate("cuda"), rounds=1)
    keep("rate", {"threads": None, "flops": rate})


@pytest.mark.parametrize("clients", SIZES["full"].gpu_clients)
@pytest.mark.parametrize("workload", [W1, W2], ids=lambda workload: workload.name)
def test_rounds(benchmark: Any, keep: Callable[[str, Row], None], size: Size, workload: Workload, clients: int) -> None:
    """FedAvg with more and more clients of 600 images."""
    benchmark.group = f"a round of {workload.name}, {clients} clients"
    compare(benchmark, keep, workload.with_clients(clients), CONTENDERS, size.gpu_rounds, device="cuda")


@pytest.mark.parametrize("workload", [W3_FEDMD, W3_COSMOS], ids=lambda workload: workload.name)
def test_distillation(benchmark: Any, keep: Callable[[str, Row], None], size: Size, workload: Workload) -> None:
    """FedMD and COSMOS."""
    benchmark.group = f"a round of {workload.name}"
    compare(benchmark, keep, workload, CONTENDERS, size.gpu_rounds, device="cuda")
