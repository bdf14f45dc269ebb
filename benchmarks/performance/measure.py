"""Timing for the performance suite (benchmarks room): contenders in turns, ratios, arithmetic, memory, start-up.

A machine that is slow for a minute is slow for everybody: contenders take turns, round by round, and what is reported
is the ratio of their medians beside the smallest and the largest ratio of two rounds that followed each other.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .threads import torch_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .contenders.contender import Contender
    from .workloads import Workload

Row = dict[str, Any]
"""A line of a result file: plain values, `table` says of which table."""


class Turns:
    """Things to be timed that take turns: call `others` before each call of `last`.

    Args:
        parts: name to what is timed; the last one is what pytest-benchmark itself times.
    """

    def __init__(self, parts: dict[str, Callable[[], object]]) -> None:
        self.parts = parts
        self.seconds: dict[str, list[float]] = {name: [] for name in parts}

    def others(self) -> None:
        """All parts but the last."""
        for name in list(self.parts)[:-1]:
            self._timed(name)

    def last(self) -> None:
        """The last part."""
        self._timed(list(self.parts)[-1])

    def measured(self, rounds: int, warmup: int) -> dict[str, list[float]]:
        """Seconds of the `rounds` calls after `warmup` calls, by part."""
        return {name: seconds[warmup : warmup + rounds] for name, seconds in self.seconds.items()}

    def _timed(self, name: str) -> None:
        began = time.perf_counter()
        self.parts[name]()
        self.seconds[name].append(time.perf_counter() - began)


def ratio(slower: Sequence[float], faster: Sequence[float]) -> Row:
    """How many times as fast the second is: the ratio of medians, and the smallest and largest ratio of a pair."""
    pairs = [one / other for one, other in zip(slower, faster, strict=True)]
    median = statistics.median(slower) / statistics.median(faster)
    return {"ratio": median, "lowest": min(pairs), "highest": max(pairs)}


def flops(workload: Workload, rounds: int = 1, *, first: int = 1) -> int:
    """Floating-point operations of matrix products and convolutions in rounds of a workload.

    One batch is counted, with and without gradients, and multiplied by the images that pass (`Workload.passes`).

    Args:
        workload: the workload.
        rounds: how many rounds.
        first: number of the first of them; round 0 does less, where clients distil.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from .contenders.plain import net

    model, images = net(workload.model, workload.classes), torch.zeros(workload.batch_size, 1, 28, 28)
    with FlopCounterMode(display=False) as training:
        model(images).sum().backward()
    with FlopCounterMode(display=False) as testing, torch.no_grad():
        model(images)
    with_gradients, without = workload.passes(rounds, first=first)
    total = with_gradients * training.get_total_flops() + without * testing.get_total_flops()
    return int(total // workload.batch_size)


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """The function, adding to the list what each of its calls took."""

    def call(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = function(*arguments)
        seconds.append(time.perf_counter() - began)
        return result

    return call


def matrix_rate(device: str, threads: int = 1, *, size: int | None = None, repeats: int = 5) -> float:
    """The machine's attainable arithmetic: the best of a few float32 matrix products, in operations per second.

    Args:
        device: a torch device.
        threads: torch threads, on a CPU.
        size: rows and columns; 2048 on a CPU and 8192 on a GPU by default.
        repeats: products to choose from, after one to warm up.
    """
    import torch

    size = size or (8192 if device.startswith("cuda") else 2048)
    with torch_threads(threads):
        one, other = torch.rand(2, size, size, device=device)
        best = float("inf")
        for _ in range(repeats + 1):
            began = time.perf_counter()
            one @ other
            finish(device)
            best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def finish(device: str) -> None:
    """Wait until a GPU has done what it was asked to."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def timed_rounds(runner: Contender, rounds: int, warmup: int) -> list[float]:
    """Seconds of each round after the warm-up."""
    turns = Turns({"": runner.round})
    for _ in range(warmup + rounds):
        turns.last()
    return turns.measured(rounds, warmup)[""]


def in_fresh_process(workload: Workload, *, rounds: int, warmup: int) -> Row:
    """Time and memory of fl-bench on the CPU, in a process of its own with one torch thread, as the executor's are.

    Returns:
        `seconds` and `seconds_server` of each round; the peaks of memory in use before the data were loaded
        (`base_bytes`), before the first round (`loaded_bytes`) and at the end (`peak_bytes`), all None off Linux;
        `parameters` of one client's model.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_probe, workload, rounds, warmup).result()


def _probe(workload: Workload, rounds: int, warmup: int) -> Row:
    import torch

    from .contenders.ours import FlBench

    torch.set_num_threads(1)
    base = peak_memory()
    ours = FlBench(workload, workload.deal(), "cpu", 0)
    loaded = peak_memory()
    return {
        "seconds": timed_rounds(ours, rounds, warmup),
        "seconds_server": [row["seconds_server"] for row in ours.rows[warmup:]],
        "base_bytes": base,
        "loaded_bytes": loaded,
        "peak_bytes": peak_memory(),
        "parameters": ours.parameters,
    }


def peak_memory() -> int | None:
    """Largest resident memory of this process so far, bytes; None where the system does not say.

    Linux's VmHWM: unlike `ru_maxrss` it does not begin with what the parent process used.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def start_up(arguments: Sequence[str], repeats: int) -> list[float]:
    """Seconds that a command of fl-bench takes from the start of its process to its end."""
    command = [sys.executable, "-P", "-m", "fl_bench.benchmarks", *arguments]
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return seconds
