"""The planted study: what it says is what its files say, predictions are judged by a stated rule, arms run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fl_bench.benchmarks.studies.planted import predictions
from fl_bench.benchmarks.studies.planted.calibration import calibrate
from fl_bench.benchmarks.studies.planted.files import ARMS as ARM_RESULTS
from fl_bench.benchmarks.studies.planted.files import CURVES, OUTCOMES, PREDICTIONS, read
from fl_bench.benchmarks.studies.planted.page import write
from fl_bench.benchmarks.studies.planted.predictions import check_predictions, held
from fl_bench.benchmarks.studies.planted.study import ARMS, ROUNDS, SEEDS, Arm, controls_of, run_arm
from fl_bench.benchmarks.studies.sections import STUDIES
from fl_bench.cosmos.theory.steps import Slope, one_step

if TYPE_CHECKING:
    from pathlib import Path


def test_the_page_says_what_the_files_say(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(STUDIES.read_text(encoding="utf-8"), encoding="utf-8")
    assert write(page).read_text(encoding="utf-8") == STUDIES.read_text(encoding="utf-8"), "run `make cosmos`"


def test_the_files_have_every_arm_and_every_prediction() -> None:
    assert [row["arm"] for row in read(ARM_RESULTS)] == list(ARMS)
    kept = [{key: row[key] for key in read(PREDICTIONS)[0]} for row in read(OUTCOMES)]
    assert kept == read(PREDICTIONS)
    assert {row["arm"] for row in kept} <= set(ARMS)
    assert {row["against"] for row in kept} <= {"", *ARMS}
    assert {row["outcome"] for row in read(OUTCOMES)} <= {"supported", "not supported", "not identified"}


def test_the_slopes_follow_from_the_kept_curves() -> None:
    # The one-step slope is that of means over clients, so that curves of means are enough, but for four digits.
    rows = read(CURVES)
    for result in read(ARM_RESULTS):
        means = [float(row["client"]) for row in rows if row["arm"] == result["arm"]]
        risks = np.array(means).reshape(SEEDS, 1, ROUNDS)
        assert risks[:, :, 0].mean() == pytest.approx(float(result["first"]), abs=1e-4)
        assert risks[:, :, -1].mean() == pytest.approx(float(result["last"]), abs=1e-4)
        if result["verdict"] == "supported":
            assert one_step(risks, start=0).rho.estimate == pytest.approx(float(result["slope"]), abs=5e-3)


@pytest.mark.parametrize(
    ("expected", "interval", "outcome"),
    [
        ("up", (0.1, 0.3), "supported"),
        ("up", (-0.1, 0.3), "not identified"),
        ("up", (-0.3, -0.1), "not supported"),
        ("up", (-0.01, 0.02), "not supported"),  # no change that matters
        ("down", (-0.3, -0.1), "supported"),
        ("down", (0.1, 0.3), "not supported"),
        ("down", (-0.3, 0.1), "not identified"),
        ("same", (-0.01, 0.04), "supported"),
        ("same", (0.01, 0.04), "supported"),  # a change, but none that matters
        ("same", (0.01, 0.2), "not supported"),
        ("same", (-0.01, 0.2), "not identified"),
        ("same", None, "not identified"),
    ],
)
def test_a_prediction_is_judged_by_its_interval(
    expected: str, interval: tuple[float, float] | None, outcome: str
) -> None:
    assert held(expected, "slope", Slope(0.0, interval)) == outcome


def test_an_arm_runs_and_its_excess_is_over_the_bayes_risk() -> None:
    found = run_arm(Arm(public=60), seeds=2, rounds=2)
    assert found.clients.shape == (2, 12, 2)
    assert found.server is not None
    assert found.server.shape == (2, 12, 2)
    assert found.clusters.tolist() == [[0] * 4 + [1] * 4 + [2] * 4] * 2
    assert found.clients.mean() > 0
    easy = run_arm(Arm(public=60, world={"separation": 8.0}), seeds=1, rounds=1)
    assert math.isclose(float(easy.clients.mean()), 0.0, abs_tol=0.05)


def test_controls_share_the_first_models(monkeypatch: pytest.MonkeyPatch) -> None:
    arm = Arm(public=60, world={"heterogeneity": 0.6}, local_epochs=5)
    monkeypatch.setitem(ARMS, "tried", arm)
    first = run_arm(arm, seeds=1, rounds=1).clients
    for control in controls_of("tried").values():
        assert run_arm(control, seeds=1, rounds=1).clients == pytest.approx(first, abs=1e-6)
    assert list(controls_of("self")) == ["frozen"]


def test_who_is_taught_what_it_knows_stays_put_and_blank_data_move_the_bias_alone() -> None:
    own = run_arm(ARMS["self"], seeds=1, rounds=3).clients
    assert own[:, :, 2] == pytest.approx(own[:, :, 0], abs=1e-5)
    blank = run_arm(ARMS["blank"], seeds=1, rounds=3).clients
    assert np.abs(blank[:, :, 2] - blank[:, :, 0]).max() > 1e-4


def test_verdicts_that_were_predicted_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Judged:
        verdict = "not identified"

    predicted = {"arm": "base", "against": "", "quantity": "verdict", "expected": "supported", "why": ""}
    monkeypatch.setattr(predictions, "read", lambda path: [predicted])
    for verdict, outcome in (
        ("supported", "supported"),
        ("not supported", "not supported"),
        ("not identified", "not identified"),
    ):
        Judged.verdict = verdict
        (row,) = check_predictions({}, {"base": Judged()})  # type: ignore[dict-item]
        assert (row["found"], row["outcome"]) == (verdict, outcome)


def test_the_calibration_counts_every_simulation() -> None:
    rows = calibrate(1)
    assert len(rows) == 16
    for row in rows:
        assert sum(int(row[kind]) for kind in ("supported", "not supported", "not identified")) == 1
