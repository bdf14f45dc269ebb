"""Where faults are injected (benchmarks room): a small grid, its uninterrupted records, and what must stay true."""

from __future__ import annotations

import itertools
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_bench.errors import FLBenchError

from ..records.reading import without_clocks
from ..records.store import Store
from .command import Command
from .seen import BrokenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOTED = Path(__file__).with_name("noted.py")
"""The plugin with the method whose rounds are counted."""

GRID = """\
name: faults
datasets: [digits]
partition: {{clients: 5, groups: 5, min_test: 5}}
models: [mlp-8]
training: {{rounds: {rounds}, local_epochs: 1, batch_size: 64}}
always: []
methods: [fedmd]
seeds: [0]
"""
"""The grid, whose methods and seeds are given on the command line."""

METHODS = ("fedmd", "scaffold", "fedavg")
"""Its methods: what is kept between rounds is a model per client, control variates, a model of the server."""

ROUNDS = 8
"""Rounds of a cell."""


class Results:
    """A results folder that faults are injected into, and the uninterrupted one that it has to end up as.

    Args:
        folder: the folder.
        reference: the records of an uninterrupted run without their clocks, by name.
        cells: options of the command that say which cells there are.
    """

    def __init__(self, folder: Path, reference: Mapping[str, Any], cells: Sequence[str] = ()) -> None:
        self.folder = folder
        self.cells = cells
        self._reference = reference
        self._names = set(reference)
        self._finished: dict[str, bytes] = {}

    @property
    def size(self) -> int:
        """How many cells the grid has."""
        return len(self._names)

    def check(self, *, failed: str | tuple[str, ...] | None = None) -> int:
        """Compare every record that is there: it equals the uninterrupted one, and a finished one never changes.

        Args:
            failed: what the reason of a failed record has to say, one of several; None: no record may have failed.
        Returns:
            How many are done.
        Raises:
            BrokenError: says which record is wrong, and how.
        """
        done: dict[str, bytes] = {}
        reasons = () if failed is None else (failed,) if isinstance(failed, str) else failed
        for folder in Store(self.folder).folders():
            name = f"{folder.parent.name}/{folder.name}"
            try:
                record = without_clocks(folder)
            except (FLBenchError, OSError) as error:
                raise BrokenError(f"{name} cannot be read: {error}") from error
            if record["status"] == "done":
                if record != self._reference[name]:
                    raise BrokenError(
                        f"{name} differs from an uninterrupted run: {_differing(record, self._reference[name])}"
                    )
                done[name] = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
            elif record["status"] != "failed" or not any(word in record["reason"] for word in reasons):
                raise BrokenError(f"{name} is {record['status']}: {record['reason']}")
        changed = [name for name, content in self._finished.items() if done.get(name) != content]
        if changed:
            raise BrokenError(f"finished records changed or are gone: {', '.join(changed)}")
        self._finished = done
        return len(done)

    def complete(self) -> int:
        """Check that every record of the grid is there and done, once, and nothing is left beside them.

        Returns:
            How many there are.
        Raises:
            BrokenError: says what is missing, wrong or left over.
        """
        self.check()
        missing = self._names - set(self._finished)
        if missing:
            raise BrokenError(f"{len(missing)} records are missing: {', '.join(sorted(missing)[:3])}")
        if len(self._finished) != len(self._names):
            raise BrokenError(f"there are {len(self._finished)} records of {len(self._names)} cells")
        if left := self.left():
            raise BrokenError(f"left beside the records: {', '.join(left)}")
        return len(self._finished)

    def left(self) -> list[str]:
        """What is in the folder beside records: checkpoints, claims, temporary files, what jobs were told."""
        places = set(Store(self.folder).folders())
        return sorted(
            path.relative_to(self.folder).as_posix()
            for pattern in ("runs/*/*", ".jobs/*")
            for path in self.folder.glob(pattern)
            if path not in places
        )


