"""The COSMOS paper's grids: what they ask for, and that all of it runs on tiny data in the true on-disk formats."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from picture_files import EMNIST, trust_batches, trust_names, write_cifar, write_idx, write_tiny_imagenet

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.grid import GRIDS, Overrides, expand, read_grid
from fl_bench.benchmarks.leaderboard.published import families, read_published
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.benchmarks.grid.cell import Cell

PAPER = {"cosmos-paper": 32, "cosmos-paper-64": 64}


def cells_of(name: str, **overrides: Any) -> tuple[Cell, ...]:
    path = GRIDS / f"{name}.yaml"
    return expand(read_grid(path), str(path), Overrides(**overrides)).cells


@pytest.mark.parametrize(("name", "batch"), PAPER.items())
def test_the_grids_ask_for_the_papers_protocol(name: str, batch: int) -> None:
    cells = cells_of(name)
    # methods.md 1.5
    for cell in cells:
        assert (cell.split.clients, cell.scheme.groups, cell.scheme.alpha) == (25, 5, 5.0)  # type: ignore[attr-defined]
        assert (cell.training.rounds, cell.training.local_epochs, cell.training.batch_size) == (10, 5, batch)
        assert cell.models.server == "vgg16-plain"
    assert {cell.seed for cell in cells} == {1, 2, 3}
    settings = {cell.label: cell.config for cell in cells}
    assert sorted(settings) == ["comet", "cosmos", "cosmos-groups", "fedct", "fedmd", "local"]
    assert (settings["fedmd"].digest_epochs, settings["fedmd"].digest_lr, settings["fedmd"].loss) == (5, 2e-3, "kl")
    assert (settings["comet"].mode, settings["comet"].clusters, settings["comet"].distill_lr) == ("sequential", 5, 8e-4)
    assert (settings["fedct"].mode, settings["fedct"].distill_lr) == ("sequential", 1e-4)
    for label in ("cosmos", "cosmos-groups"):
        config = settings[label]
        assert (config.distill_epochs, config.server_epochs, config.distill_lr, config.server_lr) == (5, 5, 1e-4, 1e-4)


@pytest.mark.parametrize("name", PAPER)
def test_the_main_row_needs_no_oracle(name: str) -> None:
    needs = {cell.label: METHODS[cell.method](cell.config).needs() for cell in cells_of(name)}
    assert needs["cosmos-groups"].groups
    assert not any(need.groups or need.public_labels for label, need in needs.items() if label != "cosmos-groups")


@pytest.mark.parametrize("name", PAPER)
def test_every_published_panel_is_in_its_grid(name: str) -> None:
    asked = {(cell.dataset.name, families(cell.models.names)) for cell in cells_of(name)}
    _, curves = read_published(name)
    assert {(one.dataset, frozenset(one.nets)) for one in curves} <= asked
    methods = {cell.method for cell in cells_of(name)}
    assert all(set(one.last) == methods - {"local"} for one in curves)


def test_a_setting_may_be_chosen_and_then_enlarged() -> None:
    nets = "models.names=[mobilenetv2-bn@224, squeezenet@224]"
    cells = cells_of("cosmos-paper", settings="mobilenet-squeezenet", options=[nets, "models.server=vgg16@224"])
    assert len(cells) == 2 * 6 * 3
    assert {cell.models.server for cell in cells} == {"vgg16@224"}
    assert {cell.models.names for cell in cells} == {("mobilenetv2-bn@224", "squeezenet@224")}


MINIATURE = [
    "partition.clients=5",
    "partition.public_keep=0.1",
    "training.local_epochs=1",
    "training.batch_size=4",
]


def run_miniature(cells: tuple[Cell, ...], data: Path, results: Path) -> None:
    """In this process, where the checksums of the tiny files are taken for the published ones."""
    for cell in cells:
        ending = run_cell(cell, Store(results), Options(data_dir=str(data)))
        assert (ending.status, ending.reason) == ("done", None)


@pytest.mark.slow
def test_the_grid_runs_on_cifar_with_all_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # 50 training pictures: 10 are public, of which 1 is used, and each of five clients has 8. Every net is somebody's.
    data, results = tmp_path / "data", tmp_path / "results"
    write_cifar(data, "cifar10", per_file=(1, 4))
    trust_batches(data, "cifar10", monkeypatch)
    trust_names(data, "cifar10", monkeypatch)
    nets = ["resnet18-bn", "mobilenetv2-bn", "squeezenet", "alexnet-small"]
    # A large server runs in the test below.
    options = [*MINIATURE, "models.server=squeezenet", f"models.assignment=[{','.join([*nets, 'squeezenet'])}]"]
    cells = cells_of("cosmos-paper", datasets="cifar10", settings="all-four", seeds="1", rounds=2, options=options)
    run_miniature(cells, data, results)
    records = {record.label: record for record in Store(results).records()}
    assert sorted(records) == ["comet", "cosmos", "cosmos-groups", "fedct", "fedmd", "local"]
    assert records["cosmos-groups"].facts["badges"] == ["oracle: true groups (cosmos, clusters=groups)"]
    assert records["cosmos"].facts["badges"] == []
    assert set(records["cosmos"].facts["parameters"]) == set(nets)
    # 25 clients became 5, and each sends N C 4 bytes a round
    assert [row["bytes_up"] for row in records["cosmos"].rounds] == [5 * 1 * 10 * 4] * 2

    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["reproduce", "cosmos-paper", str(results), "--data-dir", str(data), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = {(row["method"], row["view"]): row for row in said["rows"]}
    assert {("cosmos", view) for view in ("client", "server_assigned", "server_oracle")} <= set(rows)
    # The paper has no such curve of CIFAR-10, so that nothing stands beside these rows.
    assert {row["published"] for row in said["rows"]} == {None}
    assert "training.rounds: 2 for 10" in rows["local", "client"]["changes"]
    assert {one["name"]: one["found"] for one in said["data"]} == {"cifar10": True, "cifar100": False}


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["cifar100", "emnist-balanced", "tinyimagenet"])
def test_the_grids_run_on_the_other_data_sets(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, results = tmp_path / "data", tmp_path / "results"
    if dataset == "cifar100":
        write_cifar(data, dataset, per_file=(2, 2))
        trust_batches(data, dataset, monkeypatch)
        trust_names(data, dataset, monkeypatch)
    elif dataset == "tinyimagenet":
        write_tiny_imagenet(data, 10, (4, 3))
    else:
        write_idx(data / "EMNIST" / "raw", EMNIST, 47, True, (2, 2))
    grid = "cosmos-paper" if dataset == "cifar100" else "cosmos-paper-64"
    chosen = {"settings": "mobilenet-squeezenet"} if dataset == "cifar100" else {}
    options = [*MINIATURE, "models.assignment=[mobilenetv2-bn,mobilenetv2-bn,squeezenet,squeezenet,squeezenet]"]
    cells = cells_of(grid, datasets=dataset, methods="cosmos", seeds="1", rounds=1, options=options, **chosen)
    run_miniature(cells, data, results)

    monkeypatch.setenv("COLUMNS", "80")
    assert run_command(["reproduce", grid, str(results), "--data-dir", str(data)]) == 0
    text = capsys.readouterr().out
    value = {"cifar100": "~44.2", "emnist-balanced": "~93.8", "tinyimagenet": "~46.9 top-5"}[dataset]
    (line,) = [line for line in text.splitlines() if line.startswith("· server_oracle")]
    assert value in line
    assert all(value not in line for line in text.splitlines() if line.startswith(("cosmos ", "· server_assigned")))
