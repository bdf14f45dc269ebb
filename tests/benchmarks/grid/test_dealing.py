"""Data that came with clients are dealt to these unless a grid says otherwise, and being dealt otherwise is said."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.grid.dealing import dealt_differently
from fl_bench.benchmarks.grid.grid import Overrides
from fl_bench.datasets.catalogue import natural_clients
from fl_bench.datasets.partition import PARTITIONS
from fl_bench.datasets.split import SplitSettings
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.grid import Grid

NATURAL = PARTITIONS["natural"]()


def dealt(grid: Grid) -> list[tuple[str, str, int]]:
    """Data set, scheme and number of clients of every cell."""
    return [(cell.dataset.name, cell.scheme.name, cell.split.clients) for cell in grid.cells]


def test_persons_are_clients_where_no_scheme_is_named(small_grid: Callable[..., Grid]) -> None:
    grid = small_grid(datasets=("vowel", "digits"), partition={}, methods=("local",))
    assert dealt(grid) == [("vowel", "natural", 15), ("digits", "latent-groups", 25)]
    said = small_grid(
        datasets=("vowel",), partition={"scheme": "natural", "clients": 15, "public": 0.2}, methods=("local",)
    )
    assert grid.cells[0].key == said.cells[0].key


@pytest.mark.parametrize(
    ("partition", "expected"),
    [
        ({"clients": 5}, ("natural", 5)),
        ({"public": 0.1, "val_fraction": 0.2}, ("natural", 15)),
        ({"scheme": "iid"}, ("iid", 25)),
        ({"scheme": "natural", "clients": 6}, ("natural", 6)),
        ({"scheme": "natural"}, ("natural", 15)),
        ({"groups": 5}, ("latent-groups", 25)),
        ({"clients": 20, "alpha": 5}, ("latent-groups", 20)),
    ],
)
def test_who_says_how_is_obeyed(
    small_grid: Callable[..., Grid], partition: dict[str, Any], expected: tuple[str, int]
) -> None:
    (cell,) = small_grid(datasets=("vowel",), partition=partition, methods=("local",)).cells
    assert (cell.scheme.name, cell.split.clients) == expected


def test_the_command_line_says_how(small_grid: Callable[..., Grid]) -> None:
    given = Overrides(options=["partition.scheme=iid", "partition.clients=7"])
    assert dealt(small_grid(given, datasets=("vowel",), partition={}, methods=("local",))) == [("vowel", "iid", 7)]


def test_more_clients_than_persons_are_refused_before_anything_is_loaded(small_grid: Callable[..., Grid]) -> None:
    told = "clients=25 asks for more clients than the 15 of vowel: ask for 15 or fewer, or name another"
    for partition in ({"clients": 25}, {"scheme": "natural", "clients": 25}):
        with pytest.raises(ConfigError, match=told):
            small_grid(datasets=("vowel",), partition=partition)


def test_clients_of_a_user_s_file_are_counted(small_grid: Callable[..., Grid], tmp_path: Path) -> None:
    rows = [f"{row / 7},{row % 3},ward {row % 4}" for row in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,ward", *rows]))
    whole = {"x": np.zeros((90, 2)), "y": np.arange(90) % 2}
    np.savez(tmp_path / "with.npz", client=np.arange(90) % 6, **whole)
    np.savez(tmp_path / "without.npz", **whole)
    sides = {f"{name}_{side}": part for name, part in whole.items() for side in ("train", "test")}
    np.savez(tmp_path / "sides.npz", client_train=np.arange(90) % 5, client_test=np.arange(90) % 3, **sides)
    named = {
        f"csv:{tmp_path}/t.csv?target=y&client=ward": 4,
        f"csv:{tmp_path}/t.csv?target=y": None,
        f"npz:{tmp_path}/with.npz": 6,
        f"npz:{tmp_path}/without.npz": None,
        f"npz:{tmp_path}/sides.npz": 5,
        "digits": None,
        "planted:clients=6": None,
    }
    assert {name: natural_clients(name) for name in named} == named
    grid = small_grid(datasets=tuple(named), partition={}, methods=("local",))
    assert [(scheme, clients) for _, scheme, clients in dealt(grid)] == [
        ("latent-groups", 25) if own is None else ("natural", own) for own in named.values()
    ]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, ("natural", 15)),
        ({"flags": {"clients": "4"}}, ("natural", 4)),
        ({"options": ["partition.public=0.1"]}, ("natural", 15)),
        ({"flags": {"scheme": "iid"}}, ("iid", 6)),
        ({"flags": {"groups": "3"}}, ("latent-groups", 6)),
        ({"options": ["partition.alpha=0.5"]}, ("latent-groups", 6)),
        ({"dealt_as_written": True}, ("latent-groups", 6)),
    ],
)
def test_the_scheme_of_a_grid_is_meant_for_its_own_data_sets(
    small_grid: Callable[..., Grid], asked: dict[str, Any], expected: tuple[str, int]
) -> None:
    partition = {"scheme": "latent-groups", "clients": 6, "groups": 2, "min_test": 5}
    grid = small_grid(Overrides(datasets="vowel,digits", **asked), datasets=("digits",), partition=partition)
    assert set(dealt(grid)[: len(grid.cells) // 2]) == {("vowel", *expected)}
    assert {scheme for name, scheme, _ in dealt(grid) if name == "digits"} == {
        "iid" if expected[0] == "iid" else "latent-groups"
    }
    written = small_grid(Overrides(**asked), datasets=("vowel",), partition=partition)
    assert {name for _, name, _ in dealt(written)} == {"iid" if expected[0] == "iid" else "latent-groups"}


def test_being_dealt_differently_is_a_sentence() -> None:
    split = SplitSettings(clients=15)
    assert dealt_differently(NATURAL, split, "vowel") is None
    assert dealt_differently(NATURAL, split, "digits") is None
    joined = dealt_differently(NATURAL, SplitSettings(clients=5), "vowel")
    assert joined == "vowel has 15 clients of its own, which are merged into 5"
    other = dealt_differently(PARTITIONS["iid"](), split, "vowel")
    assert other is not None
    assert other.startswith("vowel has 15 clients of its own, but is partitioned into 15 by iid (--scheme natural")


def test_dry_runs_and_partitions_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{row / 7},{row % 3},ward {row % 4}" for row in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,ward", *rows]))
    name = "csv:t.csv?target=y&client=ward"

    def said(*arguments: str) -> str:
        capsys.readouterr()
        assert run_command(list(arguments)) == 0
        printed = capsys.readouterr()
        return " ".join((printed.out + printed.err).split())

    quick = ["--methods", "local", "--seeds", "0", "--dry-run", "--device", "cpu"]
    grid = tmp_path / "g.yaml"
    grid.write_text(f"name: g\ndatasets: ['{name}']\nmethods: [local]\nmodels: [mlp-4]\nseeds: [0]\n")
    assert "clients of its own" not in said("run", "g.yaml", "--dry-run", "--device", "cpu")
    differently = said("run", "g.yaml", "--dry-run", "--device", "cpu", "-o", "partition.scheme=iid")
    assert differently.count("has 4 clients of its own, but is partitioned into 25 by iid") == 1
    assert "clients of its own" not in said("partition", name)
    assert "has 4 clients of its own, which are merged into 2" in said("partition", name, "--clients", "2")
    assert f"{name} is partitioned into its own 4 clients; --scheme changes that" in said(
        "run", "--datasets", name, *quick
    )
    assert "into its own" not in said("run", "--datasets", name, *quick, "--scheme", "iid")
    tune = ["tune", "--datasets", f"{name},digits", "--trials", "2", "--methods", "local", "--dry-run"]
    assert run_command(tune) == 2
    assert "a tuned grid has one scheme for all" in capsys.readouterr().err
    view = json.loads(said("partition", name, "--json"))
    assert (view["scheme"], len(view["clients"]), view["dealt_differently"]) == ("natural", 4, None)
    assert run_command(["partition", name, "--clients", "5"]) == 2
    assert "ask for 4 or fewer" in capsys.readouterr().err
