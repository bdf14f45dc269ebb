"""The version of the round loop and of local training (federation room): what clients compute and send, and its bytes.

Whoever changes a number or a byte that an unchanged setting of every method leads to (training, the channel, draws,
evaluation) raises `VERSION` in the same commit and says below what moved. It is part of the key of every cell, so that
records from before are never taken for new ones; `make golden` then writes the new golden numbers. What moves in one
method alone is that method's `protocol`.

    1   as published
    2   a client's size is sent and charged where a method uses it, `loss_local` is the loss of the first pass on
        private data in every method, persisting optimizer states are kept by phase, and cluster metrics leave out
        clients that have no cluster yet
"""

from __future__ import annotations

VERSION = 2
