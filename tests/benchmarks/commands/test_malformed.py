"""Whatever a user gets wrong ends with exit code 2, one message, no traceback, and no record touched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.records.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome

GOOD = """\
name: good
datasets: [digits]
partition: {scheme: latent-groups, clients: 5, groups: 5}
models: [mlp-8]
training: {rounds: 2}
methods: [local]
seeds: [0]
"""

GRIDS = {
    "empty file": ("", "must be a mapping"),
    "a list": ("- a\n- b\n", "must be a mapping"),
    "not yaml": ("a: [1, 2\n", "line 2"),
    "tabs": ("a:\n\t- b\n", "not valid YAML"),
    "key given twice": (GOOD + "seeds: [1]\n", "'seeds' is given twice"),
    "misspelt key": (GOOD.replace("seeds", "seed"), "no setting 'seed'; did you mean 'seeds'?"),
    "no methods key": (GOOD.replace("methods: [local]\n", ""), "methods is missing"),
    "no methods": (GOOD.replace("[local]", "[]"), "methods is empty"),
    "methods a number": (GOOD.replace("[local]", "3"), "methods must be a valid array, found 3"),
    "method is a number": (GOOD.replace("[local]", "[3]"), "methods lists names"),
    "method with two names": (GOOD.replace("[local]", "[{local: {}, fedmd: {}}]"), "methods lists names"),
    "unknown method": (GOOD.replace("[local]", "[fedmdd]"), "did you mean 'fedmd'?"),
    "method twice": (GOOD.replace("[local]", "[local, local]"), "two methods are called 'local'"),
    "one run under two labels": (
        GOOD.replace("[local]", "[local, {name: local, label: other}]"),
        "is the same run as local",
    ),
    "unknown method setting": (GOOD.replace("[local]", "[fedmd: {digest_epoch: 1}]"), "did you mean 'digest_epochs'?"),
    "method setting of a wrong type": (GOOD.replace("[local]", "[fedmd: {digest_epochs: many}]"), "valid integer"),
    "negative method setting": (GOOD.replace("[local]", "[fedmd: {digest_epochs: -1}]"), "must not be negative"),
    "unknown codec": (GOOD.replace("[local]", "[{name: fedmd, codec: zip}]"), "no codec is named 'zip'"),
    "unknown key of a method": (GOOD.replace("[local]", "[{name: fedmd, lable: x}]"), "did you mean 'label'?"),
    "no data sets": (GOOD.replace("[digits]", "[]"), "data sets must be named"),
    "unknown data set": (GOOD.replace("[digits]", "[digts]"), "did you mean 'digits'?"),
    "data set twice": (GOOD.replace("[digits]", "[digits, digits]"), "each once"),
    "missing user file": (GOOD.replace("[digits]", "['npz:nowhere/x.npz']"), "nowhere"),
    "family without argument": (GOOD.replace("[digits]", "['npz:']"), "needs an argument"),
    "groups do not divide clients": (GOOD.replace("clients: 5", "clients: 7"), "do not divide 7 clients"),
    "more groups than classes": (GOOD.replace("clients: 5, groups: 5", "clients: 12, groups: 12"), "at most 10 groups"),
    "no clients": (GOOD.replace("clients: 5", "clients: 0"), "clients"),
    "negative clients": (GOOD.replace("clients: 5", "clients: -5"), "clients must be at least 1"),
    "more clients than samples": (GOOD.replace("clients: 5", "clients: 5000"), "fewer clients"),
    "public fraction 1": (GOOD.replace("groups: 5", "groups: 5, public: 1"), "public must be in [0, 1), got 1"),
    "public fraction text": (
        GOOD.replace("groups: 5", "groups: 5, public: half"),
        "a valid number or an object, found 'half'",
    ),
    "validation fraction": (GOOD.replace("groups: 5", "groups: 5, val_fraction: 1.5"), "val_fraction must be in"),
    "alpha 0": (GOOD.replace("groups: 5", "groups: 5, alpha: 0"), "alpha must be"),
    "unknown scheme": (GOOD.replace("latent-groups", "latent-group"), "did you mean 'latent-groups'?"),
    "scheme is a number": (GOOD.replace("latent-groups", "3"), "name of a scheme"),
    "setting of another scheme": (GOOD.replace("scheme: latent-groups", "scheme: iid"), "no setting 'groups'"),
    "partition is a word": (GOOD.replace("{scheme: latent-groups, clients: 5, groups: 5}", "iid"), "partition must be"),
    "zero rounds": (GOOD.replace("rounds: 2", "rounds: 0"), "training.rounds must be at least 1, got 0"),
    "rounds as text": (GOOD.replace("rounds: 2", "rounds: '2'"), "training.rounds must be a valid integer, found '2'"),
    "rounds a truth value": (GOOD.replace("rounds: 2", "rounds: yes"), "valid integer, found True"),
    "half a round": (GOOD.replace("rounds: 2", "rounds: 2.5"), "valid integer, found 2.5"),
    "negative learning rate": (GOOD.replace("rounds: 2", "lr: -1"), "training.lr must be above 0"),
    "learning rate not a number": (
        GOOD.replace("rounds: 2", "lr: .nan"),
        "training.lr must be a finite number, found nan",
    ),
    "unknown optimizer": (GOOD.replace("rounds: 2", "optimizer: adamw"), "'adam' or 'sgd', found 'adamw'"),
    "misspelt training key": (GOOD.replace("rounds: 2", "round: 2"), "did you mean 'rounds'?"),
    "participation 0": (GOOD.replace("rounds: 2", "participation: 0"), "participation must be in (0, 1]"),
    "unknown model": (GOOD.replace("[mlp-8]", "[mpl-8]"), "no model is named 'mpl-8'"),
    "malformed model": (GOOD.replace("[mlp-8]", "[mlp-0]"), "does not follow the pattern"),
    "model too large for the images": (GOOD.replace("[mlp-8]", "[lenet5]"), "these fit:"),
    "server too large for the images": (GOOD.replace("[mlp-8]", "{names: [mlp-8], server: vgg16}"), "these fit:"),
    "models a number": (GOOD.replace("[mlp-8]", "8"), "models must be"),
    "no models": (GOOD.replace("[mlp-8]", "[]"), "at least one"),
    "one net for five clients": (
        GOOD.replace("[mlp-8]", "{names: [mlp-8], assignment: [mlp-8]}"),
        "names 1 nets for 5 clients",
    ),
    "seeds backwards": (GOOD.replace("[0]", "4-0"), "seeds must look like"),
    "negative seed": (GOOD.replace("[0]", "[-1]"), "whole numbers from 0 on"),
    "seed twice": (GOOD.replace("[0]", "[1, 1]"), "each once"),
    "half a seed": (GOOD.replace("[0]", "[0.5]"), "seeds"),
    "unknown part of the randomness": (
        GOOD + "vary: {innit: 1-4}\n",
        "vary has no setting 'innit'; did you mean 'init'?",
    ),
    "varied seeds in words": (GOOD + "vary: {init: one}\n", "vary.init: seeds must look like"),
    "varied by nothing": (GOOD + "vary: {init: [0]}\n", "vary.init: 0 is the seed of all else already"),
    "override of nothing": (GOOD + "settings: {a: {lr: 1}}\n", "known: partition.<setting>"),
    "no finite number": (GOOD.replace("[local]", "[{fedprox: {mu: .inf}}]"), "fedprox.mu must be a finite number"),
    "rounds beyond counting": (GOOD.replace("rounds: 2", "rounds: 1000000001"), "at most 1000000000 in size"),
    "a step of all the world": (
        GOOD.replace("rounds: 2", "batch_size: 2000000"),
        "batch_size must be at most 1048576",
    ),
    "a label that is too long": (GOOD.replace("[local]", f"[{{name: local, label: {'n' * 300}}}]"), "found 300"),
    "a label for terminals": (GOOD.replace("[local]", '[{name: local, label: "\\e[31m"}]'), "printable characters"),
    "a grid's name that is too long": (GOOD.replace("name: good", f"name: {'n' * 300}"), "printable characters"),
    "half a character": (GOOD.replace("name: good", 'name: "\\ud800"'), "must be text of whole characters"),
    "a file name that is too long": (GOOD.replace("[digits]", f"['npz:{'n' * 300}.npz']"), "File name too long"),
    "a home of nobody": (GOOD.replace("[digits]", "['folder:~nobody-is-called-so/x']"), "home directory"),
    "a number as a partition key": (GOOD.replace("clients: 5", "7: 8"), "partition has no setting '7'"),
    "a top of all numbers": (
        GOOD.replace("[local]", f"[{{name: fedmd, codec: top-{'9' * 5000}}}]"),
        "no codec is named",
    ),
    "a world beyond memory": (
        GOOD.replace("[digits]", "['planted:clients=100000000&train=1000000']"),
        "half of it, may be data",
    ),
    "seeds times seeds": (
        GOOD + "vary: {init: 0-9999, draws: 0-9999, batches: 0-9999}\n",
        "a grid may have 20000 runs",
    ),
    "always unknown": (GOOD + "always: [loca]\n", "did you mean 'local'?"),
}

COMMANDS = {
    "no such file": ("run nowhere.yaml", "there is no file nowhere.yaml"),
    "no such grid": ("run quik", "did you mean 'quick'?"),
    "no such command": ("rn", "No such command"),
    "no such option": ("run --method local", "No such option"),
    "rounds not a number": ("run --rounds many", "Invalid value for '--rounds'"),
    "negative rounds": ("run --rounds -3", "error: grid quick with --rounds -3: training.rounds must be at least 1"),
    "data for a grid": ("run mine.csv", "your own data are given as --datasets 'csv:mine.csv?target=COLUMN'"),
    "a name that cannot be printed": ("tune --write a\x07b.yaml", "a grid's name must be 1 to"),
    "rounds twice": ("run --rounds 3 -o training.rounds=4", "are the same setting"),
    "no jobs": ("run --jobs 0", "--jobs must be from 1 to 1024, got 0"),
    "unknown device": ("run --device tpu", "--device must be auto, cpu, cuda"),
    "timeout 0": ("run --timeout 0", "--timeout must be above 0"),
    "rounds without end": ("run --rounds 100000000000000000000", "training.rounds must be at most 1000000000"),
    "more jobs than cores anywhere": ("run --jobs 100000", "--jobs must be from 1 to 1024"),
    "seeds without end": ("run --seeds 0-9999,10000-19999,20000-29999", "a grid may have 20000 runs"),
    "a plan of too many runs": (
        "run --dry-run --seeds 0-9999 --methods local,fedmd,fedavg",
        "has at least 30000",
    ),
    "a grid's name that is too long here": (f"run {'n' * 300}", "File name too long"),
    "folders that are too long": (f"leaderboard {'n' * 300}", "File name too long"),
    "a plugin that is too long": (f"run --plugin {'n' * 300}.py", "File name too long"),
    "a seed beyond counting": ("partition digits --seed 100000000000000000000", "at most 1000000000"),
    "unknown selection": ("run --select best", "no selection is named 'best'"),
    "option without value": ("run -o training.lr", "write key=value"),
    "option twice": ("run -o training.lr=1 -o training.lr=2", "is given twice"),
    "option outside": ("run -o seeds=3", "known: partition.<setting>"),
    "unclosed bracket": ("run --methods cosmos[clusters=3", "brackets"),
    "empty method": ("run --methods local,,fedmd", "between commas"),
    "bracket without value": ("run --methods cosmos[clusters]", "key=value"),
    "unknown method here": ("run --methods cosmoss", "did you mean 'cosmos'?"),
    "unknown setting here": ("run --methods cosmos[cluster=3]", "did you mean 'clusters'?"),
    "seeds in words": ("run --seeds one", "--seeds: seeds must look like"),
    "no such plugin": ("run --plugin nowhere.py", "there is no such file"),
    "plugin is no python": ("run --plugin good.yaml", "ends in .py"),
    "plugin that fails": ("run --plugin broken.py", "NameError"),
    "plugin without plugins": ("list methods --plugin idle.py", "registers nothing"),
    "out is a file": ("run good.yaml --out good.yaml", "cannot write records to"),
    "out is below a file": ("run good.yaml --out good.yaml/x", "cannot write records to"),
    "missing data": ("run good.yaml --datasets mnist --data-dir . -o partition.min_test=1", "not found"),
    "no records": ("leaderboard nothing", "has no records"),
    "show nothing": ("show abc nothing", "has no records"),
    "show no such run": ("show abc", "no record is named 'abc'"),
    "list nothing": ("list methodes", "did you mean 'methods'?"),
    "describe nothing": ("describe fedmdd", "did you mean 'fedmd'?"),
    "partition of nothing": ("partition digts", "did you mean 'digits'?"),
    "partition of too many": ("partition digits --groups 11 --clients 11", "at most 10 groups"),
    "partition option twice": ("partition digits --alpha 1 -o alpha=2", "are the same setting"),
    "partition with a negative seed": ("partition digits --seed -1", "whole numbers from 0 on"),
    "method name taken": ("new method fedmd", "exists already"),
    "method name malformed": ("new method My_Method", "small letters"),
}


@pytest.fixture
def workplace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
) -> Path:
    """A working folder with a good grid, two bad plugins and a record."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FL_BENCH_DATA", raising=False)
    Path("good.yaml").write_text(GOOD)
    Path("broken.py").write_text("undefined_name\n")
    Path("idle.py").write_text("x = 1\n")
    Store(Path("fl-bench-results")).write(cell_of(), outcome({"client": [1.0]}))
    return tmp_path


