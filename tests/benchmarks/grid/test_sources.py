"""The source of a class of a notebook: what is in its cell, and nothing that changes from session to session."""

from __future__ import annotations

import linecache
import sys
from textwrap import dedent
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.sources import source_of
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

USUAL = """
from dataclasses import dataclass, field
from fl_bench.methods.fedavg import FedAvg, FedAvgConfig
from fl_bench.methods.base import Method, Requires
from fl_bench.federation.payloads import Parameters, Scores
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Runs cells as notebooks do: in a module that is no file, with a text that only linecache knows."""
    module, count = ModuleType("notebook"), 0
    monkeypatch.setitem(sys.modules, "notebook", module)
    monkeypatch.setattr(linecache, "cache", dict(linecache.cache))

    def run_cell(text: str) -> dict[str, Any]:
        nonlocal count
        count += 1
        name, text = f"<cell {count}>", dedent(text)
        linecache.cache[name] = len(text), None, text.splitlines(keepends=True), name
        exec(compile(text, name, "exec"), vars(module))
        return vars(module)

    run_cell(USUAL)
    return run_cell


MINE = '''
helper = 1

class Mine(FedAvg):
    """Mine."""

    def server_update(self, uploads, rnd):
        return super().server_update(uploads, rnd)
'''


def test_a_class_is_its_lines_of_the_cell(run: Callable[[str], dict[str, Any]]) -> None:
    first = source_of(run(MINE)["Mine"])
    assert first == MINE.partition("\n\n")[2]
    assert source_of(run(f"# another cell\n{MINE.replace('helper = 1', 'helper = 2')}")["Mine"]) == first
    assert source_of(run(MINE.replace("(uploads, rnd)\n", "(uploads, rnd) \n"))["Mine"]) != first


def test_a_class_that_is_written_again_is_the_one_that_was_given(run: Callable[[str], dict[str, Any]]) -> None:
    before = run(MINE)["Mine"]
    after = run(MINE.replace("Mine.", "Other."))["Mine"]
    assert '"""Mine."""' in source_of(before)
    assert '"""Other."""' in source_of(after)
    both = run(f"{MINE}\nold = Mine\n{MINE.replace('Mine.', 'Second.')}")
    assert '"""Mine."""' in source_of(both["old"])
    assert '"""Second."""' in source_of(both["Mine"])


def test_settings_and_bases_of_the_notebook_are_part_of_it(run: Callable[[str], dict[str, Any]]) -> None:
    text = """
    @dataclass(frozen=True)
    class Settings:
        trim: float = 0.2
        names: tuple[str, ...] = ()

    class Base(Method[Settings]):
        exchanges = frozenset({Parameters, Scores})
        requires = Requires(one_architecture=True)

    class Mine(Base):
        def client_update(self, clients, received, rnd): ...
    """
    first = source_of(run(text)["Mine"])
    assert "trim: float = 0.2" in first.replace("<class 'float'>", "float")
    for change in (("0.2", "0.3"), ("names", "others"), ("{Parameters, Scores}", "{Scores}"), ("=True", "=False")):
        assert source_of(run(text.replace(*change))["Mine"]) != first, change
    assert source_of(run(text.replace("{Parameters, Scores}", "{Scores, Parameters}"))["Mine"]) == first


def test_a_class_is_the_same_after_it_became_a_method(run: Callable[[str], dict[str, Any]]) -> None:
    cls = run("class Mine(FedAvg): pass")["Mine"]
    before = source_of(cls)
    cls.name = "mine"
    assert source_of(cls) == before


def test_what_has_no_lasting_text_is_refused(run: Callable[[str], dict[str, Any]]) -> None:
    cls = run(
        """
        @dataclass(frozen=True)
        class Settings:
            sizes: tuple = field(default_factory=lambda: (1, 2))

        class Mine(Method[Settings]):
            def client_update(self, clients, received, rnd): ...
        """
    )["Mine"]
    with pytest.raises(ConfigError, match="Python does not know the source of Settings"):
        source_of(cls)
