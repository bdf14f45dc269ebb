"""The tests and intervals where accuracies are not normal, alike and many (benchmarks room).

    python -m fl_bench.benchmarks.statistics.calibration_shapes [SIMULATIONS]

writes its table into docs/statistics.md. As `calibration.py`, with other designs beside its own:

    as above             the design of calibration.py: 10 data sets, 5 seeds, 5 methods
    skewed               every method's ups and downs over data sets are exponential: often a little down, rarely far up
    unequal              methods vary over data sets by 0.5 to 1.5 times as much, data sets by exp(Normal(0, 0.5)) times
    2 seeds, 6 data sets too few of them for a part of the tests
    skewed control       only the control's are exponential, so differences are not symmetric, as all tests assume

`calibration_verdicts.py` tries whole families of verdicts under the same shapes.

In all of them a method's mean over data sets is that of all others, so that what is claimed is false.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fl_bench.streams import numpy_stream

from . import bayes, effects, ranks
from .calibration import Row, markdown
from .mixed import mixed
from .multiple import holm
from .power import smallest_p
from .prediction import predict_block
from .shift import p_equivalent, p_not_worse, shift_interval
from .sign_flips import max_t, sign_flips
from .signed_rank import signed_rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ALPHA, ROPE = 0.05, 1.0

INTERACTION, NOISE = 2.0, 1.0
"""Standard deviations in points: of a method's ups and downs over data sets, and of seeds."""

HIGHEST_LEVEL, LOWEST_COVERAGE = 0.06, 0.93
"""What is asked for where 0.05 and 0.95 are said."""

LEVEL, COVERAGE = "false claims", "coverage"

SIMULATIONS = 2000

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"
PLACE = ("<!-- shapes -->\n", "<!-- /shapes -->\n")
"""Lines of the page between which the tables belong."""


@dataclass(frozen=True)
class Shape:
    """A way in which accuracies may vary."""

    name: str
    datasets: int = 10
    seeds: int = 5
    methods: int = 5
    skewed: tuple[int, ...] = ()
    """Methods whose interactions are exponential."""
    log_normal: bool = False
    """Whether they are log-normal instead."""
    still: tuple[int, ...] = ()
    """Methods without ups and downs."""
    unequal: bool = False


SHAPES = (
    Shape("as above"),
    Shape("skewed", skewed=(0, 1, 2, 3, 4)),
    Shape("unequal", unequal=True),
    Shape("2 seeds", seeds=2),
    Shape("6 data sets", datasets=6),
    Shape("skewed control", skewed=(0,)),
)


@dataclass(frozen=True)
class Draws:
    """Simulated tables without a difference on the whole, and one data set more of each."""

    scores: Array
    """Shape (simulations, data sets, seeds, methods), rounded to a tenth so that ties happen."""
    next_truth: Array
    """Accuracies without the noise of seeds on the next data set, shape (simulations, methods)."""
    next_block: Array
    """Means over seeds there, the same shape."""
    next_scale: Array
    """How much more than others that data set moves, shape (simulations,)."""


@dataclass
class Line:
    """How often one test or interval was wrong, or right, under every shape."""

    name: str
    what: str
    """`LEVEL` or `COVERAGE`."""
    rates: dict[str, float] = field(default_factory=dict)
    """By name of the shape; none where it is not computed from so few."""

    def keeps(self, shape: Shape) -> bool:
        """Whether it is as good as it says."""
        rate = self.rates.get(shape.name)
        if rate is None:
            return True
        return rate <= HIGHEST_LEVEL if self.what == LEVEL else rate >= LOWEST_COVERAGE


def draw(shape: Shape, simulations: int, generator: np.random.Generator) -> Draws:
    """Tables of a shape; all methods have the same mean over data sets."""
    size = simulations, shape.datasets + 1, 1, shape.methods
    interaction = generator.standard_normal(size)
    for method in shape.skewed:
        interaction[..., method] = _skewed(generator, size[:-1], log_normal=shape.log_normal)
    interaction[..., list(shape.still)] = 0
    scale = np.ones(size[:2])
    if shape.unequal:
        interaction *= np.linspace(0.5, 1.5, shape.methods)
        scale = np.exp(generator.normal(0, 0.5, size[:2]))
    noise = generator.standard_normal((*size[:2], shape.seeds, shape.methods))
    truth = INTERACTION * interaction * scale[..., None, None]
    runs = truth + NOISE * noise * scale[..., None, None]
    return Draws(
        scores=np.round(70 + runs[:, :-1], 1),
        next_truth=truth[:, -1, 0],
        next_block=runs[:, -1].mean(axis=1),
        next_scale=scale[:, -1],
    )


