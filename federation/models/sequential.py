"""Nets that read sequences and texts step by step: a CNN over time, GRUs, a small transformer (federation room).

A sequence has shape (channels, length), a text (length,); a text's tokens become vectors first, which are learned. The
layers are in `steps.py`, written in operations that run for all clients at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fl_bench.errors import ConfigError
from fl_bench.lazy import nn
from fl_bench.limits import NET_WEIGHTS

from .registry import model

if TYPE_CHECKING:
    from torch.nn import Linear, Module, Sequential

    from .registry import Shape

TOKEN = 8
"""Numbers that stand for a token in the GRU and the CNN, as in LEAF's net for Shakespeare (arXiv:1812.01097)."""

WIDTH = 64
"""Numbers that stand for a step in the transformer."""


@model(
    "cnn1d",
    summary='conv5 32, pool, conv5 64, pool over time ("same" padding), mean over time, FC 64',
    min_side=4,
    takes=("sequence", "text"),
)
def cnn1d(shape: Shape, classes: int, *, vocabulary: int | None) -> tuple[Module, Linear]:
    """Two convolutions over time, whose features do not depend on where in the sequence something happens."""
    from .steps import MeanOverSteps, StepsLast

    body, features = _steps(shape, vocabulary, TOKEN)
    body.append(StepsLast())
    for inputs, outputs in ((features, 32), (32, 64)):
        body.append(nn.Conv1d(inputs, outputs, 5, padding=2)).append(nn.MaxPool1d(2)).append(nn.ReLU(inplace=True))
    return body.append(MeanOverSteps()).append(nn.Linear(64, 64)).append(nn.ReLU(inplace=True)), nn.Linear(64, classes)


@model(
    "gru-<width>",
    summary="gated recurrent units, one layer of this width; its last state is classified",
    min_side=1,
    takes=("sequence", "text"),
    source="Cho et al. 2014 (arXiv:1406.1078)",
    example="gru-64",
)
def gru(shape: Shape, classes: int, width: int, *, vocabulary: int | None) -> tuple[Module, Linear]:
    """One recurrent layer, read from the first step to the last.

    Raises:
        ConfigError: so many weights that no memory would hold them.
    """
    from .steps import Recurrence

    body, features = _steps(shape, vocabulary, TOKEN)
    if (weights := width * (3 * (features + width) + classes)) > NET_WEIGHTS:
        raise ConfigError(f"model gru-{width} would have {weights} weights; there may be {NET_WEIGHTS}")
    return body.append(Recurrence(features, width)), nn.Linear(width, classes)


@model(
    "char-transformer",
    summary="2 blocks of attention, width 64, 4 heads, FC 128; the last character's features are classified",
    min_side=1,
    takes=("text",),
    source="Vaswani et al. 2017 (arXiv:1706.03762), normalised before each layer, positions learned",
)
def char_transformer(shape: Shape, classes: int, *, vocabulary: int | None) -> tuple[Module, Linear]:
    """Every character sees all others of its text: what is predicted stands behind the last one."""
    from .steps import Attention, LastStep, Positions, Residual

    body, _ = _steps(shape, vocabulary, WIDTH)
    body.append(Positions(shape[0], WIDTH))
    for _ in range(2):
        body.append(Residual(WIDTH, Attention(WIDTH, heads=4)))
        wider, back = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        body.append(Residual(WIDTH, nn.Sequential(wider, nn.ReLU(inplace=True), back)))
    return body.append(LastStep()).append(nn.LayerNorm(WIDTH)), nn.Linear(WIDTH, classes)


def _steps(shape: Shape, vocabulary: int | None, width: int) -> tuple[Sequential, int]:
    """The beginning of a body, from samples to steps of shape (batch, length, features), and how many features.

    Args:
        shape: of one sample.
        vocabulary: number of different tokens of a text; None for sequences, whose channels are features.
        width: features of a token.
    """
    from .steps import ChannelsLast, Tokens

    if vocabulary is None:
        return nn.Sequential(ChannelsLast()), shape[0]
    return nn.Sequential(Tokens(vocabulary, width)), width
