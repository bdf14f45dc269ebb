"""Where a round on a device goes (benchmarks room): kernels by kind, gaps between them, and waiting for the device."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.profiler import ProfilerActivity, profile, record_function

from ....federation.clock import Clock
from ..contenders.ours import Stacked
from ..measure import finish

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..measure import Row
    from ..workloads import Workload

LARGEST = 15
"""Kernels that are listed, the longest first."""

KINDS = {
    "transposes": ("nchwtonhwc", "nhwctonchw", "transpose"),
    "convolutions": ("conv", "wgrad", "dgrad", "fprop", "cudnn", "winograd"),
    "products": ("gemm", "bmm", "aten::mm", "aten::addmm", "cutlass", "gemv"),
    "optimizer": ("multi_tensor", "fused_sgd", "fused_adam", "foreach"),
    "gathers": ("index", "gather", "scatter"),
    "norms": ("batch_norm", "batchnorm", "bn_", "group_norm", "rowwise", "layer_norm"),
    "copies": ("memcpy", "copy", "contiguous", "clone", "cat"),
    "reductions": ("reduce", "sum", "mean", "softmax", "norm"),
    "elementwise": ("elementwise", "aten::"),
}
"""What kernels (on a CPU, operators) are for, by pieces of their names in small letters; the first that fits."""

LABEL = "round: "
"""What the names of the parts of a round begin with in a profile."""

WAITING = "Synchronize"
"""Piece of the names of calls with which the host waits for the device."""

Span = tuple[float, float]


def profile_round(workload: Workload, device: str) -> Row:
    """Profile the third round of a workload with the stacked engine.

    Args:
        workload: what a round is.
        device: a torch device; on a CPU there are operators instead of kernels, no gaps and no waiting.
    Returns:
        Seconds of a round without the profiler (`plain`) and with it (`wall`); of kernels one after the other
        (`kernels`), those in which at least one ran (`busy`) and none did (`gaps`), and in which the host was `waiting`
        for the device or worked (`host`); how many `launches`; seconds of kernels by `kinds`; the `parts` of a round
        with `seconds`, `busy` and `launches` of each; and the `largest` kernels, with seconds and calls.
    """
    card = device.startswith("cuda")
    running = Stacked(workload, workload.deal(), device, 0)
    running.round()
    began = time.perf_counter()
    running.round()
    plain = time.perf_counter() - began
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if card else [])]
    with _parts_named(), profile(activities=activities) as seen:
        began = time.perf_counter()
        running.round()
        finish(device)
        wall = time.perf_counter() - began
    running.close()
    events = list(seen.events() or ())
    parts = {
        event.name.removeprefix(LABEL): (event.time_range.start, event.time_range.end)
        for event in events
        if event.name.startswith(LABEL) and not _on_card(event)
    }
    waited = [event.time_range.end - event.time_range.start for event in events if WAITING in event.name]
    return {
        "plain": plain,
        "wall": wall,
        **summed([event for event in events if not event.name.startswith(LABEL)], parts, wall, card=card),
        "waiting": 1e-6 * sum(waited) if card else None,
        "host": wall - 1e-6 * sum(waited) if card else None,
    }


def summed(events: Sequence[Any], parts: dict[str, Span], wall: float, *, card: bool) -> Row:
    """What the kernels of a profile add up to.

    Args:
        events: of torch's profiler; their times are microseconds.
        parts: when the parts of the round began and ended, in microseconds.
        wall: seconds of the round.
        card: whether kernels are those of a card; operators of the CPU otherwise.
    """
    kernels = [event for event in events if _on_card(event) == card and not event.is_user_annotation]
    spent: dict[str, list[float]] = {}
    for event in kernels:
        own = event.time_range.end - event.time_range.start if card else event.self_cpu_time_total
        spent.setdefault(event.name, []).append(1e-6 * own)
    kinds: dict[str, float] = {}
    for name, seconds in spent.items():
        kinds[kind_of(name)] = kinds.get(kind_of(name), 0.0) + sum(seconds)
    spans = [(event.time_range.start, event.time_range.end) for event in kernels]
    busy = 1e-6 * covered(spans) if card else None
    inside = {name: [span for span in spans if start <= span[0] < end] for name, (start, end) in parts.items()}
    return {
        "kernels": sum(map(sum, spent.values())),
        "busy": busy,
        "gaps": None if busy is None else wall - busy,
        "launches": len(kernels),
        "kinds": dict(sorted(kinds.items(), key=lambda item: -item[1])),
        "parts": {
            name: {
                "seconds": 1e-6 * (end - start),
                "busy": 1e-6 * covered(inside[name]) if card else None,
                "launches": len(inside[name]),
            }
            for name, (start, end) in parts.items()
        },
        "largest": [
            {"name": name[:120], "seconds": sum(spent[name]), "calls": len(spent[name])}
            for name in sorted(spent, key=lambda name: -sum(spent[name]))[:LARGEST]
        ],
    }


def kind_of(kernel: str) -> str:
    """What a kernel or an operator is for; `other` where its name says nothing known."""
    name = kernel.lower()
    return next((kind for kind, signs in KINDS.items() if any(sign in name for sign in signs)), "other")


def covered(spans: Iterable[Span]) -> float:
    """How much of a line spans cover, overlaps counted once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def _on_card(event: Any) -> bool:
    return str(event.device_type).endswith("CUDA")


@contextmanager
def _parts_named() -> Iterator[None]:
    """Inside, a profile shows the parts of rounds by the names of their clocks."""
    usual = Clock.measure

    @contextmanager
    def named(clock: Clock, part: str) -> Iterator[None]:
        with record_function(LABEL + part), usual(clock, part):
            yield

    Clock.measure = named  # type: ignore[method-assign, assignment]  # as `measure.timed` does with a method's steps
    try:
        yield
    finally:
        Clock.measure = usual  # type: ignore[method-assign]