def _skewed(generator: np.random.Generator, size: tuple[int, ...], *, log_normal: bool) -> Array:
    """Numbers with mean 0 and standard deviation 1, often a little below 0 and rarely far above."""
    if not log_normal:
        return generator.standard_exponential(size) - 1
    drawn: Array = (generator.lognormal(size=size) - np.e**0.5) / (np.e * (np.e - 1)) ** 0.5
    return drawn


def calibrate_shapes(simulations: int = SIMULATIONS, shapes: Sequence[Shape] = SHAPES) -> list[Line]:
    """All lines under every shape."""
    lines: dict[str, Line] = {}
    for shape in shapes:
        draws = draw(shape, simulations, numpy_stream(0, "shape", shape.name))
        for kind, measure in ((LEVEL, _levels), (COVERAGE, _coverage), (COVERAGE, _predictions)):
            for name, held in measure(shape, draws, numpy_stream(0, "within", shape.name)).items():
                line = lines.setdefault(name, Line(name, kind))
                line.rates[shape.name] = float(np.mean(held))
    return list(lines.values())


DESIGNS = (
    ("clients dealt anew, 5 seeds, which differ", False, 5, (1.0, 0.0)),
    ("clients dealt anew, 5 seeds, which do not", False, 5, (0.0, 0.0)),
    ("the same clients, 3 seeds, both differ", True, 3, (1.0, 1.0)),
    ("the same clients, 5 seeds, both differ", True, 5, (1.0, 1.0)),
    ("the same clients, 5 seeds, only clients differ", True, 5, (0.0, 1.0)),
    ("the same clients, 5 seeds, only seeds differ", True, 5, (1.0, 0.0)),
)
"""Of the mixed model: a name, whether clients stay, seeds, and standard deviations of seeds and clients beside 1."""

CLIENTS = 8


def calibrate_mixed(simulations: int = SIMULATIONS) -> list[Row]:
    """Coverage of the mixed model's interval, on one data set with `CLIENTS` clients."""
    rows = []
    for name, stay, seeds, (of_seeds, of_clients) in DESIGNS:
        generator = numpy_stream(0, "mixed", name)
        held = 0
        for _ in range(simulations):
            runs = of_seeds * generator.standard_normal((seeds, 1)) + of_clients * generator.standard_normal(CLIENTS)
            found = mixed(runs + generator.standard_normal((seeds, CLIENTS)), ALPHA, same_clients=stay)
            held += found is not None and found.low <= 0 <= found.high
        rows.append(Row(f"mixed model, {name}", "coverage", 1 - ALPHA, held / simulations, simulations))
    return rows


