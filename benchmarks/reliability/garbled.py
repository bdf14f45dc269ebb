"""The executor `garbled`, a plugin of the faults: `subprocess`, with noise on the way from worker to driver.

As a program it stands between the two: it starts the worker that it was asked for, and passes on what that says.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fl_bench.benchmarks.grid.executors import executor
from fl_bench.benchmarks.running.apart import Subprocess

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.benchmarks.running.executor import Event
    from fl_bench.benchmarks.running.runner import Options


@executor("garbled")
@dataclass(frozen=True)
class Garbled:
    """Runs cells as `subprocess` does, two at a time."""

    def slots(self) -> list[str]:
        """Two on the CPU."""
        return ["cpu", "cpu"]

    def run(
        self, cells: Sequence[Cell], store: Store, options: Options, *, timeout: float | None = None
    ) -> Generator[Event, None, None]:
        """Start this file in place of Python."""
        python = sys.executable
        between = Path(os.environ["FAULTS_GARBLED"] + ".sh")
        between.write_text(f'#!/bin/sh\nexec "{python}" "{__file__}" "{python}" "$@"\n')
        between.chmod(0o755)
        sys.executable = str(between)
        try:
            yield from Subprocess(jobs=2, device="cpu", kept_every=0.0).run(cells, store, options, timeout=timeout)
        finally:
            sys.executable = python


def main(command: list[str]) -> int:
    """Pass on what a worker says, with one fault."""
    chance = random.Random(os.urandom(8))
    worker = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert worker.stdout is not None
    at = chance.randint(1, 30)
    for number, line in enumerate(worker.stdout, 1):
        lines = [line]
        if number == at:
            kind = chance.choice(["changed", "cut", "twice", "left out", "noise"])
            lines = garbled(kind, line, chance)
            with open(os.environ["FAULTS_GARBLED"], "a") as log:
                log.write(f"{kind}\n")
        for said in lines:
            sys.stdout.buffer.write(said)
        sys.stdout.buffer.flush()
    return worker.wait()


def garbled(kind: str, line: bytes, chance: random.Random) -> list[bytes]:
    """What arrives of a line."""
    place = chance.randrange(len(line) - 1)
    changed = bytes([line[place] ^ (1 << chance.randrange(7))]).replace(b"\n", b" ")
    return {
        "changed": [line[:place] + changed + line[place + 1 :]],
        "cut": [line[:place] + b"\n"],
        "twice": [line, line],
        "left out": [],
        "noise": [bytes(chance.randrange(11, 256) for _ in range(200)) + b"\n", line],
    }[kind]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