class Place:
    """A scratch folder with the grid.

    Args:
        folder: where everything goes.
        times: how often each fault is injected; None: as often as it is worth.
    """

    def __init__(self, folder: Path, times: int | None = None) -> None:
        self.folder = folder
        self.random = random.Random(0)
        self.limit = 120.0
        """Seconds after which a fault is not injected again."""
        self.preparing = 0.0
        """Seconds that uninterrupted runs have taken so far."""
        self._times = times
        self._numbers = itertools.count()
        self._reference: dict[tuple[str, int], tuple[str, Any]] = {}
        """Name and content of the uninterrupted record of each method and seed."""
        self.grid = folder / "faults.yaml"
        self.grid.write_text(GRID.format(rounds=ROUNDS))
        self.rounds = folder / "rounds.txt"

    def times(self, usual: int) -> int:
        """How often to inject a fault that is usually injected so often."""
        return usual if self._times is None else min(usual, self._times)

    def new_folder(self, name: str = "results") -> Path:
        """A name in the scratch folder that nothing has yet."""
        return self.folder / f"{name}-{next(self._numbers)}"

    def results(self, seeds: int, folder: Path | None = None, methods: Sequence[str] = METHODS) -> Results:
        """An empty results folder for the cells of some seeds and methods; their uninterrupted records are made first.

        Raises:
            BrokenError: the uninterrupted run itself fails.
        """
        cells = ["--seeds", f"0-{seeds - 1}", "--methods", ",".join(methods)]
        wanted = {(method, seed) for method in methods for seed in range(seeds)}
        if not wanted <= self._reference.keys():
            began = time.monotonic()
            code, said = self.run(Results(self.folder / "reference", {}, cells))
            if code != 0:
                raise BrokenError(f"the uninterrupted run ended with {code}: {said[-500:]}")
            self.preparing += time.monotonic() - began
            self.lost()
            for record in Store(self.folder / "reference").folders():
                found = without_clocks(record)
                place = (found["cell"]["method"]["name"], found["cell"]["seed"])
                self._reference[place] = (f"{record.parent.name}/{record.name}", found)
        return Results(folder or self.new_folder(), dict(self._reference[place] for place in wanted), cells)

    def start(
        self,
        results: Results,
        *more: str,
        jobs: int = 2,
        executor: str | None = None,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> Command:
        """Start `fl-bench run` of a results folder's cells.

        Args:
            results: the folder.
            more: further options.
            jobs: cells at a time, with the executors of this machine.
            executor: `--executor`; None: `local` with so many jobs.
            environment: variables on top.
            before: words in front of the command.
        """
        where = ["--jobs", str(jobs), "--device", "cpu"] if executor is None else ["--executor", executor]
        out = results.folder
        arguments = ["run", str(self.grid), "--out", str(out), *results.cells, "--use", "threads=1"]
        arguments += ["--plugin", str(NOTED), *where, *more]
        return Command(
            arguments, out, self.new_folder("log"), {"FAULTS_ROUNDS": str(self.rounds), **(environment or {})}, before
        )

    def run(self, results: Results, *more: str, **options: Any) -> tuple[int, str]:
        """The same, to its end: exit code and what it printed."""
        command = self.start(results, *more, **options)
        return command.wait(), command.said

    def finish(self, results: Results, *more: str, **options: Any) -> int:
        """Run what is missing without any fault, and check that all is as in an uninterrupted run.

        Returns:
            How many records there are.
        Raises:
            BrokenError: it does not end with exit code 0, or a record differs.
        """
        code, said = self.run(results, *more, **options)
        if code != 0:
            raise BrokenError(f"the same command again ended with {code}: {said[-500:]}")
        return results.complete()

    def moment(self, command: Command, most: int) -> bool:
        """Wait for a random moment of a command; False when it ends before.

        In one case of eight it lies in the first two seconds; else the results folder changes up to `most` times first,
        however fast the machine is.
        """
        early = self.random.random() < 1 / 8
        changes = 0 if early else self.random.randint(1, most)
        until = time.monotonic() + self.random.uniform(0.0, 2.0 if early else 0.03)
        state = _state(command.results)
        while not command.ended() and (changes or time.monotonic() < until):
            time.sleep(0.01)
            before, state = state, _state(command.results)
            if changes and state != before:
                changes -= 1
                until = time.monotonic() + self.random.uniform(0.0, 0.03)
        return not command.ended()

    def lost(self) -> list[int]:
        """How many rounds were trained again at each restart of a cell since this was last asked."""
        lost: list[int] = []
        last: dict[str, int] = {}
        for line in self.rounds.read_text().splitlines() if self.rounds.exists() else []:
            cell, index = line.split()
            if cell in last and int(index) <= last[cell]:
                lost.append(last[cell] - int(index) + 1)
            last[cell] = int(index)
        self.rounds.unlink(missing_ok=True)
        return lost


def _differing(record: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    return ", ".join(name for name in {**record, **other} if record.get(name) != other.get(name))


def _state(folder: Path) -> list[tuple[str, int]]:
    """Names and times of what is below a folder, hidden or not."""
    found = []
    for place, _, names in os.walk(folder / "runs"):
        for name in names:
            with suppress(OSError):
                path = os.path.join(place, name)
                found.append((path, os.stat(path).st_mtime_ns))
    return found
