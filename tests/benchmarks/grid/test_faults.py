"""`faults` in grids: a section like others, dotted options, keys that stay without faults, and reasons before a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.benchmarks.leaderboard.pairing import setting_text
from fl_bench.errors import ConfigError
from fl_bench.federation.faults import Faults, Poison
from fl_bench.methods.registry import METHODS

MakeGrid = Callable[..., Grid]


@pytest.mark.parametrize(
    "options",
    [
        ["faults.absent=0", "faults.absent_at=either"],
        ["faults.poison.clients=0", "faults.poison.kind=scale", "faults.poison.factor=3"],
        ["faults.poison={clients: 0.0}", "faults.deadline=null", "faults.late=0.0"],
    ],
)
def test_faults_of_zero_have_the_key_of_none(small_grid: MakeGrid, options: list[str]) -> None:
    plain, none = small_grid(), small_grid(Overrides(options=options))
    assert [cell.key for cell in none.cells] == [cell.key for cell in plain.cells]
    assert "faults" not in plain.cells[0].as_dict()


def test_dotted_options_add_to_what_the_grid_says(small_grid: MakeGrid) -> None:
    faults = {"absent": 0.1, "poison": {"kind": "scale", "clients": 0.3}}
    options = ["faults.poison.factor=4", "faults.absent=0.2", "faults.deadline=7"]
    (cell, _) = small_grid(Overrides(options=options), faults=faults).cells
    assert cell.faults == Faults(absent=0.2, deadline=7, poison=Poison("scale", 0.3, 4.0))
    assert cell.as_dict()["faults"] == {
        "absent": 0.2,
        "deadline": 7,
        "poison": {"kind": "scale", "clients": 0.3, "factor": 4.0},
    }
    assert setting_text(cell.as_dict()).endswith(
        "; faults (absent=0.2, deadline=7, poison=(kind=scale, clients=0.3, factor=4))"
    )
    again = Cell.from_worker(json.loads(json.dumps(cell.to_worker())))
    assert again == cell
    assert again.key == cell.key


def test_settings_of_a_grid_vary_faults_and_every_fault_is_in_the_key(small_grid: MakeGrid) -> None:
    changes: dict[str, dict[str, Any]] = {
        "none": {},
        "absent": {"faults.absent": 0.2},
        "place": {"faults.absent": 0.2, "faults.absent_at": "after_download"},
        "late": {"faults.late": 0.2},
        "deadline": {"faults.deadline": 3},
        "noise": {"faults.label_noise": 0.2},
        "poison": {"faults.poison.clients": 0.2},
        "kind": {"faults.poison.clients": 0.2, "faults.poison.kind": "random-scores"},
    }
    cells = small_grid(Overrides(methods="fedmd"), settings=changes).cells
    assert len({cell.key for cell in cells}) == len({str(cell.setting()) for cell in cells}) == len(changes)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("faults.absend=0.2", "faults has no setting 'absend'; did you mean 'absent'"),
        ("faults.poison.kinds=scale", "faults.poison has no setting 'kinds'; did you mean 'kind'"),
        ("faults.poison=0.2", r"faults.poison must be a mapping such as \{clients: 0.2\}, found 0.2"),
        ("faults.absent=1", r"faults.absent must be in \[0, 1\), got 1"),
        (
            "faults.absent_at=home",
            "faults.absent_at must be 'before_upload', 'after_download' or 'either'",
        ),
        ("faults.poison.factor=2", "faults.poison.factor belongs to kind scale"),
    ],
)
def test_errors_name_the_setting(small_grid: MakeGrid, option: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        small_grid(Overrides(options=[option]))


def test_what_a_method_cannot_meet_is_known_before_it_runs(small_grid: MakeGrid) -> None:
    def reasons(*options: str) -> dict[str, str]:
        grid = small_grid(Overrides(methods="all", options=options))
        return {cell.method: grid.unsupported[cell.key] for cell in grid.cells if cell.key in grid.unsupported}

    absent = reasons("faults.absent=0.2")
    assert absent.keys() == {"cfd", "fedkd", "fedselect", "pfedck", "pfedhn", "scaffold"}
    assert absent.keys() == {name for name in METHODS.names() if not METHODS[name].tolerates_absence}
    assert absent["scaffold"].endswith("(`tolerates_absence`), and faults.absent is 0.2")
    random = reasons("faults.poison.clients=0.2", "faults.poison.kind=random-scores")
    assert random["fedavg"] == (
        "faults.poison.kind=random-scores spoils Scores and Labels, but its clients send Parameters; "
        "label-flip is for every method"
    )
    assert not random.keys() & {"fedmd", "cosmos", "fedct", "local", "centralized"}
    scale = reasons("faults.poison.clients=0.2", "faults.poison.kind=scale")
    assert "spoils Parameters and Prototypes, but its clients send Scores" in scale["fedmd"]
    assert not scale.keys() & {"fedavg", "fedproto", "feddf", "local"}
    assert reasons("faults.poison.clients=0.2", "faults.late=0.2", "faults.deadline=3", "faults.label_noise=0.1") == {}
