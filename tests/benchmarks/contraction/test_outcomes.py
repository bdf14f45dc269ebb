"""Predictions held against planted curves: true ones are supported, false ones not, and what cannot be told says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fl_bench.benchmarks.contraction.outcomes import Outcome, outcomes, overall
from fl_bench.benchmarks.contraction.predictions import Prediction, Predictions
from fl_bench.benchmarks.contraction.study import base_blocks

if TYPE_CHECKING:
    from collections.abc import Callable


SEEDS, CLIENTS, ROUNDS = 5, 10, 30
"""Those of the planted curves."""

# The excess of .85^t that is left in the last five rounds of 30; of .7^t it is nothing.
LEFT = sum(0.85**t for t in range(25, 30)) / 5


def predicted(test: str, expect: str | None = None, **more: Any) -> Prediction:
    settings = {"arm": "cosmos", **more}
    return Prediction("p", "words", test, expect=expect, **settings)  # type: ignore[arg-type]  # tests in words


@pytest.fixture
def hold(study: Callable[..., Any]) -> Callable[..., Outcome]:
    def run(prediction: Prediction, block: Any, *others: Any) -> Outcome:
        (found,) = outcomes(prediction, [study(block)], [block, *others])
        return found

    return run


@pytest.fixture
def two(arm: Callable[..., Any], block: Callable[..., Any], course) -> Any:
    # cosmos shrinks its excess to 0.7 of itself a round down to 0.3, local to 0.85 down to 0.5
    return block(arm("cosmos", course(0.3, 1.0, 0.7)), arm("local", course(0.5, 1.0, 0.85, salt=1)))


@pytest.mark.parametrize(("test", "truth"), [("rho", 0.7 - 0.85), ("floor", 0.3 - 0.5), ("end", 0.3 - 0.5 - LEFT)])
def test_differences_by_their_planted_truth(hold, two, test: str, truth: float) -> None:
    below = hold(predicted(test, "below", than="local"), two)
    assert below.verdict == "supported"
    assert below.estimate == pytest.approx(truth, abs=0.03)
    assert below.interval is not None
    assert below.interval[0] < truth < below.interval[1] < 0
    assert hold(predicted(test, "above", than="local"), two).verdict == "not supported"
    assert hold(predicted(test, "same", than="local"), two).verdict == "not supported"
    # the other way round: signs turn
    turned = hold(predicted(test, "above", arm="local", than="cosmos"), two)
    assert turned.verdict == "supported"
    assert turned.estimate == pytest.approx(-below.estimate)


def test_the_end_is_the_mean_of_the_last_five_rounds(hold, arm, block) -> None:
    # They differ by 1, 2, 3, 4, 5 in the last five rounds and by 100 before: 3 on average, in every seed.
    gap = np.full((SEEDS, CLIENTS, ROUNDS), 100.0)
    gap[:, :, -5:] = [1, 2, 3, 4, 5]
    found = hold(predicted("end", "above", than="local"), block(arm("cosmos", 7 + gap), arm("local", 7 + 0 * gap)))
    assert (found.verdict, found.estimate, found.interval) == ("supported", 3.0, (3.0, 3.0))


def test_the_same_within_a_tenth(hold, arm, block, course) -> None:
    twins = block(arm("cosmos", course(0.3, 1.0, 0.7)), arm("local", course(0.5, 1.0, 0.7, salt=1)))
    assert hold(predicted("rho", "same", than="local"), twins).verdict == "supported"
    noisy = block(
        arm("cosmos", course(0.3, 1.0, 0.7, noise=0.2)), arm("local", course(0.5, 1.0, 0.7, salt=1, noise=0.2))
    )
    found = hold(predicted("rho", "same", than="local"), noisy)
    assert found.verdict == "not identified"


def test_where_nothing_falls_there_is_no_rate(hold, arm, block, course) -> None:
    flat = block(arm("cosmos", course(0.3, 1.0, 0.7)), arm("local", course(0.5, 0.0, 0.7, salt=1)))
    for test in ("rho", "floor"):
        found = hold(predicted(test, "below", than="local"), flat)
        assert found.verdict == "not identified"
        assert found.reason == f"the risk of local does not fall, so it has no {test}"
    assert hold(predicted("end", "below", than="local"), flat).verdict == "supported"


def test_a_floor_has_no_interval_with_two_seeds(hold, arm, block, study, course) -> None:
    few = block(arm("cosmos", course(0.3, 1.0, 0.7)[:2]), arm("local", course(0.5, 1.0, 0.85, salt=1)[:2]))
    assert hold(predicted("floor", "below", than="local"), few).verdict == "not identified"


def test_a_curve_that_contracts_and_one_that_does_not(hold, two, arm, block, course) -> None:
    found = hold(predicted("contracts"), two)
    assert found.verdict == "supported"
    assert found.estimate == pytest.approx(0.7, abs=0.03)
    line = 1.0 - 0.02 * np.arange(ROUNDS) + course(0.0, 0.0, 0.5)
    assert hold(predicted("contracts"), block(arm("cosmos", line), two.arms["local"])).verdict == "not supported"


def test_halves_by_their_start(hold, arm, block, course) -> None:
    # Whoever starts worse loses a tenth of the excess in a round, whoever starts better four tenths.
    worse = course(0.3, 1.0, 0.9) + 0.0
    worse[:, :5] = course(0.3, 0.4, 0.6, salt=1)[:, :5]
    found = hold(predicted("start", "same"), block(arm("cosmos", worse)))
    assert found.verdict == "not supported"
    assert found.estimate == pytest.approx(0.3, abs=0.05)
    assert hold(predicted("start", "same"), block(arm("cosmos", course(0.3, 1.0, 0.7)))).verdict == "supported"


def test_predictions_settle_geometrically_or_not(hold, arm, block, course) -> None:
    moves = course(0.01, 0.5, 0.6)[:, 0]
    moves[:, 0] = np.nan  # nothing moved before the first round
    settles = block(arm("cosmos", course(0.3, 1.0, 0.7), prediction_change=moves))
    found = hold(predicted("movement"), settles)
    assert found.verdict == "supported"
    assert found.estimate == pytest.approx(0.6, abs=0.05)
    steady = 0.5 - 0.01 * np.arange(ROUNDS) + course(0.0, 0.0, 0.5)[:, 0]
    moving = block(arm("cosmos", course(0.3, 1.0, 0.7), prediction_change=steady))
    assert hold(predicted("movement"), moving).verdict == "not supported"
    unseen = block(arm("cosmos", course(0.3, 1.0, 0.7)))
    assert hold(predicted("movement"), unseen).verdict == "not run"


def test_another_setting_is_found_by_its_changes(hold, arm, block, course) -> None:
    base = block(arm("cosmos", course(0.3, 1.0, 0.7)), arm("local", course(0.5, 1.0, 0.85, salt=1)))
    half = block(arm("cosmos", course(0.4, 1.0, 0.7, salt=2)), changes={"partition.public_keep": 0.5})
    other = block(arm("cosmos", course(0.9, 1.0, 0.7, salt=3)), changes={"partition.public_keep": 0.25})
    prediction = predicted("floor", "above", setting={"partition.public_keep": 0.5})
    study = Predictions("cosmos", (), (), (prediction,))
    assert base_blocks([other, half, base], study) == [base]
    alone = block(base.arms["cosmos"])  # as many arms as the others, but `half` is a change of it
    assert base_blocks([half, alone], study) == [alone]
    assert base_blocks([block(base.arms["local"])], study) == []
    found = hold(prediction, base, other, half)
    assert found.verdict == "supported"
    assert found.estimate == pytest.approx(0.1, abs=0.02)
    missing = hold(prediction, base, other)
    assert (missing.verdict, missing.reason) == ("not run", "no records with partition.public_keep=0.5")


def test_arms_and_views_that_are_not_there(hold, two) -> None:
    assert hold(predicted("rho", "below", than="frozen"), two).reason == "no records of frozen"
    found = hold(predicted("contracts", view="after_distill"), two)
    assert (found.verdict, found.reason) == ("not run", "no records of cosmos with a view after_distill")
    assert hold(predicted("gap", "same"), two).reason == "cosmos has no server models"


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        (("supported", "supported"), "supported"),
        (("supported", "not run"), "supported"),
        (("supported", "not identified"), "not identified"),
        (("supported", "not supported", "not identified"), "not supported"),
        (("not run",), "not run"),
        ((), "not run"),
    ],
)
def test_over_data_sets(verdicts: tuple[str, ...], together: str) -> None:
    assert overall([Outcome("d", verdict, "") for verdict in verdicts]) == together  # type: ignore[arg-type]  # in words
