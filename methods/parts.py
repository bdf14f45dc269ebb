"""Body and head: which parameters belong to which, for every method that shares or freezes one of them.

The head is the last linear layer, the body everything before it, BatchNorm statistics included (methods.md 3.3).
"""

from __future__ import annotations


def is_head(name: str) -> bool:
    """Whether a parameter or buffer belongs to the head."""
    return name.startswith("head.")


def is_body(name: str) -> bool:
    """Whether a parameter or buffer belongs to the body."""
    return not is_head(name)
