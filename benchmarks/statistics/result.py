"""What a comparison says (benchmarks room): frozen, plain values only, the same bytes for the same table.

Differences are `method - other` in percentage points, so that positive means better; against a control, `other` is the
control. Where something cannot be computed
(one seed, two methods, three data sets) its place holds None and a note says why.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from fl_bench.errors import ConfigError, unknown_name

from .table import Blocks

if TYPE_CHECKING:
    from .table import Table

FORMAT = 1
"""Version of the JSON form."""

Verdict = Literal["better", "worse", "equivalent", "undecided"]
"""What may be said of a method, compared with the control: one of four things."""

OnMissing = Literal["refuse", "complete-blocks", "skillings-mack"]
"""What happens to an incomplete table."""


@dataclass(frozen=True)
class Options:
    """What a comparison was asked; everything else in it follows from the table."""

    control: str | None = None
    """The method that all others are compared with; None: `cosmos` where there is one."""
    alpha: float = 0.05
    """Level of every test and interval."""
    rope: float = 1.0
    """Half width of the region of practical equivalence, and the margin of a tie, in points."""
    blocks: Blocks = "family"
    on_missing: OnMissing = "refuse"

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise ConfigError(f"alpha must lie between 0 and 0.5, got {self.alpha:g}")
        if not (self.rope >= 0 and math.isfinite(self.rope)):
            raise ConfigError(f"rope must be at least 0 points, got {self.rope:g}")
        if self.blocks not in get_args(Blocks):
            raise unknown_name("kind of block", self.blocks, get_args(Blocks))
        if self.on_missing not in get_args(OnMissing):
            raise unknown_name("way with missing numbers", self.on_missing, get_args(OnMissing))


@dataclass(frozen=True)
class Counts:
    """The size of what was compared, printed with every claim."""

    blocks: int
    families: int
    """Independent of each other, as far as they say."""
    datasets: int
    settings: int
    conditions: int
    """Data sets in a setting."""
    seeds_least: int
    """Per data set and setting."""
    seeds_most: int


@dataclass(frozen=True)
class Omnibus:
    """Whether the methods differ at all."""

    test: Literal["Friedman", "Skillings-Mack"]
    blocks: int
    methods: int
    chi2: float
    chi2_df: int
    chi2_p: float
    f: float | None
    """Iman-Davenport, on which no sentence rests: it claims too often. None where all blocks agree completely (it is
    infinite) and for Skillings-Mack."""
    f_df: tuple[int, int] | None
    f_p: float | None
    note: str


@dataclass(frozen=True)
class Pair:
    """Two methods over the blocks that both have, by the exact two-sided signed-rank test."""

    method: str
    other: str
    blocks: int
    zeros: int
    """Blocks without a difference; Pratt's way: ranked, then left out."""
    difference: float
    """Mean over blocks."""
    w_plus: float
    """Sum of the ranks of blocks that `method` wins."""
    w_minus: float
    p: float
    p_holm: float
    """Holm-adjusted over the family: all methods against the control, of which equivalence is asked, too; or all
    pairs."""
    significant: bool
    rank_biserial: float
    """(w_plus - w_minus) / (w_plus + w_minus), -1 to 1; 0 without any difference."""
    rank_p: float | None
    """From mean ranks, adjusted: Nemenyi among all pairs, Holm against the control. They depend on which other methods
    take part. None where blocks are incomplete, or with two methods."""


@dataclass(frozen=True)
class Effect:
    """How large a difference is."""

    method: str
    other: str
    difference: float
    """Mean over families of the mean over data sets, settings and seeds."""
    low: float | None
    """Of the hierarchical bootstrap interval; None with one data set."""
    high: float | None
    wins: int
    """Blocks that `method` wins by more than the margin."""
    ties: int
    losses: int
    probability_of_improvement: float
    """Share of runs, paired by seed, that `method` wins, ties half; mean over families."""


