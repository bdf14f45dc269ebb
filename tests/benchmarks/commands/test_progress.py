"""Progress of a run, in a pipe and at a terminal."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

from fl_bench.benchmarks.commands.progress import Lines, StatusLine, clock, reporter, saying
from fl_bench.benchmarks.running.executor import Event
from fl_bench.benchmarks.running.runner import Ending

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from rich.console import Console

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.store import Store


def test_lines_where_there_is_no_terminal_and_one_line_where_there_is(
    store: Store,
    cell_of: Callable[..., Cell],
    screen: Callable[..., Console],
    text: Callable[[Console], str],
) -> None:
    cell = cell_of()
    done = Event("ended", cell, ending=Ending("done", None, store.runs), seconds=3.0)
    failed = Event("ended", cell, ending=Ending("failed", "ValueError: x", store.runs), seconds=3.0)
    waiting = Event("waiting", cell, reason="taken")
    said = Event("said", cell, reason="2 tasks wait")
    elsewhere = Event("ended", cell, ending=done.ending, reason="by another process")
    plain = screen()
    with reporter(plain, 3) as report:
        assert isinstance(report, Lines)
        skipped = Event("skipped", cell, reason="taken")
        for event in (Event("started", cell), Event("round", cell), done, waiting, said, skipped, elsewhere):
            report.take(event)
    assert text(plain).splitlines() == [
        "[1/3] digits local seed 0: done, 3.0 s",
        "digits local seed 0: waiting, taken",
        "2 tasks wait",
        "[2/3] digits local seed 0: skipped, taken",
        "[3/3] digits local seed 0: done, by another process",
    ]
    fancy = screen(terminal=True)
    with reporter(fancy, 2) as report:
        assert isinstance(report, StatusLine)
        for event in (Event("started", cell), Event("round", cell, round=1, accuracy=51.26), waiting, said, failed):
            report.take(event)
    assert "failed (ValueError: x)" in text(fancy)
    assert "waiting, taken" in text(fancy)
    assert "2 tasks wait" in text(fancy)


def test_the_line_says_what_is_done_how_long_it_takes_what_runs_and_its_accuracy(
    store: Store, cell_of: Callable[..., Cell], screen: Callable[..., Console], text: Callable[[Console], str]
) -> None:
    first, second = cell_of("local"), cell_of("fedmd", 1)
    done = Event("ended", cell_of("fedmd", 0), ending=Ending("done", None, store.runs))
    shown = screen(terminal=True, width=90)
    with reporter(shown, 6, lambda: 41.2) as report:
        for event in (done, Event("started", first), Event("round", second, round=0, accuracy=88.14)):
            report.take(event)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", text(shown)).splitlines()]
    assert "runs 1/6 · ETA 0:41 · digits fedmd seed 1, round 1/2 · 88.1 % · +1 more" in lines
    narrow = screen(terminal=True, width=30)
    with reporter(narrow, 6) as report:
        report.take(Event("round", second, round=0, accuracy=88.14))
    assert "runs 0/6 · digits fedmd seed …" in text(narrow)
    assert (clock(41.2), clock(3723), clock(-5)) == ("0:41", "1:02:03", "0:00")


def test_verbose_has_a_line_per_round_and_the_log_the_same_lines_with_times(
    store: Store, cell_of: Callable[..., Cell], screen: Callable[..., Console], text: Callable[[Console], str]
) -> None:
    log = store.results / "run.log"
    events = (
        Event("started", cell_of()),
        Event("round", cell_of(), round=1, accuracy=51.26),
        Event("ended", cell_of(), ending=Ending("done", None, store.runs), seconds=3.0),
    )
    log.parent.mkdir()
    shown = screen()
    for verbose in (False, True):
        with reporter(shown, 1, verbose=verbose, log=log) as report:
            for event in events:
                report.take(event)
    ended = "[1/1] digits local seed 0: done, 3.0 s"
    expected = [ended, "digits local seed 0, round 2/2 · 51.3 %", ended]
    assert text(shown).splitlines() == expected
    stamped = [line.split(" ", 1) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line for _, line in stamped] == expected
    assert all(datetime.fromisoformat(stamp).tzinfo is not None for stamp, _ in stamped)
    with reporter(shown, 1, log=store.results / "no folder" / "run.log") as report:
        report.take(events[2])  # no log is no reason to stop
    assert text(shown).splitlines()[-1] == ended


def test_what_takes_long_is_said_and_what_does_not_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with saying("drawing", after=60):
        pass
    assert capsys.readouterr().err == ""
    with saying("comparing", after=0):
        deadline = time.monotonic() + 10
        while not (said := capsys.readouterr().err) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said == "comparing ...\n"
