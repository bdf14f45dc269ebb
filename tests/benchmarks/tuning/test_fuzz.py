"""Whatever is in a ledger: it is read, and all that is said of it can be said, or it is refused with one message."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import ledgers
from fuzzing import budget, damaged, guarded, values
from hypothesis import given
from hypothesis import strategies as st

from fl_bench.benchmarks.leaderboard.budgets import budgets, how_choices_vary, in_words
from fl_bench.benchmarks.tuning.ledger import Tuning, parse_ledger
from fl_bench.errors import DataError

SEARCH = ledgers.search("fedavg", {"training.lr": 0.01}, 3, places=("digits", "vowel"))
WHOLE = ledgers.ledger(SEARCH, tunings=(Tuning((100,), (SEARCH,)),)).text()


def read(text: str) -> None:
    with guarded(Path.cwd()), suppress(DataError):
        ledger = parse_ledger(text, Path("tuning.json"))
        assert isinstance(how_choices_vary(ledger), str)
        assert isinstance(in_words({"fedavg": 3, "local": 0}, ledger), str)
        assert budgets([], ledger) == {}
        assert parse_ledger(ledger.text(), Path("again.json")) == ledger


@budget(150)
@given(damaged(WHOLE.encode()))
def test_bytes_of_a_ledger(content: bytes) -> None:
    read(content.decode(errors="replace"))


@budget(150)
@given(st.data())
def test_fields_of_a_ledger(data: st.DataObject) -> None:
    whole = json.loads(WHOLE)
    place: Any = whole
    while True:  # down to some part of it, which is then another value or gone
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    if data.draw(st.booleans()):
        place[key] = data.draw(values)
    else:
        del place[key]
    read(json.dumps(whole))
