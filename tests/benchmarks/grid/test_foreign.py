"""`partition.public` as a mapping in grids: dotted options, keys, and errors before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.grid.cell import Cell
from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.datasets.public import PublicSettings
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MakeGrid = Callable[..., Grid]


@pytest.fixture
def textures(tmp_path: Path) -> str:
    """A user's file of random images in the shape of digits."""
    stream = np.random.default_rng(4)
    path = tmp_path / "textures.npz"
    np.savez(path, x=stream.integers(0, 256, (400, 1, 8, 8), dtype=np.uint8), y=stream.integers(0, 2, 400))
    return f"npz:{path}"


def told(grid: Grid) -> Any:
    """What the first cell says of its public pool."""
    return grid.cells[0].as_dict()["partition"]["public"]


@pytest.mark.parametrize(
    "options",
    [
        ["partition.public={share: 0.2}"],
        ["partition.public.share=0.2"],
        ["partition.public.noise=0"],
        ["partition.public.missing=0", "partition.public.removed=1.0"],
    ],
)
def test_a_pool_that_is_plain_is_its_share_and_has_its_key(small_grid: MakeGrid, options: list[str]) -> None:
    plain, mapped = small_grid(), small_grid(Overrides(options=options))
    assert [cell.key for cell in mapped.cells] == [cell.key for cell in plain.cells]
    assert told(mapped) == 0.2


def test_dotted_options_add_to_what_the_grid_says(small_grid: MakeGrid) -> None:
    partition = {"clients": 5, "groups": 5, "min_test": 5, "public": 0.3}
    options = ["partition.public.size=60", "partition.public.missing=[4, 2]"]
    grid = small_grid(Overrides(options=options), partition=partition)
    assert told(grid) == {"share": 0.3, "size": 60, "missing": [2, 4], "removed": 1.0}
    partition["public"] = {"share": 0.25, "noise": 1, "blur": 2}
    grid = small_grid(Overrides(options=["partition.public.noise=3"]), partition=partition)
    assert told(grid) == {"share": 0.25, "noise": 3, "blur": 2}
    assert grid.cells[0].split.public == PublicSettings(share=0.25, noise=3, blur=2)


def test_doses_are_settings_of_a_grid(small_grid: MakeGrid) -> None:
    grid = small_grid(settings={f"noise-{dose}": {"partition.public.noise": dose} for dose in range(3)})
    assert [cell.split.pool.noise for cell in grid.cells] == [0, 0, 1, 1, 2, 2]
    assert len({cell.key for cell in grid.cells}) == 6


def test_a_key_knows_a_file_by_its_content(small_grid: MakeGrid, textures: str, tmp_path: Path) -> None:
    options = [f"partition.public.from={textures}", "partition.public.foreign=0.5"]
    grid = small_grid(Overrides(options=options))
    values = grid.cells[0].as_dict()
    assert told(grid) == {"share": 0.2, "from": "npz:textures.npz", "foreign": 0.5}
    assert len(values["foreign_digest"]) == 64
    assert str(tmp_path) not in str(values)
    moved = tmp_path / "elsewhere" / "textures.npz"
    moved.parent.mkdir()
    moved.write_bytes((tmp_path / "textures.npz").read_bytes())
    again = small_grid(Overrides(options=[f"partition.public.from=npz:{moved}", options[1]]))
    assert [cell.key for cell in again.cells] == [cell.key for cell in grid.cells]


def test_a_cell_survives_the_way_to_a_worker(small_grid: MakeGrid, textures: str) -> None:
    cell = small_grid(Overrides(options=[f"partition.public={{from: {textures!r}, noise: 2}}"])).cells[1]
    again = Cell.from_worker(cell.to_worker())
    assert again == cell
    assert again.key == cell.key
    assert again.foreign is not None
    assert again.foreign.location == textures


def test_methods_that_open_public_labels_cannot_run_where_some_are_missing(small_grid: MakeGrid, textures: str) -> None:
    methods = "fedmd,fedmd[pretrain_epochs=1],cosmos[weighting=oracle],centralized[with_public=true],dsfl"
    options = [f"partition.public.from={textures}", "partition.public.foreign=0.1"]
    grid = small_grid(Overrides(methods=methods, options=options))
    reason = "needs the labels of public samples, and those of another data set (partition.public.from) have none"
    found = {cell.label: grid.unsupported.get(cell.key) for cell in grid.cells}
    assert found == {
        "fedmd": None,
        "fedmd[pretrain_epochs=1]": reason,
        "cosmos[weighting=oracle]": reason,
        "centralized[with_public=true]": reason,
        "dsfl": None,
    }
    assert not small_grid(Overrides(methods=methods, options=["partition.public.noise=1"])).unsupported


def test_more_samples_than_the_other_data_set_has_are_refused(small_grid: MakeGrid) -> None:
    # 0.2 of 5501 rows of marketing are 1101, three quarters of them 826; vowel has 792.
    options = ["partition.public.from=vowel", "partition.public.foreign=0.75"]
    with pytest.raises(ConfigError, match=r"asks for 826 samples of vowel, which has 792 training rows"):
        small_grid(Overrides(options=options), datasets=("marketing",))
    small_grid(Overrides(options=[*options, "partition.public.size=500"]), datasets=("marketing",))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["partition.public.from=mnits"], "partition.public.from: no dataset is named 'mnits'; did you mean 'mnist'"),
        (["partition.public.from=mnist"], r"samples of mnist \(image, shape \(1, 28, 28\)\), but digits is image"),
        (["partition.public.from=digits"], "names digits, the data set that clients hold"),
        (["partition.public.from=npz:none.npz"], "partition.public.from: .*none.npz"),
        (["partition.public.foreign=0.5"], "partition.public.from names no data set for it"),
        (["partition.public.noize=2"], "partition.public has no setting 'noize'; did you mean 'noise'"),
        (["partition.public.scale=2"], "partition.public.scale does not exist for image data such as digits"),
        (["partition.public.size=251"], "asks for 251 samples, but a share of 0.2 of 1198 rows holds out 250"),
        (["partition.public.size=ten"], "partition.public.size must be a valid integer, found 'ten'"),
        (["partition.public=[0.1, much]"], "partition.public must be a valid number or an object, found 'much'"),
        (["partition.public=much", "partition.public.noise=1"], "partition.public must be a valid number"),
        (["partition.public.noise=1.5"], "partition.public.noise must be a valid integer, found 1.5"),
    ],
)
def test_errors_come_before_anything_runs(small_grid: MakeGrid, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_grid(Overrides(options=options))
