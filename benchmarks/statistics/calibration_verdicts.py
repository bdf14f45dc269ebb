"""How often a whole family of verdicts and intervals is right where the truth is known (benchmarks room).

    python -m fl_bench.benchmarks.statistics.calibration_verdicts [SIMULATIONS]

writes its table into docs/statistics.md. A family is the control against all others, and it is wrong where any sentence
of it is: better or worse where nothing differs, equivalent (or better by less than the ROPE) where the ROPE is reached.
The hardest case has both: some methods equal the control, the others are a ROPE away, and the spread is so small that
each is told from the other.

Shapes are those of `calibration_shapes.py`, and two in which the control alone goes up and down. Where differences are
not symmetric, mean and shift (Hodges-Lehmann) differ; what is said of the shift is tried at the true shift, the median
of means of two differences, and what is said of the mean at the true mean.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from .calibration_shapes import ALPHA, COVERAGE, LEVEL, NOISE, ROPE, SHAPES, Line, Shape, draw, page
from .multiple import holm, holm_of_methods
from .sign_flips import max_t, sign_flips
from .signed_rank import chances_of_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SIMULATIONS = 2000

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
PLACE = ("<!-- verdicts -->\n", "<!-- /verdicts -->\n")
"""Lines of the page between which the table belongs."""

SIZES = ((4, 10), (16, 14))
"""Methods beside the control, and data sets."""

NARROW = 1 / 8
"""Of the usual spread, so that a ROPE is nearly three standard deviations of a difference."""

FORMS = (
    *(shape for shape in SHAPES if (shape.datasets, shape.seeds) == (10, 5)),
    Shape("control alone", skewed=(0,), still=(1, 2, 3, 4)),
    Shape("control alone, log-normal", skewed=(0,), still=(1, 2, 3, 4), log_normal=True),
)


@dataclass(frozen=True)
class Tests:
    """What the signed rank says of differences; every field has the shape (simulations, methods)."""

    p: Array
    """Two-sided."""
    p_equivalent: Array
    worse: NDArray[np.bool_]
    """Whether the differences lie below 0 on the whole."""


def calibrate_verdicts(simulations: int = SIMULATIONS) -> list[Line]:
    """All lines under every shape."""
    lines: dict[str, Line] = {}
    for shape in FORMS:
        for methods, datasets in SIZES:
            drawn = differences(sized(shape, methods, datasets), simulations)
            shift = true_shift(shape)
            for name, what, rate in (*_verdicts(drawn - shift), *_intervals(drawn, shift)):
                named = f"{methods} methods on {datasets} data sets: {name}"
                lines.setdefault(named, Line(named, what)).rates[shape.name] = rate
    return list(lines.values())


def sized(shape: Shape, methods: int, datasets: int) -> Shape:
    """A shape with a control and so many other methods."""
    everyone = tuple(range(methods + 1))
    return replace(
        shape,
        methods=methods + 1,
        datasets=datasets,
        skewed=everyone if len(shape.skewed) > 1 else shape.skewed,
        still=everyone[1:] if shape.still else (),
    )


def differences(shape: Shape, simulations: int) -> Array:
    """The control minus every other method, shape (simulations, data sets, methods); all true means are 0."""
    generator = numpy_stream(0, "verdicts", shape.name, str(shape.methods), str(shape.datasets))
    scores = draw(shape, simulations, generator).scores.mean(axis=2)
    apart: Array = scores[..., :1] - scores[..., 1:]
    return apart + generator.normal(0, NOISE / 1000, apart.shape)  # no two are alike: `tests` counts on it


@lru_cache
def true_shift(shape: Shape) -> float:
    """The median of means of two differences whose mean is 0; it is another one where only the control is skewed."""
    if shape.skewed != (0,):
        return 0.0
    return float(np.median(differences(sized(shape, 1, 2), 200_000).mean(axis=1)))


def tests(apart: Array) -> Tests:
    """The exact signed rank for all simulations at once; no two differences are alike.

    Args:
        apart: differences, shape (simulations, data sets, methods), points.
    """

    def at_least(values: Array) -> tuple[Array, Array]:
        """P(W+ at least as large) and P(W- at least as large)."""
        blocks = values.shape[1]
        places = np.argsort(np.argsort(np.abs(values), axis=1), axis=1) + 1
        plus = (places * (values > 0)).sum(axis=1)
        tails = np.cumsum(chances_of_sums(np.arange(1, blocks + 1))[::-1])[::-1]
        return tails[plus], tails[blocks * (blocks + 1) // 2 - plus]

    greater, less = at_least(apart)
    close = np.maximum(at_least(apart + ROPE)[0], at_least(apart - ROPE)[1])
    return Tests(np.minimum(1, 2 * np.minimum(greater, less)), close, less < greater)


def _verdicts(apart: Array) -> list[tuple[str, str, float]]:
    """How often any verdict of a family is false.

    Args:
        apart: differences whose true shift is 0.
    """
    methods = apart.shape[2]
    half = np.where(np.arange(methods) < methods // 2, 0.0, ROPE)
    wide, mixed, far = (
        (tests(apart), np.zeros(methods)),
        (tests(NARROW * apart + half), half),
        (tests(NARROW * apart + ROPE), np.full(methods, ROPE)),
    )
    return [
        ("any false verdict, none differs", LEVEL, _any_false(*wide)),
        ("any false verdict, half of them a ROPE away", LEVEL, _any_false(*mixed)),
        ("the same, with Holm for each kind of claim by itself", LEVEL, _any_false(*mixed, together=False)),
        ("any false verdict, all a ROPE away", LEVEL, _any_false(*far)),
    ]


def _any_false(found: Tests, truth: Array, *, together: bool = True) -> float:
    """Share of simulations with a false verdict.

    Args:
        found: what the tests say.
        truth: 0 or the ROPE, by method.
        together: whether Holm goes through both kinds of claim together, as it does in `decisions.py`.
    """
    wrong = 0
    for p, close, worse in zip(found.p, found.p_equivalent, found.worse, strict=True):
        if together:
            adjusted, _ = holm_of_methods(np.stack([p, close], axis=1), ALPHA)
        else:
            adjusted = np.stack([holm(p), holm(close)], axis=1)
        differs, equivalent = (adjusted <= ALPHA).T
        wrong += bool(np.where(truth == 0, differs, equivalent | differs & worse).any())
    return wrong / len(found.p)


def _intervals(apart: Array, shift: float) -> list[tuple[str, str, float]]:
    """How often all intervals hold the true shift; and the largest t, which asks about the mean.

    Args:
        apart: differences whose true mean is 0.
        shift: their true shift.
    """
    methods, blocks = apart.shape[2], apart.shape[1]
    p = tests(apart - shift).p  # a shift lies in the interval where the test does not reject it
    rows = [
        ("interval of one shift", COVERAGE, float((p[:, 0] > ALPHA).mean())),
        ("simultaneous intervals of shifts (all)", COVERAGE, float((p.min(axis=1) > ALPHA / methods).mean())),
    ]
    if blocks > SIZES[0][1]:
        return rows
    flips = sign_flips(blocks, numpy_stream(0, "flips"))
    largest = np.mean([max_t(one, flips).min() <= ALPHA for one in apart])
    return [*rows, ("largest t over turned signs, none differs in the mean", LEVEL, float(largest))]


def write(simulations: int = SIMULATIONS) -> None:
    """Put the table into the page."""
    table = page(calibrate_verdicts(simulations), simulations, FORMS)
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(PLACE[0])
    _, end, after = rest.partition(PLACE[1])
    PAGE.write_text(f"{before}{begin}\n{table}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(*map(int, sys.argv[1:]))