def page(lines: Sequence[Line], simulations: int, shapes: Sequence[Shape] = SHAPES) -> str:
    """The table of docs/statistics.md; what misses its level or coverage has a (!)."""
    columns = ["test or interval", "what", "nominal", *(shape.name for shape in shapes)]
    rows = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for line in lines:
        cells = [line.name, line.what, "0.050" if line.what == LEVEL else "0.950"]
        for shape in shapes:
            rate = line.rates.get(shape.name)
            cells.append("none" if rate is None else f"{rate:.3f}{'' if line.keeps(shape) else ' (!)'}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, "", f"{simulations} simulations of each shape."])


def _levels(shape: Shape, draws: Draws, generator: np.random.Generator) -> dict[str, Array]:
    """Whether anything false is claimed of a family, by test."""
    flips = sign_flips(shape.datasets, generator)
    critical = ranks.critical_difference(shape.methods, shape.datasets, ALPHA)
    pairs = [(one, other) for one in range(shape.methods) for other in range(one + 1, shape.methods)]

    def claims(scores: Array) -> dict[str, bool]:
        p = {pair: signed_rank(scores[:, pair[0]] - scores[:, pair[1]]).p for pair in pairs}
        against = scores[:, :1] - scores[:, 1:]
        omnibus, means = ranks.friedman(scores), ranks.mean_ranks(scores)
        holes = scores.copy()
        holes[generator.permutation(shape.datasets)[: shape.methods], np.arange(shape.methods)] = np.nan
        control = [ranks.control_p(float(mean - means[0]), shape.methods, shape.datasets) for mean in means[1:]]
        return {
            "signed rank, against a control, Holm": holm([p[0, other] for other in range(1, shape.methods)]).min()
            <= ALPHA,
            "signed rank, all pairs, Holm": holm(list(p.values())).min() <= ALPHA,
            "largest t over turned signs, against a control": max_t(against, flips).min() <= ALPHA,
            "equivalent, though all are one ROPE away, Holm": holm(
                [p_equivalent(row + ROPE, ROPE) for row in against.T]
            ).min()
            <= ALPHA,
            "not worse, though all are one ROPE worse, Holm": holm(
                [p_not_worse(row - ROPE, ROPE) for row in against.T]
            ).min()
            <= ALPHA,
            "Friedman chi-square": omnibus.chi2_p <= ALPHA,
            "Iman-Davenport F": omnibus.f_p <= ALPHA,
            "Nemenyi, all pairs": bool(np.ptp(means) >= critical),
            "mean ranks against a control, Holm": holm(control).min() <= ALPHA,
            "Skillings-Mack, one gap per method": ranks.skillings_mack(holes)[2] <= ALPHA,
        }

    return _over(draws.scores.mean(axis=2), claims)


def _coverage(shape: Shape, draws: Draws, generator: np.random.Generator) -> dict[str, Array]:
    """Whether intervals hold the truth, which is 0."""

    def covered(scores: Array) -> dict[str, bool]:
        shift = shift_interval(scores[:, 0] - scores[:, 1], ALPHA)
        return {} if shift is None else {"shift of the signed rank, one pair": shift[0] <= 0 <= shift[1]}

    found = _over(draws.scores.mean(axis=2), covered)
    if smallest_p(shape.datasets) <= ALPHA:
        found["hierarchical bootstrap of a mean difference"] = _bootstrap(draws, generator)
    return found


def _bootstrap(draws: Draws, generator: np.random.Generator, resamples: int = 1000) -> Array:
    """Of the first pair: data sets, then seeds, as `effects.bootstrap_means` draws them."""
    held = []
    for runs in draws.scores[..., 0] - draws.scores[..., 1]:
        datasets, seeds = runs.shape
        chosen = generator.integers(datasets, size=(resamples, datasets, 1))
        within = generator.integers(seeds, size=(resamples, datasets, seeds))
        interval = effects.wide_percentiles(runs[chosen, within].mean(axis=(1, 2)), datasets, ALPHA)
        held.append(interval is not None and bool(interval[0] <= 0 <= interval[1]))
    return np.array(held, dtype=float)


def _predictions(shape: Shape, draws: Draws, generator: np.random.Generator) -> dict[str, Array]:
    """Whether predictive intervals hold the difference of the first pair on the next data set."""

    def predicted(scores: Array) -> tuple[float, float]:
        found = predict_block(scores[:, 0] - scores[:, 1], ROPE, ALPHA)
        return (np.nan, np.nan) if found is None else found[3:]

    ends = np.array([predicted(scores) for scores in draws.scores.mean(axis=2)])
    result = {"next data set, from blocks": _within(draws.next_block[:, 0] - draws.next_block[:, 1], ends)}
    if shape.seeds < 5:
        return result
    truth = draws.next_truth[:, 0] - draws.next_truth[:, 1]
    runs = draws.scores[..., 0] - draws.scores[..., 1]
    rest = draws.scores - draws.scores.mean(axis=2, keepdims=True)
    rest = rest - rest.mean(axis=3, keepdims=True)
    degrees = (shape.methods - 1) * (shape.seeds - 1)
    units = np.maximum(np.sqrt(2 * (rest**2).sum(axis=(2, 3)) / degrees), bayes.RESOLUTION)
    scaled = truth / (2**0.5 * NOISE * draws.next_scale)
    result["next data set, scale-free"] = _within(scaled, _hierarchical(runs / units[..., None], generator))
    return result


def _hierarchical(runs: Array, generator: np.random.Generator) -> Array:
    """Ends of the predictive intervals, a chain for each simulation, shape (simulations, 2)."""
    simulations, _, seeds = runs.shape
    mean = runs.mean(axis=2)
    deviations = np.maximum(((runs - mean[..., None]) ** 2).sum(axis=2), seeds * bayes.RESOLUTION**2)
    centre, tau, nu = bayes.gibbs(
        mean=mean,
        deviations=deviations,
        count=np.full(runs.shape[1], float(seeds)),
        centre=mean.mean(axis=1),
        tau2=np.maximum(mean.var(axis=1), bayes.RESOLUTION**2),
        generator=generator,
        correlation=0.0,
    )
    drawn = centre + tau * generator.standard_t(nu)
    ends: Array = np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2], axis=0).T
    assert ends.shape == (simulations, 2)
    return ends


def _within(values: Array, ends: Array) -> Array:
    return ((ends[:, 0] <= values) & (values <= ends[:, 1])).astype(float)


def _over(scores: Array, judge: Callable[[Array], dict[str, bool]]) -> dict[str, Array]:
    """What `judge` says of each simulation, by name."""
    found = [judge(one) for one in scores]
    return {name: np.array([row[name] for row in found], dtype=float) for name in found[0]}


def write(simulations: int = SIMULATIONS) -> None:
    """Put both tables into the page."""
    tables = f"{page(calibrate_shapes(simulations), simulations)}\n\n{markdown(calibrate_mixed(simulations))}"
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(PLACE[0])
    _, end, after = rest.partition(PLACE[1])
    PAGE.write_text(f"{before}{begin}\n{tables}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(*map(int, sys.argv[1:]))
