"""How many kernels a round launches with the stacked engine (benchmarks room): operators, counted on a CPU.

An operator that computes or moves data is about one kernel; one that only looks at a tensor otherwise is none. A
stacked step has as many, however many samples and clients it has. So three tiny rounds say how many a local step and a
public step have, and shapes say how many steps there are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch.utils._python_dispatch import TorchDispatchMode

from ....federation.batches import steps_of
from ..contenders.ours import Stacked
from .workloads import tiny

if TYPE_CHECKING:
    from ..measure import Row
    from ..workloads import Workload

NOTHING = frozenset(
    {
        *("alias", "as_strided", "detach", "expand", "lift_fresh", "permute", "_reshape_alias", "select", "slice"),
        *("split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "_unsafe_view", "view"),
        *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    }
)
"""Operators without a kernel."""


def count_launches(workload: Workload) -> Row:
    """Operators of a `local_step` and of a `public_step` (None where there is none), and of a `round`.

    A public step is one of distillation, with that of the server models where there are any. `round` has all steps and
    whatever else a round with as many clients as nets does.
    """
    clients = max(2, len(workload.nets))
    small = replace(tiny(workload), clients=clients, samples=4, public=workload.public and 4, classes=2, batch_size=2)
    least = _operators(small)
    found: Row = {"local_step": None, "public_step": None, "round": least}
    longer = {"local_step": replace(small, samples=small.samples + small.batch_size)}
    if workload.public:
        longer["public_step"] = replace(small, public=small.public + small.batch_size)
    for kind, more in longer.items():
        of = {"local_step": _local_steps, "public_step": _public_steps}[kind]
        found[kind] = (_operators(more) - least) / (of(more) - of(small))
        found["round"] += found[kind] * (of(workload) - of(small))
    return found


def _local_steps(workload: Workload) -> int:
    return steps_of(workload.epochs, workload.samples, workload.batch_size)


def _public_steps(workload: Workload) -> int:
    epochs = workload.settings.get("distill_epochs", 5) if workload.method == "cosmos" else 1
    return steps_of(epochs, workload.public, workload.batch_size)


def _operators(workload: Workload) -> int:
    """Those of the second round, in which clients distil."""
    running = Stacked(workload, workload.deal(), "cpu", 0)
    running.round()
    counting = _Counting()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with counting:
        running.round()
    running.close()
    return int(counting.seen)


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    seen: int = 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, arguments: tuple[Any, ...] = (), named: dict[str, Any] | None = None
    ) -> Any:
        self.seen += operator.overloadpacket.__name__ not in NOTHING
        return operator(*arguments, **(named or {}))
