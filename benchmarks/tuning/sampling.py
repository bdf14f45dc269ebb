"""Where trials come from (benchmarks room): random search, or Optuna's TPE, each a pure function of what was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fl_bench.errors import ConfigError
from fl_bench.spaces import Choices, Integers, Linear, Log
from fl_bench.streams import numpy_stream, stream_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from fl_bench.spaces import Space

Sampler = Literal["random", "tpe"]

DRAWS = 200
"""Draws for one trial, before it is taken that all settings have been tried."""

STARTUP = 3
"""Trials, the grid's entry among them, that TPE leaves to random search."""


class Tried(NamedTuple):
    """A setting and how good it was."""

    settings: Mapping[str, Any]
    gain: float
    """Points above the grid's entry, over the data sets that it finished."""


def propose(
    stream: tuple[int, str, int],
    spaces: Mapping[str, Space],
    default: Mapping[str, Any],
    steps: Callable[[Mapping[str, Any]], float | None],
    *,
    taken: Sequence[Mapping[str, Any]],
    tried: Sequence[Tried] = (),
    sampler: Sampler = "random",
) -> dict[str, Any] | None:
    """A setting that was not tried yet and takes no more steps than the default; None where there is none left.

    A draw that takes more gets settings back to their defaults, in a drawn order, until it does not.

    Args:
        stream: seed, name and number that the draws are made from; the same give the same.
        spaces: what is tuned.
        default: the values of the grid's entry.
        steps: how many training steps a setting takes; None where it cannot run.
        taken: settings that were tried, or will be.
        tried: what is known of settings, for TPE.
        sampler: how to draw.
    """
    most = steps(default)
    seed, name, number = stream
    for draw in range(DRAWS):
        if sampler == "tpe" and len(tried) >= STARTUP:
            drawn = _tpe(stream_key(seed, "tune", "tpe", name, number, draw) % 2**32, spaces, tried)
        else:
            shares = numpy_stream(seed, "tune", "draw", name, number, draw).random(len(spaces))
            drawn = {key: over.at(float(share)) for (key, over), share in zip(spaces.items(), shares, strict=True)}
        order = numpy_stream(seed, "tune", "order", name, number, draw).permutation(list(spaces))
        settled = _within(drawn, default, [str(key) for key in order], steps, most)
        if settled is not None and settled not in taken:
            return settled
    return None


def check_sampler(sampler: Sampler) -> None:
    """Refuse a sampler whose package is not installed.

    Raises:
        ConfigError: says how to install it.
    """
    if sampler == "tpe":
        _optuna()


def _within(
    drawn: Mapping[str, Any],
    default: Mapping[str, Any],
    order: Sequence[str],
    steps: Callable[[Mapping[str, Any]], float | None],
    most: float | None,
) -> dict[str, Any] | None:
    """A draw with as many defaults as it needs to take at most so many steps; None where it cannot run."""
    settings, taken = dict(drawn), steps(drawn)
    if taken is None or most is None:
        return None
    for name in order:
        if taken <= most * (1 + 1e-9):
            break
        changed = {**settings, name: default[name]}
        fewer = steps(changed)
        if fewer is not None and fewer < taken:
            settings, taken = changed, fewer
    return settings if taken <= most * (1 + 1e-9) else None


def _tpe(seed: int, spaces: Mapping[str, Space], tried: Sequence[Tried]) -> dict[str, Any]:
    """What TPE would try next."""
    optuna = _optuna()
    over = {name: _distribution(optuna, space) for name, space in spaces.items()}
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP)
    )
    for one in tried:
        if all(_holds(spaces[name], value) for name, value in one.settings.items()):
            study.add_trial(optuna.trial.create_trial(params=dict(one.settings), distributions=over, value=one.gain))
    asked = study.ask(over).params
    return {name: _rounded(space, asked[name]) for name, space in spaces.items()}


def _distribution(optuna: Any, space: Space) -> Any:
    """Optuna's form of a space."""
    known = optuna.distributions
    if isinstance(space, Choices):
        return known.CategoricalDistribution(space.values)
    if isinstance(space, Integers):
        return known.IntDistribution(space.low, space.high, log=space.log)
    return known.FloatDistribution(space.low, space.high, log=isinstance(space, Log))


def _holds(space: Space, value: Any) -> bool:
    """Whether a value is one of the space's; a default need not be."""
    if isinstance(space, Choices):
        return value in space.values
    return isinstance(value, int | float) and space.low <= value <= space.high


def _rounded(space: Space, value: Any) -> Any:
    """A value with as few digits as the space's own."""
    return space.at(space.share(value)) if isinstance(space, Log | Linear) else value


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            f"--sampler tpe cannot import its package ({error}): pip install 'fl-bench[tune]', or leave --sampler at "
            "random"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
