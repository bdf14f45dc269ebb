"""Runs that differ in the public pool: the same private data, weights and draws, and what their records say."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.grid.grid import Grid, Overrides
from fl_bench.benchmarks.records.reading import read_record
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.datasets.catalogue import load_dataset
from fl_bench.datasets.doses import dosed
from fl_bench.datasets.split import split
from fl_bench.methods.fedmd import FedMD

if TYPE_CHECKING:
    from pathlib import Path

    from fl_bench.benchmarks.records.record import Record
    from fl_bench.benchmarks.records.store import Store
    from fl_bench.federation.channel import Uploads

MakeGrid = Callable[..., Grid]


@pytest.fixture
def textures(tmp_path: Path) -> str:
    """A user's file of random images in the shape of digits."""
    stream = np.random.default_rng(4)
    path = tmp_path / "textures.npz"
    np.savez(path, x=stream.integers(0, 256, (400, 1, 8, 8), dtype=np.uint8), y=stream.integers(0, 2, 400))
    return f"npz:{path}"


def results(record: Record) -> list[dict[str, Any]]:
    """All that rounds say but clocks."""
    return [{name: value for name, value in row.items() if "seconds" not in name} for row in record.rounds]


def run(grid: Grid, store: Store) -> dict[str, Record]:
    """The records of a grid, by method."""
    return {cell.label: read_record(run_cell(cell, store, Options()).folder) for cell in grid.cells}


@pytest.mark.parametrize(
    "pool",
    [
        "{noise: 3, contrast: 2}",
        "{size: 100}",
        "{missing: 4, removed: 0.5}",
        "{from: TEXTURES, foreign: 0.5}",
        "{from: TEXTURES, shift: 1}",
    ],
)
def test_a_dose_leaves_what_clients_do_alone_to_the_bit(
    small_grid: MakeGrid, store: Store, textures: str, pool: str
) -> None:
    training = {"rounds": 2, "participation": 0.6}
    plain = run(small_grid(training=training), store)
    options = [f"partition.public={pool.replace('TEXTURES', repr(textures))}"]
    dosed = run(small_grid(Overrides(options=options), training=training), store)
    # Local-only reads no public data: its private data, weights, draws and batches are all there is.
    assert results(dosed["local"]) == results(plain["local"])
    assert results(dosed["fedmd"]) != results(plain["fedmd"])
    for method in ("local", "fedmd"):
        ours, theirs = dosed[method].facts, plain[method].facts
        for what in ("initial_weights", "client_draws"):
            assert ours["pairing"][what] == theirs["pairing"][what]
        assert ours["heterogeneity"] == theirs["heterogeneity"]
        assert ours["dataset"] == theirs["dataset"]
        assert "public_pool" not in theirs


def test_a_record_names_the_other_data_set_and_the_doses(small_grid: MakeGrid, store: Store, textures: str) -> None:
    options = [f"partition.public={{from: {textures!r}, foreign: 0.25, blur: 1, size: 200, missing: [0]}}"]
    facts = run(small_grid(Overrides(methods="local", options=options)), store)["local"].facts
    assert facts["public_samples"] == 200
    assert facts["public_pool"].pop("fingerprint")
    assert facts["public_pool"] == {
        "samples": 200,
        "foreign": 50,
        "source": textures,
        "source_fingerprint": load_dataset(textures).about.fingerprint,
        "missing_classes": [0],
        "removed": 1.0,
        "changes": {"blur": 1},
    }


def test_the_pool_follows_the_seed_of_the_partition(small_grid: MakeGrid, store: Store) -> None:
    options = ["partition.public.noise=1"]
    grid = small_grid(Overrides(methods="local", options=options), vary={"partition": "1", "batches": "1"})
    pools = [read_record(run_cell(cell, store, Options()).folder).facts["public_pool"] for cell in grid.cells]
    data, cell = load_dataset("digits"), grid.cells[0]
    _, by_hand = dosed(data, split(data, cell.scheme, cell.split, 0), cell.split, 0)
    assert by_hand.pool is not None
    assert pools[0]["fingerprint"] == pools[2]["fingerprint"] == by_hand.pool.fingerprint
    assert pools[1]["fingerprint"] != pools[0]["fingerprint"]


@pytest.mark.parametrize("method", ["cosmos", "comet", "dsfl", "feddf", "fedct", "cfd", "ktpfl"])
def test_methods_with_public_data_run_on_foreign_and_corrupted_samples(
    small_grid: MakeGrid, store: Store, textures: str, method: str
) -> None:
    options = [f"partition.public={{from: {textures!r}, foreign: 0.5, noise: 1}}"]
    (record,) = run(small_grid(Overrides(methods=method, options=options), training={"rounds": 1}), store).values()
    assert record.status == "done"


def test_a_method_that_opens_labels_unannounced_cannot_run_either(
    small_grid: MakeGrid, store: Store, textures: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peek(self: FedMD, uploads: Uploads, rnd: Any) -> None:
        rnd.public.labels.open("peeker")

    monkeypatch.setattr(FedMD, "server_update", peek)
    options = [f"partition.public.from={textures}", "partition.public.foreign=0.5"]
    (record,) = run(small_grid(Overrides(methods="fedmd", options=options), always=()), store).values()
    assert record.status == "unsupported"
    assert record.reason == (
        "peeker opens public labels, but 123 of 245 public samples come from another data set and have none"
    )


def test_natural_clients_of_a_users_file_have_public_pools_of_another_kind(
    small_grid: MakeGrid, store: Store, tmp_path: Path
) -> None:
    stream = np.random.default_rng(4)
    for name in ("own", "other"):
        points = [(client, *point) for client in range(3) for point in stream.normal(size=(40, 2)).tolist()]
        rows = [f"{x:.3f},{y:.3f},{int(x > y)},{client}" for client, x, y in points]
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,target,client", *rows]) + "\n")
    location = f"csv:{tmp_path}/NAME.csv?target=target&client=client"
    grid = small_grid(
        Overrides(options=["partition.public.foreign=0.5", "partition.public.scale=2"]),
        datasets=(location.replace("NAME", "own"),),
        partition={
            "scheme": "natural",
            "clients": 3,
            "min_test": 2,
            "public.from": location.replace("NAME", "other"),
        },
    )
    records = run(grid, store)
    assert {record.reason for record in records.values()} == {None}
    assert records["fedmd"].facts["public_pool"]["changes"] == {"scale": 2}
