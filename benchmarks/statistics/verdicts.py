"""Statistics in plain sentences (benchmarks room): what may be said, with the test, the correction and N."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .population import population, unit
from .power import BLOCK_WORDS, number

if TYPE_CHECKING:
    from .result import Comparison, Effect, Pair


def size(result: Comparison) -> str:
    """How much was compared: `3 blocks (data sets), 1 setting, 1 to 3 seeds`."""
    counts, several = result.counts, BLOCK_WORDS[unit(result.table, result.options.blocks)][1]
    if several == "families":
        several = f"families of {many(counts.datasets, 'data set')}"
    elif several == "blocks":
        several = f"data set x setting, {many(counts.datasets, 'data set')}"
    return f"{many(counts.blocks, 'block')} ({several}), {many(counts.settings, 'setting')}, {repeats(result)}"


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
        sentences += _groups(result)
    else:
        sentences.append("No control: name the method that all others are compared with (--control).")
        different = sum(pair.significant for pair in result.secondary)
        sentences.append(
            f"{different} of {many(len(result.secondary), 'pair')} differ significantly (signed rank, Holm)."
        )
    sentences += [f"Power, {family.sentence}." for family in result.power if family.sentence]
    if result.with_chance:
        moved = [
            pair.other
            for pair, chance in zip(result.primary, result.with_chance, strict=True)
            if pair.significant != chance.significant
        ]
        sentences.append(
            "With diverged runs at the accuracy of guessing "
            + (f"the verdict on {', '.join(moved)} changes." if moved else "no verdict changes.")
        )
    turned = [left.dataset for left in result.left_out if left.gained or left.lost]
    if turned:
        sentences.append(f"A verdict depends on one data set: it changes without {', or without '.join(turned)}.")
    if result.flips:
        pairs = many(len(result.flips), "pair")
        sentences.append(f"The order by mean rank of {pairs} turns around when some third method is left out.")
    return tuple(sentences)


def verdicts(result: Comparison) -> tuple[str, ...]:
    """A sentence per method against the control."""
    return tuple(_verdict(result, pair, effect) for pair, effect in zip(result.primary, result.effects, strict=True))


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
    p = found.chi2_p if found.f_p is None else found.f_p
    if found.f is not None and found.f_df is not None:
        chi2 = f"Iman-Davenport F({found.f_df[0]}, {found.f_df[1]}) = {found.f:.2f}, {probability(p)}; {chi2}"
    elif found.f_p is not None:
        chi2 = f"all blocks agree completely, {probability(p)}; {chi2}"
    differ = "differ" if p <= result.options.alpha else "are not shown to differ"
    return f"The {many(found.methods, 'method')} {differ} over {_blocks(result, found.blocks)} ({chi2})."


def _groups(result: Comparison) -> list[str]:
    """Whom the control beats, who beats it, and the rest."""
    better = [pair.other for pair in result.primary if pair.significant and pair.w_plus > pair.w_minus]
    worse = [pair.other for pair in result.primary if pair.significant and pair.w_plus < pair.w_minus]
    rest = [pair.other for pair in result.primary if not pair.significant]
    basis = f"over {_blocks(result, result.counts.blocks)}, signed rank, Holm"
    sentences = []
    if better:
        sentences.append(f"{result.control} is significantly better than {', '.join(better)} ({basis}).")
    if worse:
        sentences.append(f"{result.control} is significantly worse than {', '.join(worse)} ({basis}).")
    if not better and not worse:
        whom = "any other method" if len(rest) > 1 else rest[0]
        sentences.append(f"{result.control} is not significantly better or worse than {whom} ({basis}).")
    elif rest:
        sentences.append(f"No significant difference from {', '.join(rest)} ({basis}).")
    return sentences


def _verdict(result: Comparison, pair: Pair, effect: Effect) -> str:
    """What may be said of the control and one other method."""
    ahead = effect.difference >= 0
    if pair.significant:
        how = "significantly better" if pair.w_plus > pair.w_minus else "significantly worse"
    else:
        how = "not significantly better" if ahead else "not significantly worse"
    interval = "" if effect.low is None else f", {100 * (1 - result.options.alpha):g} % interval {_span(effect)}"
    correction = f", Holm over {len(result.primary)} tests" if len(result.primary) > 1 else ""
    sentence = (
        f"{pair.method} is {how} than {pair.other} on {_blocks(result, pair.blocks)} "
        f"({probability(pair.p_holm)}{correction}; {effect.difference:+.2f} points{interval})"
    )
    family = result.power[0]
    if family.attainable:
        return f"{sentence}."
    return (
        f"{sentence}; with {many(result.counts.blocks, 'block')} no signed-rank test can reach "
        f"{number(result.options.alpha)}, {family.blocks_needed} are needed."
    )


def _span(effect: Effect) -> str:
    return f"{effect.low:+.2f} to {effect.high:+.2f}"


def _blocks(result: Comparison, count: int) -> str:
    return population(result.table, result.options.blocks, count)