@dataclass(frozen=True)
class Joint:
    """A method against the control, as one of a family: estimates, and what holds for all of the family at once."""

    method: str
    other: str
    tests: int
    """Methods of the family, the control not counted: what Holm and the simultaneous interval are over."""
    shift: float
    """Hodges-Lehmann: the estimate that belongs to the signed-rank test, never of the opposite sign
    where that test is significant."""
    shift_low: float | None
    """Of the interval of shifts that the exact test does not reject, for this pair alone: it does not reach across zero
    where `p` of the pair is at most alpha. None with too few blocks."""
    shift_high: float | None
    mean: float
    """Mean difference over the blocks that both have."""
    low: float | None
    """Of the simultaneous interval of the shift (Bonferroni); all of the family hold at once. None with too few
    blocks."""
    high: float | None
    p_max: float
    """Two-sided, adjusted: the largest t over the family with signs of whole blocks turned, stepwise."""
    p_equivalent: float
    """Two one-sided signed-rank tests at the ROPE, Holm over the family and all its claims; 1 with a ROPE of 0."""
    equivalent: bool
    """Whether the shift is shown to be smaller than the ROPE, at alpha over the family."""
    p_not_worse: float
    """One-sided signed-rank test that the shift is above -ROPE, Holm over the family and all its claims; 1 with a ROPE
    of 0."""
    not_worse: bool
    attainable: bool
    """Whether Holm over signed ranks could reject this pair at all, each pair with the blocks that it has."""


@dataclass(frozen=True)
class Decision:
    """The verdict on a method, compared with the control, with all that its sentence says."""

    method: str
    other: str
    family: str
    """Of tests; Holm corrects within it."""
    verdict: Verdict
    test: Literal["signed rank", "paired t"]
    """Over blocks; or over the seeds of the only data set."""
    units: int
    """Blocks, or seeds."""
    estimate: float
    """Points, of what the test tests: the Hodges-Lehmann shift of blocks, the mean of seeds."""
    low: float | None
    """The estimates that the test of the verdict does not reject at its step of Holm: without 0 where it is better or
    worse, within the ROPE where it is equivalent. None where that step rejects nothing whatever the numbers."""
    high: float | None
    p: float | None
    """Holm-adjusted, of a difference, or of equivalence where the verdict is that; None from one seed, or no spread."""
    tests: int
    """Of the family, as they were made."""
    planned: int
    """Of the family, as they were meant: declared, or possible with what there is."""
    negligible: bool
    """Whether a difference that is shown is shown to be smaller than the ROPE, too."""


@dataclass(frozen=True)
class Belief:
    """Bayesian signed rank: how much of the posterior has each place as the likeliest for the shift."""

    method: str
    other: str
    worse: float
    """By more than the ROPE."""
    equivalent: float
    better: float


@dataclass(frozen=True)
class Prediction:
    """Predictive probabilities for the difference on a next data set, of the population that these are from."""

    method: str
    other: str
    model: Literal["blocks", "scale-free"]
    """`blocks`: block differences by Student's t; `scale-free`: a hierarchical model of data sets in units of their own
    noise."""
    worse: float
    """P(worse by more than the ROPE); scale-free: P(worse)."""
    equivalent: float
    """0 where scale-free: the ROPE is in points."""
    better: float
    low: float
    """Of the predictive interval at 1 - alpha: points; scale-free: standard deviations that a difference paired by
    seed has on that data set."""
    high: float


@dataclass(frozen=True)
class OnDataset:
    """Two methods on one data set and setting, paired by seed."""

    dataset: str
    setting: str
    method: str
    other: str
    seeds: int
    difference: float
    low: float | None
    """Student's t; simultaneous over all methods and conditions (Bonferroni). None with one seed, or no spread."""
    high: float | None
    bca_low: float | None
    """Bias-corrected accelerated bootstrap, for this difference alone; None below twenty seeds."""
    bca_high: float | None
    p: float | None
    p_holm: float | None
    """Adjusted over all methods and conditions."""
    significant: bool


