"""Ledgers are read as they were written, and refused where they were edited, cut, or are something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ledgers
import pytest

from fl_bench.benchmarks.tuning.ledger import read_ledger, seeds_in_words
from fl_bench.errors import DataError
from fl_bench.limits import LEDGER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHOLE = ledgers.ledger(
    ledgers.search("fedavg", {"training.lr": 0.01}, 3, places=("digits", "vowel")),
    ledgers.search("local", {"training.lr": 0.02}, 3, places=("digits", "vowel")),
)


def test_a_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_text(WHOLE.text(), encoding="utf-8")
    assert read_ledger(path) == (WHOLE, WHOLE.text())


def _trial(values: Any, number: int = 2) -> Any:
    return values["tunings"][0]["searches"][0]["trials"][number]


def _search(values: Any) -> Any:
    return values["tunings"][0]["searches"][0]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda v: _trial(v, 0)["accuracy"]["digits"].update({"100": 99.0}), "the trial with the best mean is not"),
        (lambda v: _search(v).update(chosen=1), "the trial with the best mean is not the chosen one, 1"),
        (lambda v: _search(v).update(chosen=7), "the trial with the best mean is not the chosen one, 7"),
        (lambda v: _search(v)["curve"].__setitem__(2, 60.0), "the curve of the best mean so far"),
        (lambda v: _search(v)["trials"].pop(0), "its trials must be numbered from 0"),
        (lambda v: v.update(trials=8), "it has 3 trials, and the budget is 8"),
        (lambda v: v.update(trials=2), "it has 3 trials, and the budget is 2"),
        (lambda v: v.update(final_seeds=[100]), "seeds of a tuning must be others .* found 100 again"),
        (lambda v: v["tunings"].append(v["tunings"][0]), "found 100 again"),
        (lambda v: v.update(tunings=[]), "it has no tuning"),
        (lambda v: _trial(v)["accuracy"].pop("vowel"), "trial 2 is done without all of its data sets"),
        (lambda v: _trial(v)["accuracy"]["vowel"].update({"7": 1.0}), "accuracies of other data sets or seeds"),
        (lambda v: _trial(v)["accuracy"]["vowel"].update({"100": 101.0}), "an accuracy that is no percentage"),
        (lambda v: _trial(v)["settings"].update(digest_lr=1.0), "trial 2 has other settings than its space"),
        (lambda v: _trial(v).update(seconds=-1.0), "trial 2 has costs that cannot be"),
        (lambda v: v["tunings"][0]["searches"].append(_search(v)), "a method was tuned twice on a data set"),
        (lambda v: v.update(format=2), "has format 2, this fl-bench reads up to 1"),
        (lambda v: v.update(note="hello"), "has no setting 'note'"),
        (lambda v: v.pop("seeds", v.pop("per")), "is no ledger of a tuning"),
        (lambda v: _trial(v).update(status="great"), "is no ledger of a tuning"),
    ],
)
def test_a_ledger_that_was_edited_is_refused(edit: Callable[[Any], Any], said: str, tmp_path: Path) -> None:
    values = json.loads(WHOLE.text())
    edit(values)
    path = tmp_path / "tuning.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(DataError, match=said):
        read_ledger(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no ledger of a tuning"),
        (b"[" * 100_000, "is no ledger of a tuning"),
        (b'{"format": NaN}', "is no ledger of a tuning"),
        (b"\xff\xfe", "it is no UTF-8 text"),
        (b" " * (LEDGER_BYTES + 1), f"a ledger has at most {LEDGER_BYTES}"),
    ],
    ids=["empty", "deep", "nan", "bytes", "large"],
)
def test_what_is_no_ledger_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tuning.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_ledger(path)


def test_a_ledger_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no ledger"):
        read_ledger(tmp_path / "tuning.json")
    with pytest.raises(DataError, match="a ledger is an ordinary file"):
        read_ledger(tmp_path)


def test_seeds_in_words() -> None:
    assert [seeds_in_words(seeds) for seeds in ((100,), (101, 100), (1, 5))] == [
        "seed 100",
        "seeds 100-101",
        "seeds 1, 5",
    ]
