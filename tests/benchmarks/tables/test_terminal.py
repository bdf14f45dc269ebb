"""What others wrote reaches the terminal without characters that do something to it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from fl_bench.benchmarks.commands.cli import run_command
from fl_bench.benchmarks.tables.printing import print_table
from fl_bench.benchmarks.tables.terminal import make_console, put, say, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

HOSTILE = "\x1b[2J\x9bH\r\x07\u202egnp\u2028\ud800"
SHOWN = r"\x1b[2J\x9bH\r\x07\u202egnp\u2028\ud800"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, SHOWN),
        ("two\n\tlines", "two\n\tlines"),
        ("é\u00a0·\u3000字 🙂 \\x1b", "é\u00a0·\u3000字 🙂 \\x1b"),
        ("\x00\x7f\ue000", "\\x00\\x7f\ue000"),
    ],
)
def test_visible_writes_control_characters_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_every_way_to_the_terminal_is_made_visible(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for console in (make_console(), make_console(stderr=True)):
        console.print(f"a {HOSTILE}", markup=False)
        print_table(console, [{f"b {HOSTILE}": f"c {HOSTILE}"}], title=f"d {HOSTILE}", caption=f"e {HOSTILE}")
    put(f"f {HOSTILE}")
    say(f"f {HOSTILE}")
    said = capsys.readouterr()
    for stream in (said.out, said.err):
        assert stream == visible(stream)
        for place in "abcdef":
            assert f"{place} {SHOWN}" in stream


def test_a_wide_table_goes_on_below_and_cuts_no_number(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # 6 + 2 + 12 + 2 + 13 = 35 characters for three columns; the text takes what is left of a line, 24 at the least
    row = {"name": "fedavg", "a b": "-10.5 to 3.2", "c": "-10.5 to 3.25", "why": "word " * 8}
    for width, wanted in ((21, ["a b", "c", "why"]), (35, ["a b c", "why"]), (61, ["a b c why"])):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(make_console(), [row], title="T", caption="C")
        said = capsys.readouterr().out
        heads = [line.split() for line in said.splitlines() if line.startswith("name")]
        assert heads == [["name", *part.split()] for part in wanted]
        assert said.count("T") == said.count("C") == 1
        assert said.count("fedavg") == len(wanted)
        assert re.findall(r"-10\.5 to 3\.2\S*", said) == ["-10.5 to 3.2", "-10.5 to 3.25"]


def test_a_table_is_as_wide_as_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(make_console(), [{"one": "\x1b", "two": 1}, {"one": "abcd", "two": 2}])
    first, second = capsys.readouterr().out.splitlines()[2:4]
    assert first.split() == [r"\x1b", "1"]
    assert first.rindex("1") == second.index("2")


def test_a_failed_run_cannot_write_to_the_terminal(
    store: Store,
    cell_of: Callable[..., Cell],
    outcome: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("g.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "g",
                "datasets": ["digits"],
                "partition": {"clients": 5, "groups": 5, "min_test": 5},
                "models": ["mlp-8"],
                "training": {"rounds": 2},
                "methods": ["local"],
                "seeds": [0],
            }
        )
    )
    folder = store.write(cell_of(), outcome(status="failed", reason="boom"))
    run = json.loads((folder / "run.json").read_text())
    # A record may hold what no run of ours writes.
    hostile = HOSTILE.removesuffix("\ud800")
    run |= {"reason": f"boom {hostile}\nrecords: forged", "traceback": f"line 1\nline 2 {hostile}."}
    (folder / "run.json").write_text(json.dumps(run))
    results = str(store.results)
    shown = SHOWN.removesuffix(r"\ud800")
    for command, code, said in (
        (["show", "local", results], 0, f"line 2 {shown}"),
        (["run", "g.yaml", "--out", results], 1, "boom"),
        (["leaderboard", results], 0, ""),
        (["report", results, "--no-figures", "--out", "page"], 0, ""),
    ):
        assert run_command(command) == code
        captured = capsys.readouterr()
        assert said in captured.out + captured.err
        assert visible(captured.out + captured.err) == captured.out + captured.err
        assert "\nrecords: forged" not in captured.out + captured.err
