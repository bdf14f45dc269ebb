"""Workers that stay: answers in the order of tasks, and no worker left behind, whatever fails."""

from __future__ import annotations

import multiprocessing
from importlib import import_module

import pytest

from fl_bench.benchmarks.performance.contenders.crew import Crew


def test_answers_come_in_order_and_a_failure_stops_all() -> None:
    crew = Crew(2, import_module, "operator")
    assert crew.call("neg", [(number,) for number in range(5)]) == [0, -1, -2, -3, -4]
    assert crew.call("neg", [(7,)]) == [-7]  # fewer tasks than workers
    with pytest.raises(RuntimeError, match=r"(?s)worker 1 failed.*ZeroDivisionError"):
        crew.call("truediv", [(1, 1), (1, 0)])
    assert not multiprocessing.active_children()
    crew.close()  # a second time does no harm


def test_a_worker_that_is_gone_is_told_of() -> None:
    crew = Crew(1, import_module, "os")
    with pytest.raises(RuntimeError, match=r"worker 0 ended \(exit code 3\)"):
        crew.call("_exit", [(3,)])
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_worker_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)worker 0 failed.*No module named 'nowhere'"):
        Crew(1, import_module, "nowhere")
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_closing_ends_the_workers() -> None:
    crew = Crew(1, import_module, "operator")
    assert len(multiprocessing.active_children()) == 1
    crew.close()
    assert not multiprocessing.active_children()
