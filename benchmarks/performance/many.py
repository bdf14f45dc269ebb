"""What commands take with ten thousand records (benchmarks room): makes the records of a grid, and times commands.

    python -P -m fl_bench.benchmarks.performance.many FOLDER [SEEDS]

The records are those of the grid `offline` with SEEDS seeds (40: ten thousand records) and made-up numbers: nothing is
trained. They are written below FOLDER where they are not there yet; a folder in memory saves the waiting for the disk.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..grid.grid import Overrides, expand, find_grid, read_grid
from ..records.record import Outcome
from ..records.store import Store

if TYPE_CHECKING:
    from ..grid.cell import Cell

GRID = "offline"
"""Twenty-one methods on twelve data sets, 10 rounds with 21 clients."""

COMMANDS = {
    "plan": ("run", GRID, "--dry-run", "--json"),
    "resume": ("run", GRID, "--json"),
    "leaderboard": ("leaderboard",),
    "compare": ("compare",),
    "check": ("fsck",),
}
"""What is timed, and how the command line begins."""


def fill(store: Store, seeds: str) -> list[Cell]:
    """Write a made-up record for each cell of the grid that has none.

    Args:
        store: where.
        seeds: as `--seeds` takes them.
    Returns:
        The cells.
    """
    grid = expand(read_grid(find_grid(GRID)), GRID, Overrides(seeds=seeds))
    for cell in grid.cells:
        if not (store.runs / cell.folder).is_dir():
            store.write(cell, made_up(cell))
    return list(grid.cells)


def made_up(cell: Cell) -> Outcome:
    """An outcome as a run of the cell may have it, drawn from its key."""
    draw = random.Random(cell.key)
    clients, rounds = cell.split.clients, cell.training.rounds
    facts: dict[str, Any] = {
        "category": "personalized",
        "deployed": "client",
        "views": ["client"],
        "badges": [],
        "view_badges": {},
        "pairing": dict.fromkeys(("partition", "initial_weights", "client_draws", "public_order"), str(cell.seed)),
        "dataset": {"fingerprint": cell.dataset.name, "classes": 10},
        "bytes_one_off": 0,
    }
    rows = [
        {
            "round": index,
            "participants": clients,
            "client.acc_mean": draw.uniform(40, 90),
            "client.acc_worst_decile": draw.uniform(10, 40),
            "client.loss_mean": draw.random(),
            "val_acc_mean": draw.uniform(40, 90),
            "bytes_up": 205800,
            "bytes_down": 205800,
            **{f"seconds_{part}": draw.random() for part in ("training", "server", "evaluation", "checkpoint")},
        }
        for index in range(rounds)
    ]
    details = [
        {"round": index, "client": client, "client.acc": draw.uniform(0, 100), "client.loss": draw.random()}
        for index in range(rounds)
        for client in range(clients)
    ]
    clocks = {"started": None, "finished": None, "seconds_total": draw.uniform(1, 9)}
    return Outcome("done", None, facts, {"fl_bench": "0", "device": "cpu"}, clocks, rows, details)


def timed(arguments: tuple[str, ...]) -> tuple[float, float, float, int]:
    """Run a command line in a process of its own.

    Returns:
        Wall seconds, seconds of the processor (which other work on the machine does not lengthen), peak memory in MB,
        exit code.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "fl_bench.benchmarks", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode


def main(folder: Path, seeds: int) -> None:
    """Make the records, time every command of `COMMANDS` on them, print a line for each."""
    store = Store(folder)
    chosen = f"0-{seeds - 1}"
    began = time.perf_counter()
    cells = fill(store, chosen)
    print(f"{len(cells)} records in {folder}: {time.perf_counter() - began:.1f} s to make")
    for name, (command, *rest) in COMMANDS.items():
        place = ["--seeds", chosen, "--out", str(folder)] if command == "run" else [str(folder)]
        wall, spent, memory, code = timed((command, *rest, *place))
        print(f"{name:12}{wall:8.1f} s wall {spent:8.1f} s cpu {memory:8.0f} MB   exit code {code}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 40)
