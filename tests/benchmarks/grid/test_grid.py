"""Grids become cells; what decides the numbers is in the key, and nothing else is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.grid.cell import Cell, DatasetChoice, safe_name
from fl_bench.benchmarks.grid.grid import Grid, Overrides, expand, find_grid, read_grid
from fl_bench.errors import ConfigError
from fl_bench.methods.base import Method, NoSettings
from fl_bench.methods.registry import method
from fl_bench.streams import Seeds

if TYPE_CHECKING:
    from pathlib import Path

MakeGrid = Callable[..., Grid]
PINNED = ["f0107b6ebd", "150d7d8d44"]
"""Of the small grid with the protocol data 1, rounds 2, method 1."""
PUBLISHED = ["66c1ddc853", "3a48be0e45"]
"""Its keys before protocols entered, with which keys moved once."""


def keys(grid: Grid) -> list[str]:
    return [cell.key for cell in grid.cells]


def test_every_grid_that_comes_with_fl_bench_expands() -> None:
    path = find_grid("quick")
    grid = expand(read_grid(path), str(path))
    assert {cell.label for cell in grid.cells} >= {"cosmos", "fedmd", "local"}
    assert len({cell.seed for cell in grid.cells}) == 3
    assert grid.unsupported == {}


def test_a_single_data_set_method_or_seed_needs_no_list(tmp_path: Path) -> None:
    text = "name: one\nmodels: [mlp-8]\npartition: {clients: 5, groups: 5, min_test: 5}\n"
    path, listed = tmp_path / "one.yaml", tmp_path / "listed.yaml"
    path.write_text(text + "datasets: digits\nmethods: fedavg\nseeds: 3\n", encoding="utf-8")
    listed.write_text(text + "datasets: [digits]\nmethods: [fedavg]\nseeds: [3]\n", encoding="utf-8")
    assert keys(expand(read_grid(path), str(path))) == keys(expand(read_grid(listed), str(listed)))


def test_a_cell_knows_its_defaults(small_grid: MakeGrid) -> None:
    values = small_grid().cells[0].as_dict()
    assert values["partition"]["alpha"] == 1.0
    assert values["training"]["lr"] == 0.001
    assert values["models"] == {"names": ["mlp-8"], "assignment": "balanced", "server": None, "width": None}


def test_names_and_labels_are_in_no_key(small_grid: MakeGrid) -> None:
    entry = {"name": "fedmd", "label": "other", "settings": {"digest_epochs": 1}}  # 1 is the default
    renamed = small_grid(name="renamed", description="x", tuning="none", methods=("local", entry))
    assert keys(renamed) == keys(small_grid())


@pytest.mark.parametrize(
    "changes",
    [
        {"partition": {"clients": 5, "groups": 5, "min_test": 6}},
        {"partition": {"clients": 5, "groups": 5, "min_test": 5, "alpha": 2.0}},
        {"training": {"rounds": 3}},
        {"training": {"rounds": 2, "lr": 0.002}},
        {"training": {"rounds": 2, "risks": True}},
        {"models": ["mlp-16"]},
        {"models": {"names": ["mlp-8"], "server": "mlp-16"}},
        {"datasets": ("letter",)},
        {"seeds": (1,)},
        {"methods": ("local", {"name": "fedmd", "codec": "float16"})},
    ],
)
def test_whatever_decides_numbers_is_in_the_key(small_grid: MakeGrid, changes: dict[str, Any]) -> None:
    assert keys(small_grid(**changes))[1] != keys(small_grid())[1]


def test_the_key_is_the_hash_of_the_canonical_json(small_grid: MakeGrid) -> None:
    cell = small_grid().cells[0]
    text = json.dumps(cell.as_dict(), sort_keys=True, separators=(",", ":"))
    assert cell.key == hashlib.sha256(text.encode()).hexdigest()[:10]
    assert cell.folder == f"digits/local-0-{cell.key}"


def test_a_cell_survives_the_way_to_a_worker(small_grid: MakeGrid) -> None:
    for cell in small_grid(Overrides(methods="all"), tuning="none", vary={"init": "3"}).cells:
        again = Cell.from_worker(json.loads(json.dumps(cell.to_worker())))
        assert again == cell
        assert (again.key, again.label, again.folder, again.tuning) == (cell.key, cell.label, cell.folder, cell.tuning)


def test_parts_of_the_randomness_vary_one_at_a_time_around_every_seed(small_grid: MakeGrid) -> None:
    grid = small_grid(methods=("local",), seeds=(0, 1), vary={"init": "0-2", "batches": (7,)})
    # 0 is the seed 0 itself and 1 the seed 1: two further runs around each for init, one for batches
    assert [str(cell.repetition) for cell in grid.cells] == [
        *("0", "1"),
        *("0/init=1", "0/init=2", "1/init=0", "1/init=2"),
        *("0/batches=7", "1/batches=7"),
    ]
    assert len({cell.key for cell in grid.cells}) == len({cell.folder for cell in grid.cells}) == 8
    assert grid.cells[2].repetition.seeds == Seeds(partition=0, init=1, draws=0, batches=0)
    assert grid.cells[2].as_dict() == {**grid.cells[0].as_dict(), "varied": {"init": 1}}


def test_runs_that_vary_nothing_keep_their_keys(small_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_bench.datasets.protocol.VERSION", 1)
    monkeypatch.setattr("fl_bench.federation.protocol.VERSION", 2)
    plain = small_grid()
    assert "varied" not in plain.cells[0].as_dict()
    assert keys(small_grid(vary={"init": "1-2"}))[:2] == keys(plain)
    # Pinned: the records of this run are found by these keys.
    assert keys(plain) == PINNED
    # Records from before name no protocol; they are found again by all the rest, whose hash was their key.
    assert [cell.identity for cell in plain.cells] == PUBLISHED


@pytest.mark.parametrize(
    ("part", "place"),
    [
        ("data", "fl_bench.datasets.protocol.VERSION"),
        ("rounds", "fl_bench.federation.protocol.VERSION"),
        ("method", "fl_bench.methods.fedmd.FedMD.protocol"),
    ],
)
def test_a_raised_version_moves_the_keys_that_it_is_about(
    small_grid: MakeGrid, monkeypatch: pytest.MonkeyPatch, part: str, place: str
) -> None:
    cells = small_grid().cells
    before = [(cell.key, cell.identity, cell.as_dict()["protocol"]) for cell in cells]
    monkeypatch.setattr(place, 9)
    assert [cell.key != key for cell, (key, _, _) in zip(cells, before, strict=True)] == [part != "method", True]
    assert [cell.identity for cell in cells] == [identity for _, identity, _ in before]
    assert cells[1].as_dict()["protocol"] == {**before[1][2], part: 9}


def test_a_method_says_its_version_as_a_whole_number() -> None:
    with pytest.raises(ConfigError, match=r"protocol must be a whole number from 1 on, .*found '2'"):

        @method("odd")
        class Odd(Method[NoSettings]):
            protocol = "2"  # type: ignore[assignment]  # as a plugin may have it

            def client_update(self, clients: Any, received: Any, rnd: Any) -> None: ...


def test_words_on_tuning_go_with_the_methods_that_they_are_about(small_grid: MakeGrid) -> None:
    def said(**overrides: Any) -> dict[str, str]:
        return {cell.label: cell.tuning for cell in small_grid(Overrides(**overrides), tuning="none").cells}

    assert said() == {"local": "none", "fedmd": "none"}
    assert said(methods="fedmd,fedavg,fedmd[digest_epochs=3]", seeds="7") == {
        "fedmd": "none",
        "fedavg": "",
        "fedmd[digest_epochs=3]": "",
    }
    assert said(options=("training.lr=0.1",)) == {"local": "", "fedmd": ""}
    assert said(rounds=1) == {"local": "", "fedmd": ""}


def test_a_users_file_is_named_by_content_not_by_folder(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text("a,y\n1,0\n2,1\n")
    one, two = (DatasetChoice.of(f"csv:{tmp_path / folder / 'x.csv'}?target=y") for folder in ("one", "two"))
    assert one.name == two.name == "csv:x.csv?target=y"
    assert one.digest == two.digest is not None
    (tmp_path / "two" / "x.csv").write_text("a,y\n1,0\n2,0\n")
    assert DatasetChoice.of(two.location).digest != one.digest


def test_always_runs_whatever_is_asked_for(small_grid: MakeGrid) -> None:
    def labels(text: str) -> list[str]:
        return [cell.label for cell in small_grid(Overrides(methods=text), always=("local",)).cells]

    assert labels("fedmd") == ["fedmd", "local"]
    assert labels("local,fedmd") == ["local", "fedmd"]


def test_options_reach_into_sections_and_beat_settings(small_grid: MakeGrid) -> None:
    settings = {"low": {"partition.alpha": 0.1, "training.lr": 0.5}, "high": {"partition.alpha": 100}}
    grid = small_grid(
        Overrides(options=["training.lr=1e-2", "models.names=[mlp-16, linear]"], rounds=7), settings=settings
    )
    assert {cell.training.lr for cell in grid.cells} == {0.01}
    assert {cell.training.rounds for cell in grid.cells} == {7}
    assert {cell.models.names for cell in grid.cells} == {("mlp-16", "linear")}
    assert [cell.as_dict()["partition"]["alpha"] for cell in grid.cells] == [0.1, 0.1, 100.0, 100.0]


def test_settings_that_are_the_same_are_an_error(small_grid: MakeGrid) -> None:
    with pytest.raises(ConfigError, match="local on digits with seed 0 is the same run as local"):
        small_grid(settings={"a": {}, "b": {"partition.alpha": 1}})


def test_what_cannot_run_is_known_before_it_runs(small_grid: MakeGrid) -> None:
    grid = small_grid(Overrides(methods="local,fedmd,fedavg", options=["partition.public=0", "models=[mlp-8, linear]"]))
    reasons = {cell.label: grid.unsupported.get(cell.key) for cell in grid.cells}
    assert reasons == {
        "local": None,
        "fedmd": "needs public data, but partition.public is 0",
        "fedavg": "needs one architecture, but clients have mlp-8, linear",
    }


@given(st.text(), st.text())
def test_safe_names_are_safe_and_keep_names_apart(one: str, other: str) -> None:
    assert set(safe_name(one)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+=-~")
    assert safe_name(one)[0] != "."
    assert one == other or safe_name(one) != safe_name(other)


def test_settings_may_be_chosen_by_name(small_grid: Callable[..., Grid]) -> None:
    settings = {"even": {"partition.alpha": 100}, "skewed": {"partition.alpha": 0.1}, "long": {"training.rounds": 9}}
    chosen = small_grid(Overrides(settings="long,even"), settings=settings).cells
    assert [(cell.training.rounds, cell.scheme.alpha) for cell in chosen[::2]] == [(9, 1.0), (2, 100.0)]
    with pytest.raises(ConfigError, match=r"no setting of the grid small is named 'evn'; did you mean 'even'"):
        small_grid(Overrides(settings="evn"), settings=settings)
    with pytest.raises(ConfigError, match="the grid small has no settings to choose from"):
        small_grid(Overrides(settings="even"))


def test_training_of_its_own_belongs_to_the_method_and_not_to_the_setting(small_grid: MakeGrid) -> None:
    usual, own = small_grid().cells[1], small_grid(methods=("local", {"fedmd": {"training": {"lr": 0.1}}})).cells[1]
    assert own.label == "fedmd"
    assert own.key != usual.key
    assert own.setting() == usual.setting()  # so that it is compared with methods that train as all do
    assert own.method_identity() == {**usual.method_identity(), "training": {"lr": 0.1}}
    assert (own.training.lr, own.training.rounds) == (0.1, usual.training.rounds)
    assert own == Cell.from_worker(json.loads(json.dumps(own.to_worker())))


def test_training_as_all_have_it_is_none_of_its_own(small_grid: MakeGrid) -> None:
    entry = {"name": "fedmd", "training": {"lr": 0.001, "local_epochs": 1}}
    assert keys(small_grid(methods=("local", entry))) == keys(small_grid())


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"rounds": 3}, r"methods.fedmd.training.rounds is the same for all methods of a comparison; .* lr, "),
        ({"participation": 0.5}, "the same for all methods"),
        ({"local_epoch": 3}, "has no setting 'local_epoch'; did you mean 'local_epochs'"),
        ({"lr": -1.0}, r"methods.fedmd.training: training.lr must be above 0"),
        ({"lr": "fast"}, r"training.lr must be"),
        ([1], r"training must be"),
    ],
)
def test_impossible_training_of_its_own_is_refused(small_grid: MakeGrid, training: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        small_grid(methods=({"fedmd": {"training": training}},))
