"""Statistics in plain sentences (benchmarks room): what may be said, with the test, the correction and N.

A verdict is one of four sentences, and all of them are put together in `sentence`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ..leaderboard.budgets import unequal
from .population import averaged_settings, population, unit
from .power import BLOCK_WORDS, number, one_dataset
from .result import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .result import Comparison, Decision, Joint

NAMED = 5
"""Reversals that are named one by one."""

WORDS = {
    "better": "better than",
    "worse": "worse than",
    "equivalent": "equivalent to",
    "undecided": "undecided against",
}
"""Verdicts before a name."""


def size(result: Comparison) -> str:
    """How much was compared: `3 blocks (data sets), 1 setting, 1 to 3 seeds`."""
    counts, several = result.counts, BLOCK_WORDS[unit(result.table, result.options.blocks)][1]
    if several == "families":
        several = f"families of {many(counts.datasets, 'data set')}"
    elif several == "blocks":
        several = f"data set x setting, {many(counts.datasets, 'data set')}"
    return f"{many(counts.blocks, 'block')} ({several}), {many(counts.settings, 'setting')}, {repeats(result)}"


def reversals(result: Comparison) -> list[str]:
    """Where a method that is better or worse on average is significantly the opposite, data set by data set."""
    decided = {decision.method: decision.verdict for decision in result.decisions}
    names = {(at.dataset, at.setting): at.setting_name for at in result.table.conditions}
    found = []
    for row in result.per_dataset:
        verdict = decided.get(row.method)
        if row.significant and (verdict, row.difference > 0) in (("better", False), ("worse", True)):
            name = names.get((row.dataset, row.setting), "")
            found.append(f"{row.method} on {row.dataset}{f' [{name}]' if name else ''} {row.difference:+.2f} points")
    return found


def repeats(result: Comparison) -> str:
    """How many numbers a mean is of: `3 seeds`, `1 to 3 seeds`, `17 repetitions` where they vary parts of a seed."""
    counts, word = result.counts, "repetition" if result.table.factors else "seed"
    if counts.seeds_least == counts.seeds_most:
        return many(counts.seeds_least, word)
    return f"{counts.seeds_least} to {many(counts.seeds_most, word)}"


def summary(result: Comparison) -> tuple[str, ...]:
    """The whole in a few sentences."""
    sentences = [_omnibus(result)] if result.omnibus else []
    if result.control is not None:
        sentences += _by_family(result)
    else:
        sentences.append("No control: name the method that all others are compared with (--control).")
        different = sum(pair.significant for pair in result.secondary)
        sentences.append(
            f"{different} of {many(len(result.secondary), 'pair')} differ significantly (signed rank, Holm)."
        )
    if (turned_around := reversals(result)) and averaged_settings(result.table, result.options.blocks) > 1:
        named = turned_around[:NAMED]
        more = f" and {len(turned_around) - NAMED} more" if len(turned_around) > NAMED else ""
        sentences.append(
            "Averages hide reversals. The opposite is significant in single settings (t paired by seed, Holm): "
            f"{'; '.join(named)}{more}."
        )
    if result.counts.datasets == 1:
        said = one_dataset(result.power[0].tests, result.options.alpha)
        sentences.append(f"{said[0].upper()}{said[1:]}.")
    else:
        sentences += [f"Power guard, {family.sentence}." for family in result.power if family.sentence]
    if result.with_chance:
        moved = [
            pair.method
            for pair, chance in zip(result.primary, result.with_chance, strict=True)
            if pair.significant != chance.significant
        ]
        sentences.append(
            "With diverged runs at the accuracy of guessing "
            + (f"the verdict on {', '.join(moved)} changes." if moved else "no verdict changes.")
        )
    turned = [left.dataset for left in result.left_out if left.gained or left.lost]
    if turned:
        one = BLOCK_WORDS[unit(result.table, "family")][0]
        sentences.append(f"A verdict depends on one {one}: it changes without {', or without '.join(turned)}.")
    if result.flips:
        pairs = many(len(result.flips), "pair")
        sentences.append(f"The order by mean rank of {pairs} reverses when a third method is left out.")
    return tuple(sentences)


def verdicts(result: Comparison) -> tuple[str, ...]:
    """A sentence per method against the control, family by family."""
    together = {one.method: one for one in result.joint}
    return tuple(
        sentence(
            decision,
            where=where(result, decision),
            interval=_interval(result, decision, together.get(decision.method)),
            margin=result.options.rope,
            basis=basis(result, decision),
            remarks=_remarks(result, decision, together.get(decision.method)),
        )
        for decision in result.decisions
    )


def sentence(
    decision: Decision, *, where: str, interval: str, margin: float, basis: str, remarks: Sequence[str] = ()
) -> str:
    """What may be said of a method, compared with the control: one of four sentences.

    Args:
        decision: the verdict and its numbers.
        where: over what it holds, with its preposition: `on 9 data sets`.
        interval: of the estimate; empty where there is none.
        margin: of equivalence, points.
        basis: the test and its correction.
        remarks: what a reader must know beside it, each without a full stop.
    """
    method, other = decision.method, decision.other
    said = {
        "better": f"{method} is better than {other} {where}",
        "worse": f"{method} is worse than {other} {where}",
        "equivalent": f"{method} is equivalent to {other} within {points(margin)} {where}",
        "undecided": f"{method} against {other} {where} is undecided",
    }[decision.verdict]
    interval = f" ({interval})" if interval else ""
    p = "no p value" if decision.p is None else probability(decision.p)
    return "; ".join([f"{said}: {decision.estimate:+.2f}{interval} points, {p}, {basis}", *remarks]) + "."


def where(result: Comparison, decision: Decision) -> str:
    """Over what a verdict holds."""
    if decision.test == "paired t":
        word = "repetition" if result.table.factors else "seed"
        _, comma, setting = population(result.table).partition(", ")
        setting += "," if averaged_settings(result.table) > 1 else ""
        return f"on {result.table.datasets[0]}{comma}{setting} over {many(decision.units, word)}"
    return f"on {_blocks(result, decision.units)}"


def basis(result: Comparison, decision: Decision, *, family: bool = False) -> str:
    """The test of a verdict and what it was corrected for: `signed rank, Holm over 5 of 17 declared tests`.

    Args:
        result: the comparison.
        decision: the verdict.
        family: whether it is said of all verdicts of the family, be they of difference or of equivalence.
    """
    test = "signed rank" if decision.test == "signed rank" else "t paired by seed"
    test = f"equivalence by {test}" if decision.verdict == "equivalent" and not family else test
    if decision.tests < decision.planned:
        meant = "declared" if result.declared else "possible"
        holm = "Holm over " if decision.tests > 1 else ""
        return f"{test}, {holm}{decision.tests} of {decision.planned} {meant} tests"
    return f"{test}, Holm over {decision.tests} tests" if decision.tests > 1 else test


def qualified(result: Comparison, decision: Decision) -> str:
    """The method's name, with what has to be said of how it and the control were tuned."""
    tuning = unequal(dict(result.table.trials), decision.method, decision.other)
    return f"{decision.method} ({tuning})" if tuning else decision.method


