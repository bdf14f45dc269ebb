"""torch and numpy, imported at their first use: `--help`, `list` and the validation of a grid never wait for them.

Files that define networks import torch themselves, and files that deal data import numpy. Everything that a command
may need before training starts (method files, configurations, registries) writes `from fl_bench.lazy import F, np,
torch` instead and uses the names inside functions only.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn
else:

    class _Lazy(ModuleType):
        """A module that imports the real one when an attribute is first asked for."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # introspection by import machinery is no use
                raise AttributeError(name)
            value = getattr(importlib.import_module(self.__name__), name)
            setattr(self, name, value)
            return value

    np = _Lazy("numpy")
    torch = _Lazy("torch")
    F = _Lazy("torch.nn.functional")
    nn = _Lazy("torch.nn")

__all__ = ["F", "nn", "np", "torch"]
