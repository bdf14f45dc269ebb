"""Our records beside published values: which number stands beside which, what was changed, what lacks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import GRIDS, Overrides, expand, read_grid
from fl_bench.benchmarks.leaderboard.published import Row, families, lacking, read_published, rows
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

COSMOS = {"client": [30.0, 40.0], "server_assigned": [35.0, 41.0], "server_oracle": [36.0, 43.0]}


def cells_of(name: str, **overrides: Any) -> tuple[Cell, ...]:
    path = GRIDS / f"{name}.yaml"
    return expand(read_grid(path), str(path), Overrides(**overrides)).cells


@pytest.fixture
def write(store: Store, outcome: Callable[..., Outcome]) -> Callable[..., None]:
    """Writes a record of a cell from accuracies by view; top-5 is 5 points more than top-1."""

    def make(cell: Cell, views: dict[str, list[float]] | None = None, **options: Any) -> None:
        made = outcome(views, **options)
        for row in made.rounds:
            row.update({f"{view}.top5_mean": row[f"{view}.acc_mean"] + 5 for view in views or {}})  # type: ignore[operator]
        store.write(cell, replace(made, rounds=made.rounds))

    return make


def one(found: list[Row], method: str, view: str = "client") -> Row:
    (row,) = [row for row in found if (row.method, row.view) == (method, view)]
    return row


def test_each_number_stands_beside_the_published_one_of_its_kind(store: Store, write: Callable[..., None]) -> None:
    cells = cells_of("cosmos-paper")
    _, curves = read_published("cosmos-paper")
    mine = cells_of("cosmos-paper", datasets="cifar100", settings="resnet-squeezenet", seeds="1,2")
    for cell in mine:
        shift = 2.0 * (cell.seed - 1)
        views = COSMOS if cell.method == "cosmos" else {"client": [10.0, 20.0]}
        facts = {"badges": ["oracle: true groups"] if cell.label == "cosmos-groups" else []}
        write(cell, {view: [value + shift for value in course] for view, course in views.items()}, facts=facts)
    found = rows(store.records(), cells, curves)
    oracle = one(found, "cosmos", "server_oracle")
    # 43 and 45: mean 44, standard deviation sqrt(2); top-5 five points above, the first round at 36 and 38
    assert (oracle.first, oracle.top1, oracle.top5, oracle.seeds) == (37.0, 44.0, 49.0, ("1", "2"))
    assert oracle.top1_std == pytest.approx(2**0.5)
    assert (oracle.published, oracle.metric, oracle.deployed) == (40.3, "top-1", False)
    assert (one(found, "cosmos").published, one(found, "cosmos").deployed) == (None, True)
    assert one(found, "cosmos", "server_assigned").published is None
    assert {row.badges for row in found if row.method == "cosmos-groups"} == {("oracle: true groups",)}
    values = {row.method: row.published for row in found if row.view == "client"}
    no_number = dict.fromkeys(["cosmos", "cosmos-groups", "local"])
    assert values == {"comet": 20.1, "fedct": 34.2, "fedmd": 19.3, **no_number}
    assert {row.changes for row in found} == {()}


def test_tinyimagenet_is_published_by_top_five(store: Store, write: Callable[..., None]) -> None:
    cells = cells_of("cosmos-paper-64", methods="cosmos", datasets="tinyimagenet", seeds="1")
    write(cells[0], COSMOS)
    found = rows(store.records(), cells_of("cosmos-paper-64"), read_published("cosmos-paper-64")[1])
    oracle = one(found, "cosmos", "server_oracle")
    assert (oracle.top1, oracle.top5, oracle.published, oracle.metric) == (43.0, 48.0, 46.9, "top-5")


def test_what_was_run_otherwise_is_said(store: Store, write: Callable[..., None]) -> None:
    asked = {"datasets": "cifar10", "settings": "mobilenet-squeezenet", "seeds": "1", "methods": "fedmd"}
    nets = "models.names=[mobilenetv2-bn@224, squeezenet@224]"
    (changed, _) = cells_of("cosmos-paper", **asked, rounds=2, options=[nets, "partition.alpha=1"])
    write(changed, {"client": [10.0, 20.0]})
    cells, curves = cells_of("cosmos-paper"), read_published("cosmos-paper")[1]
    (row,) = rows(store.records(), cells, curves)
    assert row.published == 74.6
    assert sorted(row.changes) == [
        "models.names: mobilenetv2-bn@224+squeezenet@224 for mobilenetv2-bn+squeezenet",
        "partition.alpha: 1.0 for 5.0",
        "training.rounds: 2 for 10",
    ]
    # and it does not count as run
    first = lacking(store.records(), cells, curves)[0]
    assert (first.dataset, first.runs, first.asked) == ("cifar10", 18, 18)


def test_what_lacks_is_what_the_paper_shows(store: Store, write: Callable[..., None]) -> None:
    cells, curves = cells_of("cosmos-paper"), read_published("cosmos-paper")[1]
    without = lacking(store.records(), cells, curves)
    # CIFAR-10 with one mix, CIFAR-100 with all eight; six methods with three seeds each
    assert [one.dataset for one in without].count("cifar10") == 1
    assert [(one.runs, one.asked) for one in without] == [(18, 18)] * 9
    mine = cells_of("cosmos-paper", datasets="cifar10", settings="mobilenet-squeezenet")
    for cell in mine[:17]:
        write(cell, {"client": [10.0, 20.0]})
    write(mine[17], status="diverged", reason="round 3: too large")
    first = lacking(store.records(), cells, curves)[0]
    ended = f"{mine[17].label} with seed {mine[17].seed}: diverged, round 3: too large"
    assert (first.runs, first.ended) == (1, (ended,))


@pytest.mark.parametrize(
    ("nets", "known"),
    [
        (["resnet18-bn@224", "mobilenetv2@224"], {"resnet18", "mobilenetv2"}),
        (["alexnet-small", "alexnet@224"], {"alexnet"}),
        (["squeezenet", "mlp-64"], {"squeezenet", "mlp-64"}),
    ],
)
def test_a_network_keeps_its_family_whatever_its_input_and_norm(nets: list[str], known: set[str]) -> None:
    assert families(nets) == known


@pytest.mark.parametrize("grid", ["cosmos-paper", "cosmos-paper-64"])
def test_the_command_says_all_at_80_columns(
    grid: str,
    store: Store,
    write: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
    tmp_path: Any,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FL_BENCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write(next(cell for cell in cells_of(grid) if cell.label == "cosmos"), COSMOS)
    assert run_command(["reproduce", grid, str(store.results)]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    # paths and commands are not cut, so that they can be copied
    wide = [line for line in lines if len(line) > 80]
    assert all(line.startswith("  fl-bench run") or " is not at hand. To get it: " in line for line in wide)
    assert "read off a figure, about +-0.5" in said
    for number in range(1, 23):
        assert any(line.startswith(f"Q{number} ") for line in lines), number
    for dataset in {one.dataset for one in read_published(grid)[1]}:
        assert f"{dataset} is not at hand. To get it: " in said


def test_the_command_as_json(store: Store, write: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    write(next(cell for cell in cells_of("cosmos-paper") if cell.label == "fedct"), {"client": [1.0, 2.0]})
    assert run_command(["reproduce", "cosmos-paper", str(store.results), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(row["method"], row["published"]) for row in said["rows"]] == [("fedct", 76.9)]
    assert len(said["published"]["curves"]) == 9
    assert said["commands"][0].startswith(
        "fl-bench run cosmos-paper --settings mobilenet-squeezenet --datasets cifar10"
    )
    assert [one["number"] for one in said["differences"]][:22] == [f"Q{number}" for number in range(1, 23)]


def test_settings_that_differences_name_can_be_run() -> None:
    texts = " ".join(difference.here for difference in read_published("cosmos-paper")[0].differences)
    asked = {"datasets": "cifar10", "settings": "mobilenet-squeezenet", "seeds": "1"}
    methods = re.findall(r"`(cosmos\[[^`]*\])`", texts)
    options = re.findall(r"`-o ([^`]*)`", texts)
    assert len(methods) > 5
    assert len(options) == 2
    for method in methods:
        assert method in {cell.label for cell in cells_of("cosmos-paper", methods=method, **asked)}
    for option in options:
        assert len(cells_of("cosmos-paper", options=[option], **asked)) == 6


def test_other_grids_have_no_published_values() -> None:
    with pytest.raises(ConfigError, match=r"no grid with published values is named 'quick'.*cosmos-paper-64"):
        read_published("quick")
