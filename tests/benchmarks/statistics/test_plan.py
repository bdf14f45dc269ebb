"""Which tests are made, in which families, and what departs from the declaration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fl_bench.benchmarks.grid.declaration import Declaration
from fl_bench.benchmarks.records.declarations import Declared
from fl_bench.benchmarks.statistics.comparison import compare
from fl_bench.benchmarks.statistics.plan import Plan, follow, whole_table
from fl_bench.benchmarks.statistics.result import Options
from fl_bench.benchmarks.statistics.table import Table

MakeTable = Callable[..., Table]

MEANT = Declaration(
    "ours",
    methods=("fedmd", "local"),
    ablations=("ours-1", "ours-2", "ours-3"),
    bounds=("oracle",),
    datasets=tuple(f"d{place:02d}" for place in range(7)),
    seeds=(0, 1),
)
DECLARED = Declared("mine", "0" * 64, "2026-01-01T00:00:00+00:00", 0, 98, MEANT)


@pytest.fixture
def table(table_of: MakeTable) -> Table:
    """Seven data sets; ours wins all of them against all but the oracle, which wins all."""
    leads = {"ours": 5.0, "fedmd": 0.0, "local": 0.0, "ours-1": 0.0, "ours-2": 0.0, "ours-3": 0.0, "oracle": 9.0}
    generator = np.random.default_rng(0)
    values = 70 + np.array(list(leads.values())) + generator.normal(0, 0.3, (7, 2, len(leads)))
    return table_of(values, methods=list(leads))


def plan(table: Table, options: Options | None = None, select: str = "last") -> Plan:
    return follow([DECLARED], table, options or Options("ours"), select, ())


def test_each_family_has_its_own_correction(table: Table) -> None:
    # over seven data sets the least p is 1/64: times 2, 3 and 1; as one family of six .094, and nothing is shown
    result = compare(table, Options("ours"), plan(table))
    assert [(one.method, one.family, one.p) for one in result.decisions] == [
        ("fedmd", "methods", 2 / 64),
        ("local", "methods", 2 / 64),
        ("ours-1", "ablations", 3 / 64),
        ("ours-2", "ablations", 3 / 64),
        ("ours-3", "ablations", 3 / 64),
        ("oracle", "bounds", 1 / 64),
    ]
    assert result.summary[1:4] == (
        "Methods, worse than ours: fedmd, local (on 7 data sets, signed rank, Holm over 2 tests).",
        "Ablations, worse than ours: ours-1, ours-2, ours-3 (on 7 data sets, signed rank, Holm over 3 tests).",
        "Bounds, better than ours: oracle (on 7 data sets, signed rank).",
    )
    together = compare(table, Options("ours"))
    assert {one.verdict for one in together.decisions} == {"undecided"}


def test_ablations_and_bounds_change_nothing_for_the_methods(table: Table) -> None:
    # nor do they take part in mean ranks, all pairs and the omnibus test
    few = table.take_methods(["ours", "fedmd", "local"])
    alone, whole = compare(few, Options("ours")), compare(table, Options("ours"), plan(table))
    assert (whole.omnibus, whole.secondary, whole.rank_differences) == (
        alone.omnibus,
        alone.secondary,
        alone.rank_differences,
    )
    assert [one.p_max for one in whole.joint[:2]] == [one.p_max for one in alone.joint]
    ranks = {row.method: row.mean_rank for row in whole.ranks}
    assert [ranks[name] for name in ("oracle", "ours-1")] == [None, None]
    assert {name: ranks[name] for name in few.methods} == {row.method: row.mean_rank for row in alone.ranks}
    assert {row.method for row in whole.ranks} == set(table.methods)


def test_a_comparison_as_declared_departs_from_nothing(table: Table) -> None:
    found = plan(table)
    assert found.departures == ()
    assert found.said == "declared before its first run, by the grid mine at 2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("options", "select", "departure"),
    [
        ({"control": "fedmd"}, "last", "control fedmd instead of ours"),
        ({"alpha": 0.1}, "last", "level 0.1 instead of 0.05"),
        ({"rope": 3.0}, "last", "ROPE 3 instead of 1 point"),
        ({}, "val", "--select val instead of last"),
        ({"blocks": "setting"}, "last", "--blocks setting"),
    ],
)
def test_other_questions_than_declared_are_named(
    table: Table, options: dict[str, object], select: str, departure: str
) -> None:
    asked = replace(Options("ours"), **options)  # type: ignore[arg-type]
    assert plan(table, asked, select).departures == (departure,)


def test_methods_data_sets_and_seeds_that_are_left_out_are_counted(table: Table) -> None:
    fewer = table.take_methods(["ours", "fedmd"]).take_conditions(lambda at: at.dataset > "d01")
    one = replace(fewer, conditions=tuple(at._take([0, 1], [0]) for at in fewer.conditions))
    assert plan(one).departures == (
        "5 methods left out",
        "2 data sets left out (d00, d01)",
        "1 seed left out (1)",
    )


def test_a_family_that_was_cut_says_so(table: Table) -> None:
    # two of three tests: p is 2/64 and no more 3/64, which a reader has to know
    fewer = table.take_methods(["ours", "fedmd", "local", "ours-1", "ours-2", "oracle"])
    result = compare(fewer, Options("ours"), plan(fewer))
    assert result.departures == ("1 method left out (ours-3)",)
    (said,) = [said for said in result.verdicts if said.startswith("ours-1 ")]
    assert said.endswith("p = .031, signed rank, Holm over 2 of 3 declared tests.")
    (alone,) = compare(table.take_methods(["ours", "local"]), Options("ours"), plan(table)).verdicts
    assert alone.endswith("p = .016, signed rank, 1 of 2 declared tests.")


def test_without_a_declaration_the_family_is_all_there_is(table: Table) -> None:
    fewer = table.take_methods(["ours", "fedmd", "local"])
    result = compare(fewer, Options("ours"), whole_table(table.methods, "ours"))
    assert all("Holm over 2 of 6 possible tests" in said for said in result.verdicts)
    assert (result.declared, result.departures) == ("", ())


def test_another_control_makes_one_family_of_all(table: Table) -> None:
    found = plan(table, Options("oracle"))
    tested = found.tested(table.methods, "oracle")
    assert [(family.name, len(family.methods), family.planned) for family in tested] == [("methods", 6, 6)]


def test_methods_that_nobody_declared_are_a_family_apart(table: Table) -> None:
    found = replace(plan(table), families=(("methods", ("fedmd",)),)).tested(table.methods, "ours")
    assert [(family.name, len(family.methods)) for family in found] == [("methods", 1), ("not declared", 5)]


def test_a_declaration_after_runs_says_after_how_many(table: Table) -> None:
    late = replace(DECLARED, recorded=40)
    changed = replace(late, date="2026-02-01T00:00:00+00:00")
    assert follow([late], table, Options(), "last", ()).said.startswith(
        "declared after 40 of 98 runs, by the grid mine"
    )
    assert follow([DECLARED, changed], table, Options(), "last", ()).said == (
        "declared after 40 of 98 runs, by the grid mine at 2026-02-01T00:00:00+00:00; declared otherwise at "
        "2026-01-01T00:00:00+00:00"
    )
