"""The commands, as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import fl_bench
from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.records.store import Store
from fl_bench.benchmarks.running.runner import Options, run_cell
from fl_bench.methods.registry import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.lease import Holder
    from fl_bench.benchmarks.records.record import Outcome

GRID = """\
name: small
datasets: [digits]
partition: {clients: 5, groups: 5, min_test: 5}
models: [mlp-8]
training: {rounds: 2}
methods: [fedmd]
always: [local]
seeds: 0-1
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)
    return tmp_path


@pytest.fixture
def out(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Standard output of a command that ends well."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        assert run_command(arguments) == 0
        return capsys.readouterr().out

    return call


LISTINGS = ("methods", "datasets", "models", "partitions", "grids")


def test_nobody_waits_for_torch() -> None:
    # In one process, line after line: the first that imports too much is the one that is named.
    lines = ["--help", "--version", "run --help", "new method --help", *(f"list {what}" for what in LISTINGS)]
    code = (
        "import sys; from fl_bench.benchmarks.commands.cli import run_command\n"
        "for line in sys.argv[1:]:\n"
        "    code = run_command(line.split())\n"
        "    heavy = {'torch', 'torchvision', 'sklearn', 'pandas', 'scipy', 'matplotlib'} & sys.modules.keys()\n"
        "    print('END', line, code, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True, check=True)
    ends = [line for line in done.stdout.splitlines() if line.startswith("END ")]
    assert ends == [f"END {line} 0 []" for line in lines]


def test_version(out: Callable[..., str]) -> None:
    assert out("--version") == f"fl-bench {fl_bench.__version__}\n"


@pytest.mark.parametrize(
    "command", ["run", "list", "describe", "show", "leaderboard", "doctor", "partition", "new method"]
)
def test_every_help_has_an_example(out: Callable[..., str], command: str) -> None:
    assert f"  fl-bench {command}" in out(*command.split(), "--help").partition("Usage")[2].partition("\n")[2]


@pytest.mark.parametrize("what", LISTINGS)
def test_lists_for_people_and_programs(out: Callable[..., str], what: str) -> None:
    rows = json.loads(out("list", what, "--json"))
    text = out("list", what)
    assert rows
    assert all(row["name"].split(":")[0] in text for row in rows)


def test_describe_shows_every_setting_with_its_meaning(out: Callable[..., str]) -> None:
    facts = json.loads(out("describe", "cosmos", "--json"))
    assert "clustering" in {row["setting"] for row in facts["settings"]}
    assert all(row["meaning"] for row in facts["settings"])
    assert "COSMOS" in out("describe", "cosmos")


def test_doctor_names_versions_devices_and_data(out: Callable[..., str]) -> None:
    rows = {row["what"]: row for row in json.loads(out("doctor", "--json"))}
    assert rows["torch"]["ok"]
    assert rows["data: digits"] == {"what": "data: digits", "ok": True, "found": "bundled"}
    assert rows["cores"]["ok"]


def test_partition_shows_sizes_picture_and_numbers(out: Callable[..., str]) -> None:
    line = ["partition", "digits", "--clients", "10", "--mixing", "0", "-o", "val_fraction=0"]
    view = json.loads(out(*line, "--json"))
    assert [row["group"] for row in view["clients"]] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert view["heterogeneity"]["in_group_share"] == 1.0  # nothing is mixed
    assert all(row["train"] == sum(row["classes"]) for row in view["clients"])
    text = out(*line)
    assert "client 9 (group 4)" in text
    assert "█" in text


def test_partition_takes_one_value_of_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["partition", "digits", "--alpha", "0.1,1"]) == 2
    assert "partition.alpha takes one value here, found [0.1, 1]" in capsys.readouterr().err
    assert run_command(["partition", "digits", "--alpha", "0.1", "-o", "alpha=1"]) == 2
    assert "--alpha and -o alpha are the same setting" in capsys.readouterr().err


def test_partition_says_what_the_public_pool_consists_of(out: Callable[..., str], tmp_path: Path) -> None:
    images = np.zeros((400, 1, 8, 8), np.uint8)
    np.savez(tmp_path / "black.npz", x=images, y=np.arange(400) % 2)
    options = [f"public.from=npz:{tmp_path}/black.npz", "public.foreign=0.5", "public.missing=[1, 2]", "public.blur=3"]
    line = ["partition", "digits", "--clients", "5", "-o", "public.size=100"]
    line += [word for option in options for word in ("-o", option)]
    pool = json.loads(out(*line, "--json"))["pool"]
    assert (pool["samples"], pool["foreign"], pool["missing_classes"], pool["changes"]) == (
        100,
        50,
        [1, 2],
        {"blur": 3},
    )
    text = " ".join(out(*line).split())
    assert "public pool 100 (50 of them from npz:" in text
    assert "without 100 % of classes 1, 2; blur 3)" in text
    assert "pool" not in json.loads(out("partition", "digits", "--clients", "5", "--json"))


def test_partition_writes_a_png_or_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    png = tmp_path / "x.png"
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run_command(["partition", "digits", "--clients", "5", "--png", str(png)]) == 2
    assert "pip install 'fl-bench[plots]'" in capsys.readouterr().err
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert run_command(["partition", "digits", "--clients", "5", "--png", str(png)]) == 0
    assert png.read_bytes().startswith(b"\x89PNG")


def test_show_finds_a_record_by_part_of_its_name(out: Callable[..., str], cell_of: Callable[..., Cell]) -> None:
    ending = run_cell(cell_of("fedmd"), Store(Path("fl-bench-results")), Options())
    text = out("show", "fedmd-0")
    assert "mean client accuracy" in text
    assert "fedmd  seed 0" in text
    assert json.loads(out("show", str(ending.folder), "--json"))["rounds"][1]["round"] == 1


def test_show_wants_one_record(
    cell_of: Callable[..., Cell], outcome: Callable[..., Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        Store(Path("fl-bench-results")).write(cell_of("local", seed), outcome({"client": [1.0]}))
    assert run_command(["show", "local"]) == 2
    assert "is part of 2 records" in capsys.readouterr().err


def test_leaderboard_is_rebuilt_and_checked(
    out: Callable[..., str],
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store(Path("fl-bench-results"))
    store.write(cell_of("local"), outcome({"client": [50.0]}))
    (line,) = json.loads(out("leaderboard", "--json"))
    assert line["acc_mean"] == 50.0
    board = Path("fl-bench-results/leaderboards/digits.csv")
    before = board.read_bytes()
    assert run_command(["leaderboard", "--check"]) == 0
    store.write(cell_of("fedmd"), outcome({"client": [60.0]}))
    capsys.readouterr()
    assert run_command(["leaderboard", "--check"]) == 1
    assert "+digits," in capsys.readouterr().err
    assert board.read_bytes() == before
    assert "60.00" in out("leaderboard")
    assert run_command(["leaderboard", "--check"]) == 0


def test_dry_run_says_what_would_happen_and_changes_nothing(
    out: Callable[..., str],
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    leave_checkpoint: Callable[..., Path],
) -> None:
    store = Store(Path("fl-bench-results"))
    store.write(cell_of("fedmd", 0), outcome({"client": [50.0]}))
    store.write(cell_of("local", 0), outcome(status="failed", reason="by design"))
    leave_checkpoint(store, cell_of("local", 1))
    rows = {(row["method"], row["seed"]): row for row in json.loads(out("run", "grid.yaml", "--dry-run", "--json"))}
    assert {key: row["state"] for key, row in rows.items()} == {
        ("fedmd", 0): "done",
        ("local", 0): "failed earlier",
        ("fedmd", 1): "to run",
        ("local", 1): "to continue",
    }
    # 240 public samples (a fifth of 1198, rounded up) x 10 classes x 4 bytes
    assert rows["fedmd", 1]["up_bytes_per_client_round"] == 9600
    assert rows["fedmd", 1]["estimated_from"] == "1 finished run"
    assert rows["fedmd", 1]["estimated_seconds"] == 1.0
    assert rows["local", 1]["estimated_from"] == "step counts and a timed step"
    assert rows["local", 0]["reason"] == "by design"
    assert len(store.folders()) == 2
    unsupported = json.loads(out("run", "grid.yaml", "--dry-run", "--json", "-o", "partition.public=0", "--seeds", "5"))
    assert [row["state"] for row in unsupported] == ["unsupported", "to run"]
    assert unsupported[0]["reason"] == "needs public data, but partition.public is 0"


def test_dry_run_counts_the_runs_that_vary_a_part_of_the_randomness(
    out: Callable[..., str],
    small_grid: Callable[..., Grid],
    outcome: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("grid.yaml").write_text(GRID + "vary: {init: 1-2, draws: [5]}\n")
    varied = small_grid(methods=("fedmd",), vary={"draws": (5,)}).cells[1]
    Store(Path("fl-bench-results")).write(varied, outcome({"client": [50.0]}))
    rows = json.loads(out("run", "grid.yaml", "--dry-run", "--json"))
    # two methods with seeds 0 and 1, 0/init=1, 0/init=2, 1/init=2, 0/draws=5 and 1/draws=5
    assert len(rows) == 2 * 7
    drawn = [row["state"] for row in rows if (row["seed"], row.get("varied")) == (0, {"draws": 5})]
    assert drawn == ["done", "to run"]
    assert {row["estimated_from"] for row in rows if row["method"] == "fedmd"} == {"", "1 finished run"}
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(out("run", "grid.yaml", "--dry-run").split())
    assert "0/init=2" in text
    assert "13 of 14 runs take" in text


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ("training.rounds=4", True),
        ("training.batch_size=8", False),
        ("training.local_epochs=9", False),
        ("partition.clients=10", False),
        ("models.server=mlp-16", False),
        ("methods.fedmd.digest_epochs=7", False),
    ],
)
def test_only_runs_that_do_the_same_work_tell_the_time(
    out: Callable[..., str],
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    change: str,
    alike: bool,
) -> None:
    store = Store(Path("fl-bench-results"))
    for seed, seconds in enumerate([1.0, 2.0]):
        store.write(cell_of("fedmd", seed), outcome({"client": [50.0]}, seconds=seconds))
    arguments = ["run", "grid.yaml", "--dry-run", "--json", "--seeds", "2"]
    if change.startswith("methods"):
        arguments += ["--methods", "fedmd[digest_epochs=7]"]
    else:
        arguments += ["-o", change]
    row = json.loads(out(*arguments))[0]
    # A mean of 1.5 s for 2 rounds; -o asks for 4.
    assert (row["estimated_from"] == "2 finished runs", row["estimated_seconds"] == 3.0) == (alike, alike)


def test_what_runs_elsewhere_is_missing_and_said_so(
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fl_bench.benchmarks.running import local
    from fl_bench.benchmarks.running.executor import Event

    def elsewhere(cells: Sequence[Cell], *_: object, **__: object) -> Iterator[Event]:
        yield from (Event("skipped", cell, reason="process 1 is running it") for cell in cells)

    monkeypatch.setattr(local, "run_cells", elsewhere)
    store = Store(Path("fl-bench-results"))
    store.write(cell_of("fedmd"), outcome({"client": [60.0]}))
    assert run_command(["run", "grid.yaml", "--device", "cpu", "--seeds", "0"]) == 1
    said = capsys.readouterr()
    assert "60.00" in said.out
    assert "not in yet, another process has them: 1;" in said.err
    assert "or with --wait" in said.err
    real = Store.holder

    def ends(store: Store, cell: Cell) -> Holder | None:
        store.write(cell, outcome({"client": [50.0]}))  # at the first look
        return real(store, cell)

    monkeypatch.setattr(Store, "holder", ends)
    assert run_command(["run", "grid.yaml", "--device", "cpu", "--seeds", "0", "--wait"]) == 0
    said = capsys.readouterr()
    assert "50.00" in said.out
    assert "seed 0: waiting, process 1 is running it" in said.err
    assert "[1/1] digits local seed 0: done, by another process" in said.err


def test_what_runs_again_is_not_counted_as_left_alone(
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fl_bench.benchmarks.running import local

    monkeypatch.setattr(local, "run_cells", lambda *_, **__: (event for event in ()))
    store = Store(Path("fl-bench-results"))
    store.write(cell_of("fedmd"), outcome({"client": [60.0]}))
    store.write(cell_of("local"), outcome(status="diverged", reason="by design"))
    line = ["run", "grid.yaml", "--device", "cpu", "--seeds", "0"]
    run_command(line)
    assert (
        "2 runs, 2 of them finished earlier, 1 of those not done (--retry runs them again)\n" in capsys.readouterr().err
    )
    run_command([*line, "--retry"])
    assert "2 runs, 1 of them finished earlier\n" in capsys.readouterr().err


def test_run_says_what_runs_again_since_numbers_moved(
    out: Callable[..., str],
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fl_bench.benchmarks.running import local

    monkeypatch.setattr(local, "run_cells", lambda *_, **__: (event for event in ()))
    store = Store(Path("fl-bench-results"))
    store.write(cell_of("fedmd", 1), outcome({"client": [60.0]}))
    monkeypatch.setattr("fl_bench.federation.protocol.VERSION", 3)
    for method, seed in (("fedmd", 1), ("local", 1), ("fedmd", 0)):
        store.write(cell_of(method, seed), outcome({"client": [60.0]}))
    (store.runs / "digits" / "local-0-0123456789").mkdir()  # of the right seed, but unreadable: no matter here
    monkeypatch.setattr("fl_bench.federation.protocol.VERSION", 4)
    store.write(cell_of("local", 0), outcome({"client": [60.0]}))
    said = "3 of 4 runs have records of an older protocol: rounds 3 -> 4; they run again, the old records stay\n"
    run_command(["run", "grid.yaml", "--device", "cpu"])
    assert said in capsys.readouterr().err
    monkeypatch.setattr("fl_bench.federation.protocol.VERSION", 1)
    run_command(["run", "grid.yaml", "--device", "cpu"])
    assert "older protocol" not in capsys.readouterr().err  # all that is there is of newer ones
    monkeypatch.setattr("fl_bench.federation.protocol.VERSION", 4)
    monkeypatch.setattr(METHODS["fedmd"], "protocol", 2)
    run_command(["run", "grid.yaml", "--device", "cpu"])
    assert ": rounds 3 -> 4, method 1 -> 2 (2); rounds 3 -> 4 (1); they" in capsys.readouterr().err
    (store.runs / "digits" / "local-0-0123456789").rmdir()
    rows = json.loads(out("run", "grid.yaml", "--dry-run", "--json"))
    assert {(row["method"], row["seed"]): (row["state"], row["moved"]) for row in rows} == {
        ("local", 0): ("done", None),
        ("local", 1): ("to run", "rounds 3 -> 4"),
        ("fedmd", 0): ("to run", "rounds 3 -> 4, method 1 -> 2"),
        ("fedmd", 1): ("to run", "rounds 3 -> 4, method 1 -> 2"),
    }
    assert {row["estimated_from"] for row in rows} == {"", "2 finished runs", "3 finished runs"}
    assert run_command(["run", "grid.yaml", "--dry-run"]) == 0
    assert "3 of 4 runs have records of an older protocol" in capsys.readouterr().err
    monkeypatch.setattr(METHODS["fedmd"], "protocol", 1)
    assert "fedmd" in out("show", "fedmd-1")


def test_figures_and_reports_say_what_is_left_out(
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(Path("fl-bench-results"))
    store.write(cell_of("fedmd"), outcome({"client": [60.0]}))
    store.write(cell_of("local"), outcome({"client": [50.0]}))
    monkeypatch.setattr("fl_bench.federation.protocol.VERSION", 3)
    store.write(cell_of("fedmd"), outcome({"client": [70.0]}))
    assert run_command(["figures", "--kinds", "curves"]) == 0
    said = capsys.readouterr().err
    assert "left out, as there are runs of a newer protocol: 1 of protocol data 1, rounds 2, method 1\n" in said
    assert "(fedmd: data 1, rounds 3; local: data 1, rounds 2): digits\n" in said
    assert run_command(["report", "--no-figures"]) == 0
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert "<p>left out, as there are runs of a newer protocol: 1 of" in page
    assert "2 runs: 2 methods" in page
    capsys.readouterr()
    for command in ("compare", "leaderboard"):
        assert run_command([command]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "caution: runs of different protocols, so that differences may be the code's (fedmd: data 1," in shown
        assert "left out, as there are runs of a newer protocol: 1 of protocol data 1, rounds 2, method 1" in shown


def test_run_takes_away_checkpoints_of_what_is_done(
    cell_of: Callable[..., Cell], outcome: Callable[..., Outcome], leave_checkpoint: Callable[..., Path]
) -> None:
    store = Store(Path("fl-bench-results"))
    for method in ("local", "fedmd"):
        store.write(cell_of(method), outcome({"client": [50.0]}))
        leave_checkpoint(store, cell_of(method))  # killed between the record and the clean-up
    assert run_command(["run", "grid.yaml", "--device", "cpu", "--seeds", "0"]) == 0
    assert list(store.runs.rglob("*.part")) == []


def test_run_says_what_retry_goes_on_with(
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    leave_checkpoint: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store(Path("fl-bench-results"))
    late, failed = cell_of("local"), cell_of("fedmd")
    store.write(late, outcome({"client": [50.0, 60.0]}, status="timeout", reason="by design"))
    leave_checkpoint(store, late)
    store.write(failed, outcome({"client": [50.0]}, status="failed", reason="by design"))
    assert run_command(["run", "grid.yaml", "--device", "cpu", "--seeds", "0"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.partition("by design")[2] for line in said if "by design" in line] == [
        "",
        "; --retry goes on after round 1",
    ]
    assert store.has_checkpoint(late)


def test_run_takes_away_checkpoints_of_an_older_protocol(
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    leave_checkpoint: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(Path("fl-bench-results"))
    left = []
    for method in ("local", "fedmd"):
        store.write(cell_of(method), outcome({"client": [50.0]}, status="timeout", reason="by design"))
        left.append(leave_checkpoint(store, cell_of(method)))
    monkeypatch.setattr("fl_bench.benchmarks.running.local.run_cells", lambda *_, **__: (event for event in ()))
    with store.claim(cell_of("fedmd")):  # another process, of the older code, is at it
        monkeypatch.setattr("fl_bench.federation.protocol.VERSION", 3)
        assert run_command(["run", "grid.yaml", "--device", "cpu", "--seeds", "0"]) == 0
    assert [checkpoint.is_file() for checkpoint in left] == [False, True]


def test_a_run_that_was_ended_is_shown_and_never_counted(
    out: Callable[..., str],
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = Store(Path("fl-bench-results"))
    for seed in (0, 1):
        store.write(cell_of("local", seed), outcome({"client": [50.0, 52.0]}))
    store.write(cell_of("fedmd", 0), outcome({"client": [40.0, 60.0]}))
    store.write(cell_of("fedmd", 1), outcome({"client": [97.0]}, status="timeout", reason="by design"))
    shown = out("show", "fedmd-1")
    assert "timeout: by design" in shown
    assert "97" in shown
    (fedmd,) = (line for line in json.loads(out("leaderboard", "--json")) if line["method"] == "fedmd")
    assert (fedmd["acc_mean"], fedmd["seeds"], fedmd["timeout"]) == (60.0, 1, 1)
    assert fedmd["seeds_not_done"] == "1:timeout"
    assert run_command(["compare"]) == 2
    said = capsys.readouterr()
    assert "timeout: fedmd" in said.err
    assert "97.0" not in out("compare", "--on-missing", "complete-blocks")
    assert run_command(["figures", "--kinds", "curves"]) == 0
    assert "seed 1, timeout: fedmd" in capsys.readouterr().err
    assert run_command(["report", "--no-figures"]) == 0
    page = Path("report/index.html").read_text(encoding="utf-8")
    assert '"status":"timeout"' in page.replace(" ", "")
    assert "60.00" in page


@pytest.mark.slow
def test_run_from_grid_to_table_and_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["run", "grid.yaml", "--jobs", "2"]) == 0
    first = capsys.readouterr()
    assert "fedmd" in first.out
    assert {"vs", "worst", "10%"} <= set(first.out.split())
    assert "in-group share" in first.out
    assert "4 runs, 0 of them finished earlier" in first.err
    assert sum(": done" in line for line in first.err.splitlines()) == 4
    assert run_command(["run", "grid.yaml", "--jobs", "2"]) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "4 runs, 4 of them finished earlier" in again.err


@pytest.mark.slow
def test_a_new_method_runs_in_the_grid_and_passes_the_contract(
    out: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["new", "method", "my-idea"]) == 0
    capsys.readouterr()
    assert 50 <= len(Path("my_idea.py").read_text().splitlines()) <= 90
    listed = subprocess.run(
        [sys.executable, "-m", "fl_bench.benchmarks", "list", "methods", "--json", "--plugin", "my_idea.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "my-idea" in [row["name"] for row in json.loads(listed.stdout)]
    command = [sys.executable, "-m", "fl_bench.benchmarks", "run", "grid.yaml", "--plugin", "my_idea.py", "--json"]
    done = subprocess.run(
        [*command, "--methods", "my-idea", "--seeds", "0"], capture_output=True, text=True, check=True
    )
    assert {line["method"] for line in json.loads(done.stdout)} == {"my-idea", "local"}
    test = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_my_idea.py"], capture_output=True, text=True)
    assert test.returncode == 0, test.stdout
    assert run_command(["new", "method", "my-idea"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_changed_plugin_is_another_method(tmp_path: Path) -> None:
    plugin = tmp_path / "scaffolded.py"
    assert run_command(["new", "method", "scaffolded"]) == 0
    code = (
        "import sys; from fl_bench.benchmarks.grid.plugins import load_plugins;"
        "from fl_bench.benchmarks.grid.grid import *;"
        "load_plugins(['scaffolded.py']);"
        "grid = expand(read_grid(find_grid('grid.yaml')), '', Overrides(methods='scaffolded,local', seeds='0'));"
        "print(*[cell.key for cell in grid.cells])"
    )

    def keys() -> list[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    before = keys()
    plugin.write_text(plugin.read_text() + "# changed\n")
    after = keys()
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_methods_registry_is_as_it_was() -> None:
    # The tests above load plugins in processes of their own: other tests go through the registry.
    assert not {"my-idea", "scaffolded"} & set(METHODS.names())
