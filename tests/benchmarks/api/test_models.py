"""`Results.model`: the net of a client that a run kept scores what the run recorded of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import fl_bench as fb
from fl_bench.benchmarks.grid.cell import resolve_partition
from fl_bench.benchmarks.grid.grid import GridFile, expand
from fl_bench.benchmarks.records.models import MODELS
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.datasets.split import split
from fl_bench.errors import ConfigError, DataError
from fl_bench.federation.run import Run
from fl_bench.methods.fedavg import FedAvg

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Record

SMALL: dict[str, Any] = {
    "datasets": ["digits"],
    "seeds": 0,
    "partition": {"scheme": "latent-groups", "clients": 5, "groups": 5, "min_test": 5},
    "models": ["mlp-8"],
    "training": {"rounds": 2, "participation": 0.6},
    "jobs": 1,
    "device": "cpu",
    "progress": False,
}
"""Digits over 5 clients, 3 of which take part in each of 2 rounds."""


class Mine(FedAvg):
    """FedAvg, as somebody would write it in a notebook."""


def by_hand(results: fb.Results, record: Record, **known: Any) -> list[float]:
    """Percent of each client's test samples that its kept model gets right."""
    data = fb.dataset("digits")
    dealt = split(data, *resolve_partition(record.cell["partition"]), record.cell["seed"])
    accuracies = []
    for client, rows in enumerate(dealt.test):
        net = results.model(record.name, client=client, **known)
        with torch.no_grad():
            right = net(data.inputs[rows]).argmax(dim=1) == data.labels[rows]
        accuracies.append(100 * right.double().mean().item())
    return accuracies


def recorded(record: Record) -> list[float]:
    last = [row for row in record.clients if row["round"] == len(record.rounds) - 1]
    return [row[f"{record.facts['deployed']}.acc"] for row in last]  # type: ignore[misc]  # numbers


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> fb.Results:
    """Models of each client, a part of what clients train, one net for all, a module of the method's, a class."""
    out, methods = tmp_path_factory.mktemp("results"), ["ditto", "fedavg", "fedproto", "centralized"]
    written = {**{name: SMALL[name] for name in ("partition", "models", "training")}, "datasets": ("digits",)}
    for cell in expand(GridFile(name="small", methods=tuple(methods), seeds=(0,), **written), "small.yaml").cells:
        run_cell(cell, Store(out), Options(keep_models=True))
    fb.run(methods=["local", Mine], out=out, keep_models=True, **SMALL)  # in a worker, and here
    return fb.load(out)


def test_models_score_what_was_recorded(results: fb.Results) -> None:
    assert len(results) == 6
    for record in results.records:
        known = {"method": Mine} if record.label == "mine" else {}
        assert by_hand(results, record, **known) == pytest.approx(recorded(record)), record.name
    assert len({tuple(recorded(record)) for record in results.records}) == 5  # `mine` is fedavg, all others differ


def test_a_net_is_in_evaluation_mode_and_takes_no_name_where_one_run_kept_models(results: fb.Results) -> None:
    net = results.only(methods=["fedproto"]).model(client=3)
    assert not net.training
    assert net(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_errors_name_what_there_is(results: fb.Results, small_grid: Callable[..., Grid], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no client 5; this run has the clients 0-4"):
        results.model("digits/local-0", client=5)
    with pytest.raises(ConfigError, match=r"6 of the runs kept models, name one: digits/centralized-0-"):
        results.model(client=0)
    with pytest.raises(ConfigError, match=r"no record is named 'digits/fedmd-0'"):
        results.model("digits/fedmd-0", client=0)
    with pytest.raises(ConfigError, match=r"run with a method mine that is not known here, or has changed since"):
        results.model("digits/mine-0", client=0)
    with pytest.raises(ConfigError, match=r"send records only; use local or slurm"):
        fb.run(methods="local", out=tmp_path, keep_models=True, executor="subprocess", **SMALL)
    run_cell(small_grid().cells[0], Store(tmp_path), Options())
    other = fb.load(tmp_path)
    with pytest.raises(ConfigError, match=r"none of the runs that 'local' names kept models: `fl-bench run --keep-mod"):
        other.model("local", client=0)


def test_a_changed_net_is_named(results: fb.Results) -> None:
    record = next(record for record in results.records if record.label == "local")
    run = copy.deepcopy(dict(record.run))
    run["cell"]["models"]["width"] = 4  # features, instead of 8
    with pytest.raises(DataError, match=r"weights are not those that were kept: body.*differ; it was run with"):
        fb.Results([replace(record, run=run)], results.folder).model(client=0)


def test_a_run_that_was_killed_before_its_record_keeps_the_same(
    store: Store, small_grid: Callable[..., Grid], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FedBABU trains what it deploys, and no longer knows it when it goes on: the last checkpoint has the models."""
    (cell,) = small_grid(methods=("fedbabu",)).cells
    whole = run_cell(cell, Store(tmp_path / "whole"), Options(keep_models=True))

    class Killed(BaseException):
        """A kill between the last round and the record."""

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Store, "write", kill)
        with pytest.raises(Killed):
            run_cell(cell, store, Options(keep_models=True))
    assert store.has_checkpoint(cell)
    monkeypatch.setattr(Run, "_round", kill)
    again = run_cell(cell, store, Options(keep_models=True))
    assert (again.folder / MODELS).read_bytes() == (whole.folder / MODELS).read_bytes()
    (record,) = Store(store.results).records()
    assert by_hand(fb.load(store.results), record) == pytest.approx(recorded(record))
