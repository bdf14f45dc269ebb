"""`import fl_bench`: what a notebook sees of data, runs, tables, comparisons and figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fl_bench as fb
from fl_bench.benchmarks.leaderboard.lines import lines
from fl_bench.benchmarks.records.bundle import write_bundle
from fl_bench.benchmarks.records.declarations import read_declarations
from fl_bench.benchmarks.records.store import Store
from fl_bench.datasets.catalogue import available
from fl_bench.errors import ConfigError
from fl_bench.methods.fedavg import FedAvg
from fl_bench.methods.registry import METHODS

ROOT = Path(__file__).resolve().parents[3]

SMALL: dict[str, Any] = {
    "partition": {"scheme": "latent-groups", "clients": 5, "groups": 5, "min_test": 5},
    "models": ["mlp-8"],
    "training": {"rounds": 2},
    "jobs": 1,
    "device": "cpu",
    "progress": False,
}
"""Digits over 5 clients, 2 rounds."""


class MyAverage(FedAvg):
    """FedAvg under a name of its own, as somebody would write it in a notebook."""


def small(out: Path, **changes: Any) -> fb.Results:
    return fb.run(**{"methods": ["local", "fedmd"], "datasets": ["digits"], "seeds": 0, "out": out, **SMALL, **changes})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> fb.Results:
    return small(tmp_path_factory.mktemp("results"), methods=["local", "fedmd", MyAverage], seeds=range(2))


def test_importing_takes_no_slow_library_and_the_public_names_are_there() -> None:
    code = (
        "import sys, fl_bench as fb\n"
        "assert not {'torch', 'pandas', 'matplotlib', 'typer'} & sys.modules.keys()\n"
        "assert set(fb.PUBLIC) < set(dir(fb))\n"
        "print(*(getattr(fb, name).__name__ for name in sorted(fb.PUBLIC)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Method", "Results", "dataset", "load", "method", "partition", "run"]


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        fb.runn  # noqa: B018 - the look-up is what is tested


def test_a_data_set_is_dealt_as_runs_deal_it(results: fb.Results) -> None:
    data = fb.dataset("digits")
    dealt = fb.partition(data, clients=5, groups=5, min_test=5)
    assert dealt.classes.to_numpy().sum(axis=1).tolist() == dealt.clients["train"].tolist()
    assert dealt.classes.shape == (5, 10)
    run = results.only(methods=["fedmd"]).clients.query("seed == 0 and round == 1")
    held = dealt.clients["train"].tolist()
    whole = fb.partition(data, clients=5, groups=5, min_test=5, public=0.2, val_fraction=0.2).clients["train"].tolist()
    assert run["train_size"].tolist() == whole
    assert held != whole
    assert "5 clients by latent-groups" in repr(dealt)
    assert dealt.plot().axes


def test_one_name_needs_no_list_and_a_wrong_one_is_named(results: fb.Results) -> None:
    assert len(results.only(methods="fedmd")) == len(results.only(methods=["fedmd"])) > 0
    assert len(results.only(datasets="digits")) == len(results)
    with pytest.raises(ConfigError, match="no method is named 'fedm'; did you mean 'fedmd'"):
        results.only(methods="fedm")
    with pytest.raises(ConfigError, match="no data set is named 'digit'"):
        results.only(datasets=["digit"])


def test_frames_say_what_records_say(results: fb.Results) -> None:
    assert set(results.runs["status"]) == {"done"}
    assert (
        results.runs[["method", "seed"]].to_numpy().tolist()
        == [[method, seed] for seed in range(2) for method in ("local", "fedmd", "my-average")]
        or len(results.runs) == 6
    )
    rounds = results.rounds
    assert list(rounds.columns[:6]) == ["dataset", "setting", "method", "seed", "round", "accuracy"]
    last = rounds[rounds["round"] == 1].set_index(["method", "seed"])["accuracy"]
    assert last.to_dict() == pytest.approx(results.runs.set_index(["method", "seed"])["accuracy"].to_dict())
    by_client = results.clients.query("round == 1").groupby(["method", "seed"])["accuracy"].mean()
    assert by_client.to_dict() == pytest.approx(last.to_dict())
    board = results.leaderboard()
    told = {(line.method, line.view): line.acc_mean for line in lines(Store(results.folder).records())}
    assert board.set_index(["method", "view"])["acc_mean"].to_dict() == told


def test_a_class_is_a_method_whose_source_is_part_of_the_key(results: fb.Results, tmp_path: Path) -> None:
    assert "my-average" not in METHODS
    own = results.only(methods=["my-average"])
    assert {record.cell["method"]["plugin"] is None for record in own.records} == {False}
    average = small(tmp_path, methods=["fedavg"])
    assert average.runs.query("method == 'fedavg'")["accuracy"].item() == own.runs.query("seed == 0")["accuracy"].item()

    class MyAverage(FedAvg):
        """Another class of the same name."""

    again = small(tmp_path, methods=[MyAverage])
    assert again.records[0].run["key"] != own.records[0].run["key"]


def test_what_is_recorded_is_not_run_again(results: fb.Results) -> None:
    before = {record.folder: record.run["clocks"] for record in results.records}
    again = small(results.folder, methods=["local", "fedmd", MyAverage], seeds="0-1")
    assert {record.folder: record.run["clocks"] for record in again.records} == before
    assert len(fb.load(results.folder)) == 6


def test_a_class_runs_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="my-average is a class of this session, which no other process knows"):
        small(tmp_path, methods=[MyAverage], executor="subprocess")


def test_a_class_without_a_source_is_refused(tmp_path: Path) -> None:
    unseen: dict[str, Any] = {"__name__": "nowhere"}
    exec("from fl_bench.methods.fedavg import FedAvg\nclass Unseen(FedAvg):\n  def own(self): return 1", unseen)
    with pytest.raises(ConfigError, match="Python does not know the source of Unseen"):
        small(tmp_path, methods=[unseen["Unseen"]])


def test_a_comparison_is_said_in_every_form(results: fb.Results) -> None:
    compared = results.compare(control="fedmd")
    assert set(compared.verdicts["method"]) == {"local", "my-average"}
    assert set(compared.verdicts["verdict"]) <= {"better", "worse", "equivalent", "undecided"}
    assert "tabular" in compared.to_latex()
    assert "| my-average |" in compared.to_markdown()
    assert isinstance(compared.to_frame(), pd.DataFrame)
    assert "fedmd" in str(compared)
    with pytest.raises(ConfigError, match="did you mean"):
        results.compare(control="fedmb")


def test_figures_are_drawn_for_screens_and_papers(results: fb.Results) -> None:
    figure = results.plot.curves(width=3.5)
    assert figure.get_figwidth() == pytest.approx(3.5)
    assert results.plot.effects(control="fedmd").axes
    with pytest.raises(AttributeError, match="no figure is called 'curve'"):
        results.plot.curve  # noqa: B018 - the look-up is what is tested
    with pytest.raises(ConfigError, match="nothing to draw as sweep"):
        results.plot.sweep()


def test_what_accuracy_costs_is_drawn_over_several_data_sets() -> None:
    published = fb.load(ROOT / "results" / "catalogue").only(methods=["fedmd", "fedavg", "local"])
    assert published.plot.tradeoff(control="fedmd").axes


def test_settings_and_changes_are_those_of_a_grid(tmp_path: Path) -> None:
    found = small(tmp_path, methods=["local"], settings={"one": {"training.rounds": 1}, "two": {"training.rounds": 2}})
    assert sorted(found.rounds.groupby("setting").size()) == [1, 2]
    assert np.isfinite(found.runs["accuracy"]).all()


def test_a_tuned_grid_leaves_its_ledger_and_what_it_declares(tmp_path: Path) -> None:
    if not available("vowel")[0]:
        pytest.skip("vowel is not here")
    asked: dict[str, Any] = {
        "grid": "offline",
        "datasets": ["vowel"],
        "methods": ["local"],
        "progress": False,
        "jobs": 1,
    }
    with pytest.raises(ConfigError, match="chose the settings of offline, so that they cannot judge them"):
        fb.run(**asked, seeds=[100], out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    found = fb.run(**asked, seeds=[0], out=tmp_path / "out")
    ledger = ROOT / "benchmarks" / "grids" / "offline.tuning.json"
    assert (tmp_path / "out" / "tuning.json").read_bytes() == ledger.read_bytes()
    (declared,) = read_declarations(Store(tmp_path / "out"))
    assert (declared.grid, declared.recorded, declared.comparison.control) == ("offline", 0, "cosmos")
    write_bundle(tmp_path / "bundle" / "records.tar.xz", {one.name: dict(one.texts()) for one in found.records})
    (tmp_path / "bundle" / "tuning.json").write_bytes(ledger.read_bytes())
    assert fb.load(tmp_path / "bundle" / "records.tar.xz").folder == tmp_path / "bundle"


def test_a_new_scheme_leaves_out_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {"scheme": "dirichlet-class", "clients": 5, "min_test": 5}
    small(tmp_path, methods=["local"], partition=changes, training={"rounds": 1})
    assert "leaves out what the grid sets for another: partition.groups" in " ".join(capsys.readouterr().err.split())


def test_html_is_there_for_notebooks(results: fb.Results) -> None:
    shown, board = results._repr_html_(), results.leaderboard()
    accuracy = results.runs.groupby("method")["accuracy"].mean()
    assert board._repr_html_() in shown
    assert all(f">{accuracy[name]:.2f} ± " in shown for name in accuracy.index)
    assert type(board.query("deployed")) is pd.DataFrame
    claims = results.compare(control="fedmd")._repr_html_()
    assert all(f">{verdict}<" in claims for verdict in results.compare(control="fedmd").verdicts["verdict"])
    assert "<table" in fb.partition("digits", clients=5)._repr_html_()
