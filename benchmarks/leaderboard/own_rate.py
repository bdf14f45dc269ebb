"""Methods that train clients at a rate or for a time of their own (benchmarks room), and what must be said of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...federation.optimizers import Optimizer
    from .lines import Line
    from .training_rules import LocalRules

OWN_RATE = "own rate"
"""What a badge of such a method begins with."""

MARK = "†"
"""Beside the name of a method with an optimizer or rate of its own, in tables."""

OWN_STEPS = "own steps"
"""What a badge of a method begins with that trains clients longer or shorter than the comparison says."""

STEPS_MARK = "‡"
"""Beside the name of such a method, in tables."""

SHOWN = 4
"""Methods without one that a caution names; more are `the others`."""


def cautioned(board: Sequence[Line]) -> list[str]:
    """What `own_rates` says of the lines of leaderboards, once where it is the same in several settings."""
    settings: dict[str, dict[str, LocalRules | None]] = defaultdict(dict)
    for line in board:
        settings[line.setting][line.method] = line.trained_with
    return [caution for caution in dict.fromkeys(map(own_rates, settings.values())) if caution]


def own_rates(methods: Mapping[str, LocalRules | None]) -> str:
    """A caution where methods of one comparison train with different optimizers or rates that nobody tuned.

    Two methods may be compared where they train with the same, or where both were tuned. Variants of one method may
    differ in what they train with, which is then what is compared.

    Args:
        methods: by the name in tables, what each trains with in one setting; None makes no claim.
    """
    known = {name: rules for name, rules in methods.items() if rules is not None}
    pairs = [
        (name, other)
        for name, mine in known.items()
        for other, theirs in known.items()
        if _differ(mine, theirs) and not (mine.tuned and theirs.tuned)
    ]
    if not pairs:
        return ""
    involved = {name: known[name] for name in known if any(name in pair for pair in pairs)}
    own = {name: rules for name, rules in involved.items() if rules.own}
    usual = [name for name in involved if name not in own]
    said = {words: [name for name in own if str(own[name]) == words] for words in map(str, own.values())}
    parts = [f"{', '.join(names)} with {words}" for words, names in said.items()]
    if usual:
        parts.append(f"{', '.join(usual) if len(usual) <= SHOWN else 'the others'} with {involved[usual[0]]}")
    some = any(rules.tuned for rules in involved.values())
    return (
        f"caution: own rate: clients train at rates that are not equal and were not {'all ' if some else ''}tuned, so "
        f"that differences may be the rates': {'; '.join(parts)}. What would do: {_remedies(own)}"
    )


def _differ(mine: LocalRules, theirs: LocalRules) -> bool:
    """Whether two methods that are not variants of one train with different rules."""
    return mine.method != theirs.method and _set(mine) != _set(theirs)


def _set(rules: LocalRules) -> frozenset[Optimizer]:
    return frozenset(rule for _, rule in rules.rules)


def _remedies(own: Mapping[str, LocalRules]) -> str:
    """What would make a comparison fair."""
    ways = []
    sets = {_set(rules) for rules in own.values()}
    usual = next(iter(own.values())).usual
    if len(sets) == 1 and len(next(iter(sets))) == 1:
        ((rule,),) = sets
        ways += [f"train all with {' '.join(options)}"] if (options := _options(rule, usual)) else []
        if replace(rule, lr=usual.lr) == usual:
            settings = dict.fromkeys(setting for rules in own.values() for setting, _ in rules.rules)
            ways.append(f"set {', '.join(settings)} to {usual.lr:g}")
    return ", or ".join([*ways, "tune the rate of every method and say so in the grid's `tuning`"])


def _options(rule: Optimizer, usual: Optimizer) -> list[str]:
    """The options that give `training` a rule; none where it has no settings for it."""
    if rule.schedule != "constant":
        return []
    wanted = {
        "optimizer": (rule.rule, usual.rule),
        "lr": (rule.lr, usual.lr),
        "momentum": (rule.momentum, usual.momentum),
        "weight_decay": (rule.weight_decay, usual.weight_decay),
    }
    return [f"-o training.{name}={value}" for name, (value, now) in wanted.items() if value != now]
