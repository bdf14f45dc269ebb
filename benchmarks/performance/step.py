"""Where a step of local training goes: arithmetic by kind, and all that is none (benchmarks room)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .contenders.ours import FlBench
from .measure import timed
from .threads import torch_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from .measure import Row
    from .workloads import Workload

KINDS = {
    "products": ("mm", "addmm", "mkldnn_convolution", "mkldnn_linear", "convolution_backward"),
    "pooling": ("max_pool2d_with_indices", "max_pool2d_with_indices_backward", "mkldnn_max_pool2d"),
    "elementwise": ("relu", "relu_", "clamp_min", "clamp_min_", "threshold_backward", "sum"),
    "loss": ("_log_softmax", "_log_softmax_backward_data", "nll_loss_forward", "nll_loss_backward"),
    "optimizer": ("_fused_sgd_",),
    "batches": ("index_select", "index", "gather"),
}
"""Operators of torch by what they are for; sums are gradients of biases."""

REPEATS = 3
"""Rounds with and without the profiler, in turns; the fastest of each counts."""


def step_parts(workload: Workload) -> Row:
    """Profile rounds of local training, with one thread as the executor's workers have.

    Seconds of a step are those without the profiler, and the rest is what it did not see in the operators above:
    Python, autograd, small operators. It adds some microseconds to each operator, so the rest is rather more.

    Args:
        workload: a method whose `client_update` is local training.
    Returns:
        `steps`, seconds of a `step`, of it those of every kind of `KINDS`, and the `rest`.
    """
    from torch.profiler import ProfilerActivity, profile

    with torch_threads(1):
        ours = FlBench(workload, workload.deal(), "cpu", 0)
        ours.round()
        method: Any = ours.run.method
        usual: Callable[..., Any] = method.client_update
        walls: list[float] = []
        seen: list[dict[str, float]] = []

        def profiled(*arguments: Any) -> Any:
            with profile(activities=[ProfilerActivity.CPU]) as events:
                result = usual(*arguments)
            spent = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in events.key_averages()}
            seen.append({kind: 1e-6 * sum(spent.get(name, 0.0) for name in names) for kind, names in KINDS.items()})
            return result

        for _ in range(REPEATS):  # a neighbour may disturb any of them
            method.client_update = timed(usual, walls)
            ours.round()
            method.client_update = profiled
            ours.round()
    step = min(walls) / ours.steps
    parts = {kind: seconds / ours.steps for kind, seconds in min(seen, key=lambda one: sum(one.values())).items()}
    return {"steps": ours.steps, "step": step, **parts, "rest": step - sum(parts.values())}
