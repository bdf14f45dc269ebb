"""Records as runs of experiment trackers: read back from the files of each, by its own library where there is one."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.export.export import export_records
from fl_bench.benchmarks.export.replay import replay
from fl_bench.benchmarks.export.trackers import TRACKERS
from fl_bench.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fl_bench.benchmarks.export.trackers import Tracked
    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome, Record
    from fl_bench.benchmarks.records.store import Store

BEGAN = 1767225600.0
"""When the runs were started: 2026-01-01, midnight UTC."""


@pytest.fixture
def records(store: Store, cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]) -> list[Record]:
    """One that is done, one that reached its time limit after a round."""
    store.write(cell_of("fedmd"), outcome({"client": [20.5, 61.25]}, validation=[None, 40.0]))
    store.write(cell_of("local"), outcome({"client": [30.0]}, status="timeout", reason="it took too long"))
    return store.records()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@dataclass
class Heard:
    """A tracker that keeps what it is told."""

    folder: str = ""
    told: list[Any] = field(default_factory=list)

    def ready(self) -> None:
        self.told.append("ready")

    def start(self, run: Tracked) -> Heard:
        self.told.append(run)
        return self

    def metrics(self, round: int, values: Mapping[str, float], when: float) -> None:
        self.told.append((round, dict(values), when))

    def end(self, status: str, when: float) -> None:
        self.told.append((status, when))


def test_a_run_is_told_from_start_to_end_at_its_own_times(records: list[Record]) -> None:
    tracker = Heard()
    replay(records[0], tracker)
    run, first, second, end = tracker.told
    assert (run.name, run.group, run.began) == (records[0].name, "digits", BEGAN)
    assert {name: run.parameters[name] for name in ("method", "seed", "training.rounds", "models.names")} == {
        "method": "fedmd",
        "seed": 0,
        "training.rounds": 2,
        "models.names": '["mlp-8"]',
    }
    assert first[::2] == (0, BEGAN + 0.25)  # a quarter of a second of training each
    assert first[1]["accuracy"] == 20.5
    assert "validation" not in first[1]
    assert second[::2] == (1, BEGAN + 0.5)
    assert (second[1]["accuracy"], second[1]["validation"], second[1]["bytes_down"]) == (61.25, 40.0, 200)
    assert end == ("done", BEGAN + 1)


def test_trackers_of_others_are_found_by_name(records: list[Record], tmp_path: Path) -> None:
    with TRACKERS.lent("heard", Heard):
        assert export_records(records, "heard", tmp_path / "out") == [tmp_path / "out"]
    with (
        TRACKERS.lent("heard", object),
        pytest.raises(ConfigError, match="must be a frozen dataclass with the setting"),
    ):
        export_records(records, "heard", tmp_path / "out")


def test_runs_are_not_added_twice(records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with TRACKERS.lent("heard", Heard), pytest.raises(ConfigError, match="is not empty, and runs are not added twice"):
        export_records(records, "heard", tmp_path)


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "trackio", "wandb"])
def test_a_tracker_whose_package_is_missing_says_what_to_install(
    name: str, records: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    message = rf"the tracker {name} cannot import its package .*: pip install 'fl-bench\[{name}\]'"
    with pytest.raises(ConfigError, match=message):
        export_records(records, name, tmp_path / "out")


def test_tensorboard_reads_its_files(records: list[Record], out: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    export_records(records, "tensorboard", out)
    assert {path.parent.relative_to(out).as_posix() for path in out.rglob("*tfevents*")} == {
        record.name for record in records
    }
    events = EventAccumulator(str(out / records[0].name)).Reload()
    assert [(one.step, one.value, one.wall_time) for one in events.Scalars("accuracy")] == [
        (0, 20.5, BEGAN + 0.25),
        (1, 61.25, BEGAN + 0.5),
    ]
    assert [one.value for one in events.Scalars("validation")] == [40.0]
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    asked = HParamsPluginData.FromString(content).session_start_info.hparams
    assert (asked["method"].string_value, asked["training.rounds"].number_value) == ("fedmd", 2)
    assert asked["status"].string_value == "done"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_mlflow_reads_its_database(records: list[Record], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow")
    export_records(records, "mlflow", out)
    client = mlflow.MlflowClient(f"sqlite:///{(out / 'mlflow.db').as_posix()}")
    experiment = client.get_experiment_by_name("digits").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert {name: (run.info.status, run.data.tags["status"]) for name, run in runs.items()} == {
        records[0].name: ("FINISHED", "done"),
        records[1].name: ("KILLED", "timeout"),
    }
    run = runs[records[0].name]
    assert run.data.params["training.rounds"] == "2"
    assert run.info.start_time == 1000 * BEGAN
    course = client.get_metric_history(run.info.run_id, "accuracy")
    assert [(one.step, one.value, one.timestamp) for one in course] == [
        (0, 20.5, 1000 * BEGAN + 250),
        (1, 61.25, 1000 * BEGAN + 500),
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_wandb_keeps_its_runs_offline(records: list[Record], out: Path) -> None:
    wandb = pytest.importorskip("wandb")
    export_records(records, "wandb", out)
    wandb.teardown()  # as the process does when it ends: its service writes the last bytes then
    kept = sorted(out.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(kept) == 2
    content = b"".join(path.read_bytes() for path in kept)
    for text in (*(record.name for record in records), "61.25", "training.rounds", "timeout"):
        assert text.encode() in content


def test_trackio_is_not_let_send_anything(records: list[Record], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_SPACE_ID", "somebody/space")
    with pytest.raises(ConfigError, match="TRACKIO_SPACE_ID is set, so that Trackio would send"):
        export_records(records, "trackio", out)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_trackio_keeps_its_runs_in_a_local_database(
    records: list[Record], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("trackio") is None:  # importing it would settle its folder
        pytest.skip("needs trackio")
    monkeypatch.setenv("TRACKIO_DIR", "")
    export_records(records, "trackio", out)
    with pytest.raises(ConfigError, match=r"Trackio writes to .*out in this process"):
        export_records(records, "trackio", out.with_name("other"))
    (database,) = out.glob("*.db")
    with sqlite3.connect(database) as rows:
        told = rows.execute("select run_name, step, metrics from metrics order by run_name, step").fetchall()
    assert [(name, step) for name, step, _ in told] == [
        (records[0].name, 0),
        (records[0].name, 1),
        (records[1].name, 0),
    ]