@dataclass(frozen=True)
class MethodRank:
    """Where a method stands, and how firmly."""

    method: str
    mean: float
    """Mean over families of data sets, percent."""
    low: float | None
    """Of the hierarchical bootstrap interval of the mean."""
    high: float | None
    blocks: int
    mean_rank: float | None
    """1 is best, ties share; None where blocks are incomplete."""
    rank_low: float | None
    """Of the bootstrap interval of the mean rank."""
    rank_high: float | None
    best: float | None
    """Share of the bootstrap draws in which its mean rank is the best."""
    without_one: tuple[float, float] | None
    """Lowest and highest mean rank when any one family of data sets is left out."""


@dataclass(frozen=True)
class RankDifferences:
    """Mean ranks that differ by less than a critical difference are not told apart."""

    alpha: float
    critical_difference: float
    """Nemenyi, for all pairs."""
    control_difference: float
    """Bonferroni-Dunn, for all methods against one."""
    groups: tuple[tuple[str, ...], ...]
    """Maximal sets of methods, best first, within which no two differ by the critical difference."""


@dataclass(frozen=True)
class Flip:
    """Two methods whose order by mean rank is another one when a third is left out."""

    better: str
    worse: str
    without: tuple[str, ...]


@dataclass(frozen=True)
class LeftOut:
    """What changes when one family of data sets is left out."""

    dataset: str
    """Its data sets, `digits+optdigits`."""
    leader: str
    """The method with the best mean rank."""
    gained: tuple[str, ...]
    """Methods that differ significantly from the control only then."""
    lost: tuple[str, ...]
    """Methods that differ significantly only with this family, for another reason than that blocks become fewer."""


@dataclass(frozen=True)
class Family:
    """Whether a family of tests can reject anything at all with so many blocks: a floor, whatever the differences."""

    name: str
    tests: int
    smallest_p: float
    """The least p that the exact test can give with these blocks, before correction."""
    attainable: bool
    blocks_needed: int
    sentence: str
    """For a reader; nothing where a rejection is attainable."""


@dataclass(frozen=True)
class SeedVariance:
    """How much one source of randomness moves an accuracy, on one data set and setting, pooled over methods."""

    dataset: str
    setting: str
    factor: str
    levels: int
    degrees: int
    """Degrees of freedom."""
    std: float | None
    """Points, all other sources held; None where the factor never varies alone."""


@dataclass(frozen=True)
class Comparison:
    """Everything that is said of a table."""

    options: Options
    control: str | None
    methods: tuple[str, ...]
    counts: Counts
    blocks: tuple[str, ...]
    scores: tuple[tuple[float | None, ...], ...]
    """Percent, a row per block and a column per method; None where the block lacks it."""
    selection: str
    tuning: str
    declared: str
    """By which grid the comparison was declared, when and after how many runs; empty where none was."""
    departures: tuple[str, ...]
    """What is done otherwise than declared."""
    missing: tuple[str, ...]
    """What is not there, whether asked to go on or not."""
    dropped: tuple[str, ...]
    """What was left out because of it."""
    power: tuple[Family, ...]
    omnibus: Omnibus | None
    primary: tuple[Pair, ...]
    """Every method against the control, family by family."""
    secondary: tuple[Pair, ...]
    """All pairs of the control and the methods of the first family, without ablations and bounds that were declared."""
    rank_differences: RankDifferences | None
    decisions: tuple[Decision, ...]
    """The verdict on every method against the control, family by family: what sentences and marks say."""
    effects: tuple[Effect, ...]
    joint: tuple[Joint, ...]
    """The primary pairs, each among those of its family, in their order."""
    beliefs: tuple[Belief, ...]
    predictions: tuple[Prediction, ...]
    per_dataset: tuple[OnDataset, ...]
    ranks: tuple[MethodRank, ...]
    """Best mean rank first."""
    flips: tuple[Flip, ...]
    left_out: tuple[LeftOut, ...]
    with_chance: tuple[Pair, ...]
    """The primary tests with diverged runs at the accuracy of guessing; empty when none diverged."""
    seed_variance: tuple[SeedVariance, ...]
    notes: tuple[str, ...]
    summary: tuple[str, ...]
    """The whole in a few sentences."""
    verdicts: tuple[str, ...]
    """A sentence per method against the control."""
    table: Table
    """What all of this was computed from."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `format` is the version of this form."""
        return {"format": FORMAT, **asdict(self)}
