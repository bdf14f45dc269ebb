"""Executors as the command line and profiles name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.grid.executors import EXECUTORS, executor, read_executor
from fl_bench.benchmarks.grid.plugins import load_plugins
from fl_bench.benchmarks.running.executor import package_of
from fl_bench.benchmarks.running.here import Local
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Farm:
    """Somewhere."""

    cells: int = 1
    address: str = "auto"

    def slots(self) -> list[str]:
        return ["cpu"] * self.cells

    def run(self, *_: object, **__: object) -> Iterator[Any]:
        return iter(())


@pytest.fixture(autouse=True)
def farm() -> Iterator[None]:
    with EXECUTORS.lent("farm", Farm):
        yield


@pytest.mark.parametrize(
    ("text", "given", "wanted"),
    [
        ("local", {}, Local()),
        ("local", {"jobs": 3, "device": None}, Local(jobs=3)),
        ("local[jobs=2,device=cpu]", {}, Local(2, "cpu")),
        ("local[jobs=2; device=cuda:1]", {"jobs": None}, Local(2, "cuda:1")),
        ("farm[cells=4]", {"jobs": None, "device": None}, Farm(4)),
        ("farm[]", {}, None),
    ],
)
def test_settings_in_brackets(text: str, given: dict[str, Any], wanted: object) -> None:
    if wanted is None:
        with pytest.raises(ConfigError, match="write each setting once"):
            read_executor(text, given)
    else:
        assert read_executor(text, given) == wanted


@pytest.mark.parametrize(
    "content", ["farm: {cells: 4, address: 'ray://head:1'}", "farm:\n  cells: 4\n  address: ray://head:1"]
)
def test_settings_in_a_profile(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.yaml").write_text(content)
    assert read_executor(str(tmp_path / "cluster.yaml")) == Farm(4, "ray://head:1")


def test_a_profile_may_be_a_name(tmp_path: Path) -> None:
    for content in ("farm", "farm:"):
        (tmp_path / "cluster.yml").write_text(content)
        assert read_executor(str(tmp_path / "cluster.yml"), {"cells": 2} if content == "farm" else None) == Farm(
            2 if content == "farm" else 1
        )


@pytest.mark.parametrize(
    ("text", "given", "reason"),
    [
        ("farn", {}, "did you mean 'farm'"),
        ("farm[cell=1]", {}, "did you mean 'cells'"),
        ("farm[cells=x]", {}, "farm.cells must be a valid integer, found 'x'"),
        ("farm[cells=1", {}, "is not an executor; write name"),
        ("farm", {"jobs": 2}, r"--jobs is no setting of it \(cells, address\)"),
        ("local[jobs=1]", {"jobs": 1}, "jobs is given here and by --jobs"),
        ("nowhere.yaml", {}, "there is no file nowhere.yaml"),
    ],
)
def test_what_cannot_be_is_said(text: str, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as error:
        read_executor(text, given)
    assert str(error.value).startswith(f"--executor {text}: ")


@pytest.mark.parametrize("content", ["farm: 3", "{farm: {}, local: {}}", "[farm]", "3: {}", ""])
def test_a_profile_holds_one_executor(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.yaml").write_text(content)
    with pytest.raises(ConfigError, match="a profile holds one executor"):
        read_executor(str(tmp_path / "cluster.yaml"))


def test_an_executor_is_settings_with_an_interface() -> None:
    class Bare:
        def run(self) -> None: ...
        def slots(self) -> None: ...

    @dataclass(frozen=True)
    class Idle:
        def slots(self) -> None: ...

    for kind, reason in ((Bare, "it is none"), (Idle, "it lacks run"), (Farm, "already registered")):
        with pytest.raises(ConfigError, match=reason):
            executor("farm")(kind)


PLUGIN = """\
from dataclasses import dataclass
from fl_bench.benchmarks.grid.executors import executor

@executor("mine-of-a-test")
@dataclass(frozen=True)
class Mine:
    site: str = "here"
    def slots(self):
        return ["cpu"]
    def run(self, cells, store, options, *, timeout=None):
        yield from ()
"""


def test_a_plugin_may_be_an_executor(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    load_plugins([str(tmp_path / "mine.py")])
    assert read_executor("mine-of-a-test[site=there]").site == "there"
    (tmp_path / "idle.py").write_text("from fl_bench.benchmarks.grid.executors import executor\n")
    with pytest.raises(ConfigError, match=r"registers nothing; decorate what it defines with .* or @executor"):
        load_plugins([str(tmp_path / "idle.py")])


def test_a_package_that_is_missing_has_an_extra() -> None:
    assert package_of("json").__name__ == "json"
    with pytest.raises(ConfigError, match=r"pip install 'fl-bench\[fl-bench-nowhere\]'"):
        package_of("fl-bench-nowhere")