def assert_refused(
    arguments: list[str],
    message: str,
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
    snapshot: Callable[[Path], object],
) -> None:
    before = snapshot(workplace)
    began = time.process_time()  # of this process: other work on the machine does not count
    assert run_command(arguments) == 2
    assert time.process_time() - began < 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("error: ") == 1
    assert said.err.startswith("error: ")
    assert message in said.err
    assert "Traceback" not in said.err
    assert snapshot(workplace) == before


@pytest.mark.parametrize("name", GRIDS)
def test_malformed_grid(
    name: str, workplace: Path, capsys: pytest.CaptureFixture[str], snapshot: Callable[[Path], object]
) -> None:
    text, message = GRIDS[name]
    Path("bad.yaml").write_text(text)
    assert_refused(["run", "bad.yaml", "--jobs", "1"], message, workplace, capsys, snapshot)


@pytest.mark.parametrize("name", COMMANDS)
def test_malformed_command(
    name: str, workplace: Path, capsys: pytest.CaptureFixture[str], snapshot: Callable[[Path], object]
) -> None:
    line, message = COMMANDS[name]
    assert_refused(line.split(), message, workplace, capsys, snapshot)


def test_messages_name_the_file(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.yaml").write_text(GOOD.replace("rounds: 2", "lr: fast"))
    run_command(["run", "bad.yaml"])
    assert capsys.readouterr().err == "error: bad.yaml: training.lr must be a valid number, found 'fast'\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert run_command(["run", "good.yaml", "--out", "locked"]) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_garbled_record_is_named_by_every_command(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = Path("fl-bench-results").rglob("run.json")
    record.write_text("{")
    for command in (["leaderboard"], ["show", record.parent.name]):
        assert run_command(command) == 2
        assert "run.json cannot be read" in capsys.readouterr().err


def test_refusals_wait_for_no_torch(workplace: Path) -> None:
    Path("bad.yaml").write_text(GOOD.replace("rounds: 2", "rounds: -2"))
    code = (
        "import sys; from fl_bench.benchmarks.commands.cli import run_command\n"
        "for line in ('run bad.yaml', 'run good.yaml --methods cosmos[clusters=x]'):\n"
        "    code = run_command(line.split())\n"
        "    heavy = {'torch', 'torchvision', 'sklearn', 'pandas', 'scipy'} & sys.modules.keys()\n"
        "    print(code, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2 []\n2 []\n"
