"""What `run --dry-run` says of steps and time, by hand and beside what runs record."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.records.continuing import keep
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running import probing
from fl_bench.benchmarks.running.forecast import fixed_seconds
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.federation.rounds import drawn_clients
from fl_bench.streams import Seeds

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome

GRID = """\
name: small
datasets: [digits]
partition: {clients: 5, groups: 5, min_test: 5}
models: [mlp-8]
training: {rounds: 2}
methods: [fedmd]
seeds: 0-0
"""

Rows = dict[str, dict[str, Any]]


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)


@pytest.fixture
def planned(capsys: pytest.CaptureFixture[str]) -> Callable[..., Rows]:
    """The rows of `--dry-run --json` by method."""

    def call(*arguments: str) -> Rows:
        capsys.readouterr()
        assert run_command(["run", "grid.yaml", "--dry-run", "--json", "--device", "cpu", *arguments]) == 0
        return {row["method"]: row for row in json.loads(capsys.readouterr().out)}

    return call


def test_steps_of_a_run_by_hand(planned: Callable[..., Rows]) -> None:
    rows = planned("--methods", "fedmd,local,fedbabu,centralized,cosmos[clusters=3],cosmos[clusters=auto]")

    def steps(method: str) -> list[int]:
        return [rows[method][f"steps_{kind}"] for kind in ("local", "distill", "server", "aside")]

    # 1198 samples, a fifth of them public, a tenth for validation: 172.44 for each of 5 clients, 5.39 steps of 32 and
    # half a step; two rounds. 240 public samples are 8 steps, 38 in 5 epochs.
    assert steps("local") == [59, 0, 0, 0]
    assert steps("fedmd") == [59, 40, 0, 0]  # in the second round
    assert steps("fedbabu") == [59, 0, 0, 274]  # 5 epochs: 27.44 steps, of five clients in two rounds
    assert steps("centralized") == [55, 0, 0, 0]  # 862.2 samples in one place
    assert steps("cosmos[clusters=3]") == [59, 190, 2 * 3 * 38, 0]
    assert steps("cosmos[clusters=auto]") == [59, 190, 2 * 5 * 38, 0]  # as many clusters as groups
    assert [rows[f"cosmos[clusters={k}]"]["steps"] for k in ("3", "auto")] == ["most", "expected"]
    assert rows["local"]["steps"] == "about"


def test_steps_follow_the_draws_of_the_seed(planned: Callable[..., Rows]) -> None:
    rows = planned("--methods", "ktpfl,fedmd", "-o", "training.participation=0.4", "-o", "training.rounds=3")
    # Two of five clients in each of three rounds. FedMD's message is for all, KT-pFL's for those who were there before.
    assert rows["fedmd"]["steps_local"] == rows["ktpfl"]["steps_local"] == round(6 * (172.44 / 32 + 0.5))
    assert rows["fedmd"]["steps_distill"] == 4 * 8
    seen: set[int] = set()
    again = 0
    for index in range(3):
        here = set(drawn_clients(5, 0.4, Seeds.of(0).draws, index))
        again += len(here & seen)
        seen |= here
    assert rows["ktpfl"]["steps_distill"] == again * 8


def test_time_counts_passes(planned: Callable[..., Rows]) -> None:
    # Without a model at the server, so that all steps are the clients': a step on noisy copies, too, costs two.
    rows = planned("--methods", "cosmos[feedback=no_model,consistency=0],cosmos[feedback=no_model]")
    one, two = rows
    assert rows[one]["steps_distill"] == rows[two]["steps_distill"] == 190
    local = 10 * (172.44 / 32 + 0.5)
    fixed = fixed_seconds(2)  # loading, dealing, scoring
    ratio = (rows[two]["estimated_seconds"] - fixed) / (rows[one]["estimated_seconds"] - fixed)
    assert ratio == pytest.approx((local + 2 * 190) / (local + 190), rel=1e-4)


def test_time_of_the_server_is_its_nets(planned: Callable[..., Rows]) -> None:
    small, large = (
        planned("--methods", "centralized", "-o", f"models.server={net}")["centralized"]["estimated_seconds"]
        - fixed_seconds(2)
        for net in ("mlp-8", "cnn")
    )
    assert large > 2 * small


def test_a_step_is_timed_once_and_again_when_asked(
    planned: Callable[..., Rows], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, again = (planned("--methods", "fedmd")["fedmd"] for _ in range(2))
    assert first["estimated_from"] == "step counts and a timed step"
    assert again["estimated_seconds"] == first["estimated_seconds"]
    assert re.fullmatch(
        r"step counts and a step that was timed on [0-9-]{10}; --estimate times it again", again["estimated_from"]
    )
    monkeypatch.setattr(probing, "step_seconds", lambda *_: 2.0)
    assert planned("--methods", "fedmd")["fedmd"]["estimated_seconds"] == first["estimated_seconds"]
    timed = planned("--methods", "fedmd", "--estimate")["fedmd"]
    assert timed["estimated_from"] == "step counts and a timed step"
    assert timed["estimated_seconds"] > 100
    assert not Path("fl-bench-results").exists()  # nothing ran


def test_a_folder_that_cannot_be_written_to_is_named_and_planned(
    capsys: pytest.CaptureFixture[str], cell_of: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["run", "grid.yaml", "--dry-run", "--device", "cpu", "--methods", "local,fedmd"]
    assert run_command(line) == 0
    assert "cannot write" not in capsys.readouterr().err
    with Store(Path("fl-bench-results")).claim(cell_of("local")), monkeypatch.context() as patch:
        patch.setattr("os.access", lambda _, mode, **__: not mode & os.W_OK)  # root may write wherever modes forbid it
        assert run_command(line) == 0
    said = capsys.readouterr()
    assert "Running elsewhere: 1 of 2 runs" in said.out
    assert re.search(r"cannot write records to \S+results: \S+runs may not be written to; name another", said.err)


def test_table_fits_into_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    line = ["run", "grid.yaml", "--dry-run", "--device", "cpu", "--methods", "cosmos[clusters=auto],fedbabu"]
    assert run_command(line) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    heads, rest = (line.split() for line in lines if line.startswith("method"))  # the long label takes its room
    assert heads == ["method", "seed", "state", "up", "down", "local", "distill", "server", "aside"]
    assert rest == ["method", "time"]
    row = next(line for line in lines if line.startswith("fedbabu"))
    assert row.split()[6:10] == ["59", "0", "0", "274"]
    text = " ".join(" ".join(lines).split())
    assert "local, distill, server, aside: training steps of a run, for clients of equal size." in text
    assert "these are expected values (digits/cosmos[clusters=auto])" in text
    assert "time from: step counts and a timed step" in text
    assert "Estimate: 2 of 2 runs take" in text


def test_methods_with_a_rate_of_their_own_are_marked_before_anything_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    line = ["run", "grid.yaml", "--dry-run", "--device", "cpu", "--methods", "fedavg,scaffold"]
    assert run_command(line) == 0
    said = capsys.readouterr()
    assert max(map(len, said.out.splitlines())) <= 80
    table = " ".join(said.out.split())
    assert "fedavg 0 to run" in table
    assert "scaffold † 0 to run" in table
    assert "† scaffold: own rate, sgd 0.1 (scaffold.lr)" in table
    assert "scaffold with sgd 0.1 (scaffold.lr); fedavg with adam 0.001 (training.lr)" in said.err
    equal = [*line, "-o", "training.optimizer=sgd", "-o", "training.lr=0.1"]  # what the caution says would do
    assert "-o training.optimizer=sgd -o training.lr=0.1" in said.err
    assert run_command(equal) == 0
    said = capsys.readouterr()
    assert "own rate" not in said.out + said.err
    assert "†" not in said.out


def test_the_rate_of_a_method_stands_in_its_row(planned: Callable[..., Rows]) -> None:
    rows = planned("--methods", "fedavg,scaffold[lr=0.2]")
    assert {name: row["own_rate"] for name, row in rows.items()} == {
        "fedavg": None,
        "scaffold[lr=0.2]": "sgd 0.2 (scaffold.lr)",
    }


@pytest.mark.parametrize("method", ["local", "fedmd", "cosmos"])
def test_steps_are_near_those_of_the_record(
    planned: Callable[..., Rows], cell_of: Callable[..., Cell], store: Store, method: str
) -> None:
    run_cell(cell_of(method), store, Options())
    (record,) = store.records()
    rounds, row = record.rounds, planned("--methods", method)[method]
    for kind in ("local", "distill", "server"):
        assert row[f"steps_{kind}"] == pytest.approx(sum(taken[f"steps_{kind}"] for taken in rounds), rel=0.1)


def test_a_single_method_has_no_test_to_speak_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "grid.yaml", "--dry-run", "--device", "cpu", "--methods", "local"]) == 0
    assert "floor" not in capsys.readouterr().out


def test_faults_cost_steps(planned: Callable[..., Rows]) -> None:
    base = ("--methods", "local,feddf", "-o", "training.rounds=4")
    whole = planned(*base)
    assert whole["local"]["steps_local"] == round(5 * 4 * (172.44 / 32 + 0.5))  # 5.89 steps of five clients
    assert planned(*base, "-o", "faults.deadline=3")["local"]["steps_local"] == 5 * 4 * 3
    absent = planned(*base, "-o", "faults.absent=0.5", "-o", "faults.absent_at=after_download")
    silent = planned(*base, "-o", "faults.absent=0.5")  # they train, and send nothing
    late = planned(*base, "-o", "faults.late=0.6")  # three of five come in round 1, 2 or 3
    assert whole["local"]["steps_local"] == silent["local"]["steps_local"]
    for rows in (absent, late):
        assert 0.2 < rows["local"]["steps_local"] / whole["local"]["steps_local"] < 0.9
        assert rows["feddf"]["steps_server"] == whole["feddf"]["steps_server"]
    steps = [rows["local"]["estimated_seconds"] - fixed_seconds(4) for rows in (absent, whole)]
    assert steps[0] < 0.95 * steps[1]


def test_what_others_are_running_is_counted_apart(
    planned: Callable[..., Rows],
    capsys: pytest.CaptureFixture[str],
    cell_of: Callable[..., Cell],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    store = Store(Path("fl-bench-results"))
    with store.claim(cell_of("local")):
        row = planned("--methods", "local")["local"]
        assert (row["state"], row["estimated_seconds"], row["engine"]) == ("running", None, None)
        assert "has been running it since" in row["reason"]
        assert run_command(["run", "grid.yaml", "--dry-run", "--device", "cpu", "--methods", "local,fedmd"]) == 0
        said = capsys.readouterr().out
        assert "Running elsewhere: 1 of 2 runs" in said
        assert "Estimate: 1 of 2 runs take" in said
    assert planned("--methods", "local")["local"]["state"] == "to run"


def test_retry_counts_what_would_run_and_only_what_is_left_of_it(
    planned: Callable[..., Rows], cell_of: Callable[..., Cell], outcome: Callable[..., Outcome]
) -> None:
    store = Store(Path("fl-bench-results"))
    fast = outcome({"client": [50.0, 50.0]})
    store.write(cell_of("fedavg"), fast)
    store.write(cell_of("fedprox"), outcome(status="failed", reason="by design"))
    store.write(cell_of("local"), outcome(status="timeout", reason="too slow"))
    with store.claim(cell_of("local")) as claim:
        keep(claim, b"after a round", b"[{},[],null]\n", 0)
    names = "fedavg,fedprox,local,fedmd"
    states = {name: row["state"] for name, row in planned("--methods", names).items()}
    assert states == {"fedavg": "done", "fedprox": "failed earlier", "local": "timeout earlier", "fedmd": "to run"}
    rows = planned("--methods", names, "--retry")
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {"fedavg": "done", "fedprox": "to run again", "local": "to continue", "fedmd": "to run"}
    # One of two rounds is left; of what is done, nothing.
    whole = planned("--methods", "local", "--seeds", "1")["local"]["estimated_seconds"]
    assert rows["local"]["estimated_seconds"] == pytest.approx(whole / 2, rel=0.5)
    assert rows["fedavg"]["estimated_seconds"] is None
    never = cell_of("fedmd", partition={"clients": 5, "groups": 5, "min_test": 5, "public": 0})
    store.write(never, outcome(status="unsupported", reason="needs public data"))
    row = planned("--methods", "fedmd", "--retry", "-o", "partition.public=0")["fedmd"]
    assert (row["state"], row["estimated_seconds"]) == ("unsupported", None)
