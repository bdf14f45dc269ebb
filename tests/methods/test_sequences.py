"""Every method on texts and sequences: both engines come to the same, or the method says why it cannot."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from fl_bench.cosmos.settings import CosmosConfig
from fl_bench.datasets.dataset import Dataset, build_dataset
from fl_bench.errors import Unsupported
from fl_bench.federation.settings import ModelMix, Training
from fl_bench.methods.contract.worlds import Outcome, deal, finish, make_run
from fl_bench.methods.registry import METHODS

TRAINING = Training(rounds=2, batch_size=8, lr=0.1, optimizer="sgd", precision="float64")
"""Not Adam, which makes whole steps of gradients that are rounding: whoever learns its own predictions has such."""

LABELS = np.tile(np.arange(4), 30)


@lru_cache
def samples(kind: str) -> Dataset:
    """120 texts of 5 tokens, or sequences of 2 channels, that say what their class is."""
    stream = np.random.default_rng(3)
    if kind == "text":
        tokens = stream.integers(0, 9, (120, 5))
        tokens[:, 2] = LABELS
        return build_dataset("texts", tokens, LABELS, source="made up", vocabulary=9)
    waves = stream.normal(size=(120, 2, 8)) + LABELS[:, None, None]
    return build_dataset("sequences", waves, LABELS, source="made up")


def outcome(method: str, kind: str, net: str, engine: str) -> Outcome:
    data = samples(kind)
    training = replace(TRAINING, engine=engine)  # type: ignore[arg-type]  # a name of an engine
    return finish(make_run(method, data, deal(data, 4), training, models=ModelMix((net,))))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS.names())
@pytest.mark.parametrize(("kind", "net"), [("text", "gru-4"), ("sequence", "cnn1d")])
def test_both_engines_train_on_it_alike(method: str, kind: str, net: str) -> None:
    looped, stacked = (outcome(method, kind, net, engine) for engine in ("loop", "stacked"))
    assert looped.weights.keys() == stacked.weights.keys()
    for name, tensor in looped.weights.items():
        torch.testing.assert_close(
            stacked.weights[name], tensor, rtol=0, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_cosmos_does_not_add_the_authors_noise_to_tokens() -> None:
    data = samples("text")
    research = CosmosConfig(noise="research")
    with pytest.raises(Unsupported, match="noise=research adds noise to normalised pixels"):
        finish(make_run("cosmos", data, deal(data, 4), TRAINING, config=research, models=ModelMix(("gru-4",))))
