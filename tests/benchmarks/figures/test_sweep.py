"""The one setting that varies is found, doses of 0 belong to every dose, and everything else has a reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fl_bench.benchmarks.figures import sweep as figure
from fl_bench.benchmarks.figures.blocks import read_blocks
from fl_bench.benchmarks.figures.gallery import from_sweeps
from fl_bench.benchmarks.figures.style import render
from fl_bench.benchmarks.figures.varied import Band, Sweep, read_sweeps
from fl_bench.benchmarks.grid.grid import Overrides

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fl_bench.benchmarks.grid.grid import Grid
    from fl_bench.benchmarks.records.record import Outcome
    from fl_bench.benchmarks.records.store import Store

    Write = Callable[..., None]


@pytest.fixture
def write(small_grid: Callable[..., Grid], store: Store, outcome: Callable[..., Outcome]) -> Write:
    """Writes records of settings, given as options, with one accuracy per seed in the last of two rounds."""

    def make(options: list[str], *accuracies: float, method: str = "fedmd", **facts: Any) -> None:
        seeds = ",".join(map(str, range(len(accuracies))))
        given = Overrides(methods=method, seeds=seeds, options=options)
        own = {"category": "distillation", "public_samples": 245, **facts}
        for cell, accuracy in zip(small_grid(given).cells, accuracies, strict=True):
            store.write(cell, outcome({"client": [1.0, accuracy]}, facts=own))

    return make


def sweeps(store: Store) -> list[Sweep]:
    return read_sweeps(read_blocks(store.records()))[0]


def reasons(store: Store) -> list[str]:
    return read_sweeps(read_blocks(store.records()))[1]


def test_a_dose_is_found_and_its_numbers_are_those_of_the_last_round(write: Write, store: Store) -> None:
    write(["partition.public.noise=5"], 10, 20)
    write(["partition.public.noise=2"], 50, 54)
    write([], 70, 60)
    (sweep,) = sweeps(store)
    assert (sweep.dataset, sweep.setting, sweep.of) == ("digits", "partition.public.noise", "")
    assert (sweep.seeds, sweep.balanced, sweep.rounds) == (("0", "1"), True, (2,))
    (line,) = sweep.lines
    assert (line.label, line.category, line.values) == ("fedmd", "distillation", (0, 2, 5))
    assert (line.mean, line.lowest, line.highest) == ((65, 52, 15), (60, 50, 10), (70, 54, 20))
    assert reasons(store) == []


def test_the_plain_pool_is_dose_0_of_every_other_data_set(write: Write, store: Store, tmp_path: Path) -> None:
    import numpy as np

    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", x=np.zeros((400, 1, 8, 8), np.uint8), y=np.arange(400) % 2)
        for dose in (0.5, 1):
            options = [f"partition.public.from=npz:{tmp_path}/{name}.npz", f"partition.public.foreign={dose}"]
            write(options, 10 * dose)
    write([], 70)
    found = sweeps(store)
    assert {sweep.setting for sweep in found} == {"partition.public.foreign"}
    assert [sweep.of for sweep in found] == ["from npz:a.npz", "from npz:b.npz"]
    assert [sweep.lines[0].mean for sweep in found] == [(70, 5, 10)] * 2
    names = [drawing.name for drawing in from_sweeps(read_blocks(store.records()))[0]]
    assert len(set(names)) == len(names) == 2 * 3


@pytest.mark.parametrize(
    ("doses", "setting", "of"),
    [
        ([{"missing": 2}, {"missing": 4}], "partition.public.missing", "removed 1.0"),
        ([{"missing": [1], "removed": 0.5}, {"missing": [1], "removed": 1}], "partition.public.removed", "missing [1]"),
    ],
)
def test_missing_classes_vary_in_number_or_in_how_much_is_removed(
    write: Write, store: Store, doses: list[dict[str, Any]], setting: str, of: str
) -> None:
    write([], 70)
    for place, dose in enumerate(doses):
        write([f"partition.public.{name}={value}" for name, value in dose.items()], 60 - place)
    (sweep,) = sweeps(store)
    assert (sweep.setting, sweep.of) == (setting, of)
    assert sweep.lines[0].mean == (70, 60, 59)


def test_the_whole_pool_has_the_size_that_its_record_counts(write: Write, store: Store) -> None:
    write([], 70)
    write(["partition.public.size=50"], 60)
    (sweep,) = sweeps(store)
    assert sweep.setting == "partition.public.size"
    assert sweep.lines[0].values == (50, 245)


def test_any_setting_can_vary_each_around_the_same_runs(write: Write, store: Store) -> None:
    write([], 70)
    write(["partition.alpha=10"], 71)
    write(["training.lr=0.1"], 72)
    assert [(sweep.setting, sweep.lines[0].values) for sweep in sweeps(store)] == [
        ("partition.alpha", (1, 10)),
        ("training.lr", (0.001, 0.1)),
    ]


def test_a_setting_of_a_method_can_vary_beside_methods_that_do_not(write: Write, store: Store) -> None:
    for rate, accuracy in (("0.01", 60), ("0.03", 70), ("0.1", 65)):
        write([], accuracy, method=f"fedmd[digest_lr={rate}]")
    write([], 50, method="local", category="bound")
    (sweep,) = sweeps(store)
    assert (sweep.setting, sweep.where, sweep.balanced) == ("digest_lr", "", True)
    by_label = {line.label: line for line in sweep.lines}
    assert by_label["fedmd"].values == (0.01, 0.03, 0.1)
    assert by_label["fedmd"].mean == (60, 70, 65)
    assert by_label["local"].mean == (50, 50, 50)
    assert reasons(store) == []
    write([], 61, method="fedmd[digest_lr=0.01;digest_epochs=2]")  # differs in two: part of another sweep, over epochs
    assert [(sweep.setting, [line.label for line in sweep.lines]) for sweep in sweeps(store)] == [
        ("digest_epochs", ["local", "fedmd"]),
        ("digest_lr", ["local", "fedmd"]),
    ]


def test_poisoned_clients_vary_from_none_and_honest_ones_are_drawn(
    write: Write, store: Store, small_grid: Callable[..., Grid], outcome: Callable[..., Outcome]
) -> None:
    write([], 70)
    for share, honest in (("0.2", 65.0), ("0.4", 55.0)):
        options = [f"faults.poison.clients={share}", "faults.poison.kind=scale", "faults.poison.factor=4"]
        (cell,) = small_grid(Overrides(methods="fedmd", options=options)).cells
        made = outcome({"client": [1.0, 20.0]}, facts={"category": "distillation", "public_samples": 245})
        store.write(cell, replace(made, rounds=[{**row, "client.acc_honest": honest} for row in made.rounds]))
    (sweep,) = sweeps(store)
    assert (sweep.setting, sweep.of, sweep.honest) == ("faults.poison.clients", "factor 4.0, kind scale", True)
    assert (sweep.lines[0].values, sweep.lines[0].mean) == ((0, 0.2, 0.4), (70, 65, 55))
    assert figure.caption(sweep).startswith("mean accuracy of honest clients after round 2")


def test_absence_varies_from_none(write: Write, store: Store) -> None:
    write([], 70)
    for share in ("0.1", "0.3"):
        write([f"faults.absent={share}", "faults.absent_at=after_download"], 60)
    (sweep,) = sweeps(store)
    assert (sweep.setting, sweep.of, sweep.honest) == ("faults.absent", "absent_at after_download", False)
    assert sweep.lines[0].values == (0, 0.1, 0.3)


def test_gaps_are_said(write: Write, store: Store) -> None:
    write([], 70, 72)
    write(["partition.public.blur=1"], 60)
    write(["partition.public.blur=1"], 50, method="local")
    (sweep,) = sweeps(store)
    assert {line.label: line.values for line in sweep.lines} == {"fedmd": (0, 1), "local": (1,)}
    assert not sweep.balanced
    assert figure.caption(sweep) == (
        "mean client accuracy after round 2, all other settings equal; bands: lowest to highest of seeds 0 1; "
        "not every method has every seed at every value"
    )


def test_nothing_or_too_much_that_varies_is_named(write: Write, store: Store) -> None:
    write([], 70)
    assert reasons(store) == [
        "digits: all runs have one setting; run others into the same folder, such as with -o partition.public.noise=3"
    ]
    write(["partition.public.noise=1", "training.lr=0.1"], 60)
    assert sweeps(store) == []
    assert reasons(store) == [
        "digits: settings differ in partition.public.noise and training.lr at once; "
        "a sweep needs some that differ in one number"
    ]


def test_a_setting_that_is_no_number_is_named(write: Write, store: Store) -> None:
    write([], 70)
    write(["training.optimizer=sgd"], 60)
    assert reasons(store) == ["digits: settings differ in training.optimizer, which is no number"]


def test_a_sweep_is_drawn_with_its_values_as_ticks(write: Write, store: Store) -> None:
    pytest.importorskip("matplotlib")
    write([], 70, 72)
    write([], 40, method="local", category="bound")
    for alpha in (0.1, 100):
        write([f"partition.alpha={alpha}"], 60, 62)
        write([f"partition.alpha={alpha}"], 30, method="local", category="bound")
    drawing, *costs = from_sweeps(read_blocks(store.records()))[0]
    assert (drawing.kind, drawing.name) == ("sweep", "sweep-digits-partition.alpha")
    own = "digits-partition.alpha"
    assert [cost.name for cost in costs] == [f"sweep-bytes-{own}", f"sweep-seconds-{own}"]
    drawn = drawing.draw()
    (axes,) = drawn.axes
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "1", "100"]
    assert axes.get_xlabel() == "alpha"
    assert sorted(text.get_text() for text in axes.texts) == ["fedmd", "local"]
    assert render(drawn, "svg") == render(drawing.draw(), "svg")


def test_costs_are_those_of_whole_runs_and_who_spends_nothing_has_no_line(write: Write, store: Store) -> None:
    for alpha in (1, 10):
        write([f"partition.alpha={alpha}"], 60, 62)
    (sweep,) = sweeps(store)
    sent, spent = sweep.measured("bytes"), sweep.measured("seconds")
    # Two rounds: 400 bytes up in each, 200 down in the second; a quarter of a second of training in each.
    assert [(line.mean, line.lowest, line.highest) for line in sent.lines] == [((1000, 1000),) * 3]
    assert [(line.mean, line.lowest, line.highest) for line in spent.lines] == [((0.5, 0.5),) * 3]
    assert figure.caption(sent) == (
        "bytes sent, all clients, both ways, up to round 2, all other settings equal; "
        "bands: lowest to highest of seeds 0 1"
    )
    silent = replace(sweep.lines[0], spent=(("bytes", Band((0, 0), (0, 0), (0, 0))),))
    assert replace(sweep, lines=(silent,)).measured("bytes").lines == ()


def test_sweeps_of_one_setting_are_named_by_what_else_differs(write: Write, store: Store) -> None:
    for alpha in (1, 10):
        for lr in (0.1, 0.01, 0.001):
            write([f"partition.alpha={alpha}", f"training.lr={lr}"], 60)
    found = from_sweeps(read_blocks(store.records()))[0]
    assert [drawing.title for drawing in found][::3] == [
        "digits [lr=0.001]: accuracy against partition.alpha",
        "digits [lr=0.01]: accuracy against partition.alpha",
        "digits [lr=0.1]: accuracy against partition.alpha",
        "digits [alpha=1]: accuracy against training.lr",
        "digits [alpha=10]: accuracy against training.lr",
    ]
    assert found[0].name == "sweep-digits-partition.alpha-lr=0.001"
