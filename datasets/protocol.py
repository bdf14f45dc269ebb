"""The version of the data protocol (datasets room): which client is dealt which rows with which values.

Whoever changes a row or a value that an unchanged setting leads to (loading, splitting, dealing) raises `VERSION` in
the same commit and says below what moved. It is part of the key of every cell, so that records from before are never
taken for new ones; `make golden` then writes the new golden numbers.

    1   as published
"""

from __future__ import annotations

VERSION = 1