def many(count: int, word: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def probability(p: float) -> str:
    """`p = .25`, `p < .001`."""
    text = number(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _omnibus(result: Comparison) -> str:
    found = result.omnibus
    assert found is not None
    chi2 = f"{found.test} chi2({found.chi2_df}) = {found.chi2:.2f}, {probability(found.chi2_p)}"
    p = found.chi2_p  # F claims too often with few blocks or unequal spread (docs/statistics.md), so it is not said
    if found.f is None and found.f_p is not None:
        p = found.f_p
        chi2 = f"all blocks agree completely, {probability(p)}; {chi2}"
    differ = "differ" if p <= result.options.alpha else "are not shown to differ"
    return f"The {many(found.methods, 'method')} {differ} over {_blocks(result, found.blocks)} ({chi2})."


def _by_family(result: Comparison) -> list[str]:
    """Who beats the control, whom it beats, who is its equal, and the rest; a sentence per family."""
    families = dict.fromkeys(decision.family for decision in result.decisions)
    sentences = []
    for family in families:
        own = [decision for decision in result.decisions if decision.family == family]
        parts = []
        for verdict in get_args(Verdict):
            names = [qualified(result, decision) for decision in own if decision.verdict == verdict]
            if names:
                parts.append(f"{WORDS[verdict]} {result.control}: {', '.join(names)}")
        units = max(own, key=lambda decision: decision.units)
        name = f"{family[0].upper()}{family[1:]}, " if len(families) > 1 else ""
        over = f"{where(result, units)}, {basis(result, units, family=True)}"
        said = "; ".join(parts)
        sentences.append(f"{name}{said} ({over})." if name else f"{said[0].upper()}{said[1:]} ({over}).")
    return sentences


def _remarks(result: Comparison, decision: Decision, together: Joint | None) -> list[str]:
    """What a reader of a verdict must know beside it."""
    tuning = unequal(dict(result.table.trials), decision.method, decision.other)
    remarks = [tuning] if tuning else []
    if decision.negligible:
        remarks.append(f"by less than the ROPE of {points(result.options.rope)}")
    if decision.test == "paired t":
        if decision.p is None:
            alike = "the difference is the same with every seed, so there is no spread to judge it by"
            why = "repetitions share parts of their seeds" if result.table.factors else alike
            remarks.append("one seed shows nothing" if decision.units < 2 else why)
    elif decision.verdict == "undecided" and decision.low is None and together is not None and _without_zero(together):
        cannot = "does not" if together.attainable else "cannot"
        remarks.append(f"that interval is without 0, but corrected the test {cannot} reject")
    return remarks


def _without_zero(together: Joint) -> bool:
    low, high = together.shift_low, together.shift_high
    return low is not None and high is not None and low * high > 0


def _interval(result: Comparison, decision: Decision, together: Joint | None) -> str:
    """The interval of the verdict; where the step of Holm has none, that uncorrected.

    Where signs turn by family it is that of the signed rank over averages of families.
    """
    if decision.low is not None:
        return f"{decision.low:+.2f} to {decision.high:+.2f}"
    if decision.test == "signed rank" and together is not None and together.shift_low is not None:
        how = "families averaged, uncorrected" if result.options.blocks == "cluster" else "uncorrected"
        return f"{how} {together.shift_low:+.2f} to {together.shift_high:+.2f}"
    return ""


def points(value: float) -> str:
    """`1 point`, `0.5 points`."""
    return f"{value:g} point{'' if value == 1 else 's'}"


def _blocks(result: Comparison, count: int) -> str:
    return population(result.table, result.options.blocks, count)
