"""Trackers hear of runs from the process that drives them, and what they raise costs no run."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.export.live import followed, read_tracker
from fl_bench.benchmarks.running.executor import Event
from fl_bench.benchmarks.running.runner import Ending
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from fl_bench.benchmarks.export.trackers import Tracked
    from fl_bench.benchmarks.grid.cell import Cell


@dataclass
class Heard:
    """A tracker that keeps what it is told, and may fail at something."""

    told: list[Any] = field(default_factory=list)
    fails_at: str = ""

    def ready(self) -> None:
        """Nothing to load."""

    def start(self, run: Tracked) -> Heard.Run:
        self.hear("start", run.name, run.parameters["method"])
        return Heard.Run(self, run.name)

    def hear(self, *what: Any) -> None:
        if what[0] == self.fails_at:
            raise OSError("no\nroom")
        self.told.append(what)

    @dataclass
    class Run:
        """One of its runs."""

        tracker: Heard
        name: str

        def metrics(self, round: int, values: Mapping[str, float], when: float) -> None:
            self.tracker.hear("metrics", self.name, round, dict(values))

        def end(self, status: str, when: float) -> None:
            self.tracker.hear("end", self.name, status)


def events(*parts: Event) -> Generator[Event, None, None]:
    yield from parts


def told(tracker: Heard, parts: Iterable[Event]) -> list[Any]:
    parts = list(parts)
    assert list(followed(events(*parts), [tracker])) == parts  # who reports hears all of it, whatever trackers do
    return tracker.told


def test_runs_that_run_side_by_side_are_told_apart(cell_of: Callable[..., Cell]) -> None:
    one, two = cell_of("fedmd"), cell_of("local")
    assert told(
        Heard(),
        [
            Event("started", one),
            Event("started", two),
            Event("round", two, round=0, accuracy=50.0, seconds=1.5),
            Event("started", one),  # again, as after a worker that was lost
            Event("round", one, round=0, accuracy=None, seconds=2.0),
            Event("said", one, reason="something"),
            Event("ended", two, ending=Ending("done", None, Path("x"))),
            Event("skipped", one, reason="another process has it"),
        ],
    ) == [
        ("start", one.folder, "fedmd"),
        ("start", two.folder, "local"),
        ("metrics", two.folder, 0, {"accuracy": 50.0, "seconds": 1.5}),
        ("metrics", one.folder, 0, {"seconds": 2.0}),
        ("end", two.folder, "done"),
        ("end", one.folder, "skipped"),
    ]


def test_a_run_that_is_left_was_stopped(cell_of: Callable[..., Cell]) -> None:
    tracker, closed = Heard(), []

    def running() -> Generator[Event, None, None]:
        try:
            yield Event("started", cell_of("fedmd"))
            yield Event("round", cell_of("fedmd"))
        finally:
            closed.append(True)

    following = followed(running(), [tracker])
    next(following)
    following.close()
    assert closed == [True]
    assert [what[0] for what in tracker.told] == ["start", "end"]
    assert tracker.told[-1][2] == "stopped"


@pytest.mark.parametrize("fails_at", ["start", "metrics", "end"])
def test_a_tracker_that_fails_costs_a_line(
    fails_at: str, cell_of: Callable[..., Cell], capsys: pytest.CaptureFixture[str]
) -> None:
    cell, other = cell_of("fedmd"), Heard()
    parts = [
        Event("started", cell),
        Event("round", cell, round=0, accuracy=1.0),
        Event("round", cell, round=1, accuracy=2.0),
        Event("ended", cell, ending=Ending("failed", "why", Path("x"))),
    ]
    assert list(followed(events(*parts), [Heard(fails_at=fails_at), other])) == parts
    assert [what[0] for what in other.told] == ["start", "metrics", "metrics", "end"]
    said = " ".join(capsys.readouterr().err.split())
    assert said == "the tracker Heard failed and is told no more; runs go on (OSError: no room)"


def test_a_tracker_is_configured_as_executors_are(tmp_path: Path) -> None:
    assert str(read_tracker("wandb[folder=here;project=mine]")) == "WandB(folder='here', project='mine')"
    with pytest.raises(ConfigError, match=r"--tracker wandb\[place=x\].*'place'"):
        read_tracker("wandb[place=x]")
    out = tmp_path / "out"
    assert run_command(["run", "--tracker", "tensorbord", "--out", str(out)]) == 2
    assert not out.exists()


def test_a_tracker_that_cannot_start_ends_the_command_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert run_command(["run", "--methods", "fedmd", "--tracker", "wandb", "--out", str(tmp_path)]) == 2
    assert "the tracker wandb cannot import its package" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []
