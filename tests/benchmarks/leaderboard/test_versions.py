"""Records of several protocols: the newest of a run counts, and tables say what is left out and what is mixed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fl_bench.benchmarks.grid.cell import short_hash
from fl_bench.benchmarks.grid.protocol import Protocol
from fl_bench.benchmarks.leaderboard.files import files
from fl_bench.benchmarks.leaderboard.lines import lines, overall
from fl_bench.benchmarks.leaderboard.pairing import cautions
from fl_bench.benchmarks.leaderboard.versions import mixture, newest, superseded, versions
from fl_bench.benchmarks.statistics.reading import read_records
from fl_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fl_bench.benchmarks.grid.cell import Cell
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

    MakeCell = Callable[..., Cell]
    Write = Callable[..., None]

DATA, ROUNDS = "fl_bench.datasets.protocol.VERSION", "fl_bench.federation.protocol.VERSION"


@pytest.fixture
def write(store: Store, cell_of: MakeCell, outcome: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a record as code of some versions would; the first ones name no protocol, as they did."""

    def make(method: str, seed: int, accuracy: float, rounds: int = 1, **changes: object) -> None:
        monkeypatch.setattr(DATA, 1)
        monkeypatch.setattr(ROUNDS, rounds)
        status = str(changes.pop("status", "done"))
        folder = store.write(cell_of(method, seed, **changes), outcome({"client": [accuracy]}, status=status))
        if rounds == 1:
            run = json.loads((folder / "run.json").read_text())
            del run["cell"]["protocol"]
            key, run["key"] = run["key"], short_hash(run["cell"], 10)
            (folder / "run.json").write_text(json.dumps(run))
            folder.rename(folder.with_name(folder.name.replace(key, run["key"])))

    return make


def test_of_a_run_with_several_records_the_newest_counts_whatever_its_status(store: Store, write: Write) -> None:
    write("local", 0, 10.0)
    write("local", 0, 30.0, rounds=3)
    write("local", 0, 20.0, rounds=2)
    write("local", 1, 40.0)
    write("fedmd", 0, 50.0)
    write("fedmd", 0, 60.0, rounds=3, status="diverged")
    records = store.records()
    assert {(run.label, run.repetition.seed, run.protocol.rounds) for run in newest(records)} == {
        ("local", 0, 3),
        ("local", 1, 1),
        ("fedmd", 0, 3),
    }
    assert len(superseded(records)) == 3
    fedmd, local = lines(records)
    assert (fedmd.acc_mean, fedmd.diverged) == (None, 1)
    assert (local.acc_mean, local.seeds_done) == (35.0, "0 1")  # of 30 and 40
    assert fedmd.note.endswith("newer protocol: 1 of protocol data 1, rounds 1, method 1")
    assert local.note.endswith("newer protocol: 2 of protocol data 1, rounds 1 and 2, method 1")


def test_runs_of_different_protocols_in_one_table_are_a_caution(store: Store, write: Write) -> None:
    for method in ("local", "fedmd", "fedavg"):
        write(method, 0, 50.0)
    assert cautions(store.records()) == []
    assert read_records(store.records()).notes == ()
    write("fedmd", 0, 60.0, rounds=2)
    (left, mixed) = cautions(store.records())
    assert left == "left out, as there are runs of a newer protocol: 1 of protocol data 1, rounds 1, method 1"
    assert mixed.startswith("caution: runs of different protocols")
    assert "(fedmd: data 1, rounds 2; the others: data 1, rounds 1): digits" in mixed
    notes = read_records(store.records()).notes
    assert [note.partition(":")[0] for note in notes] == [
        "caution",
        "left out, as there are runs of a newer protocol",
    ]
    # Nothing is mixed and nothing left out among those that are compared.
    assert read_records(store.records(), methods=("local", "fedavg")).notes == ()
    for method in ("local", "fedavg"):
        write(method, 0, 50.0, rounds=2)
    assert [said.partition(":")[0] for said in cautions(store.records())] == [
        "left out, as there are runs of a newer protocol"
    ]


def test_files_name_protocols_only_where_one_is_beyond_the_first(store: Store, write: Write) -> None:
    write("local", 0, 50.0)
    before = files(store.records())
    assert "protocol" not in "".join(before.values())
    write("local", 0, 60.0, rounds=2)
    write("local", 1, 60.0)
    write("local", 0, 60.0, datasets=("letter",))
    write("local", 0, 60.0, rounds=3, datasets=("vowel",))
    after = files(store.records())
    assert after["digits.csv"].splitlines()[0] == before["digits.csv"].splitlines()[0] + ",protocols"
    assert after["digits.csv"].splitlines()[1].endswith(',"data 1, rounds 1 and 2, method 1"')
    assert after["vowel.csv"].splitlines()[1].endswith(',"data 1, rounds 3, method 1"')
    assert after["overall.csv"].splitlines()[1].endswith(',"data 1, rounds 1 and 2 and 3, method 1"')
    assert after["letter.csv"].splitlines()[0] == before["digits.csv"].splitlines()[0]
    (line,) = overall(lines(store.records()))
    assert line.protocols == (Protocol(1, 1, 1), Protocol(1, 2, 1), Protocol(1, 3, 1))


def test_an_older_record_does_not_have_to_pair_with_newer_ones(
    store: Store, write: Write, cell_of: MakeCell, outcome: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("local", 0, 50.0)
    monkeypatch.setattr(DATA, 2)
    for method in ("local", "fedmd"):
        store.write(cell_of(method), outcome({"client": [1.0]}, facts={"pairing": {"partition": "other"}}))
    assert [line.acc_mean for line in lines(store.records())] == [1.0, 1.0]
    # Where only the old one is there, its clients had other data than the new ones: no table.
    write("fedavg", 0, 50.0)
    with pytest.raises(DataError, match="partition differs"):
        lines(store.records())


def test_what_a_mixture_is_called() -> None:
    one, two, three = Protocol(1, 1, 1), Protocol(1, 2, 1), Protocol(1, 1, 2)
    assert mixture({}) == mixture({"a": [one], "b": [three]}) == mixture({"a": [two, two]}) == ""
    assert mixture({"a": [one, three], "b": [one]}).endswith(
        "(a: data 1, rounds 1, method 1 and 2; b: data 1, rounds 1)"
    )
    assert mixture({"a": [one, two], "b": [two, one]}).endswith("(all: data 1, rounds 1 and 2, method 1)")
    assert mixture({"a": [one], "b": [two]}).endswith("(a: data 1, rounds 1; b: data 1, rounds 2)")
    assert mixture({"a": [one], "b": [two], "c": [one]}).endswith("(b: data 1, rounds 2; the others: data 1, rounds 1)")
    assert mixture({"a": [one, two]}).endswith("(a: data 1, rounds 1 and 2, method 1)")
    assert versions([two, one]) == "data 1, rounds 1 and 2, method 1"
