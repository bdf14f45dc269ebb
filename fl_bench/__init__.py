"""fl-bench: fair, reproducible comparisons of federated-learning methods.

The repository root is the inside of this import package: the folder `methods/` is imported as
`fl_bench.methods`, `datasets/` as `fl_bench.datasets`, and so on (see `[tool.setuptools.package-dir]` in
`pyproject.toml`). Only the few things that every room shares stand here: `errors`, the plugin `registry`,
seeded `streams`, `sealed` values and the `lazy` import of torch.

The Python interface is `PUBLIC`: its names are looked up in `benchmarks/api/` when they are first asked for, so that
`import fl_bench` takes no time. They follow semantic versioning; everything else may change in any release.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

PUBLIC = {
    "Method": "fl_bench.methods.base",
    "Results": "fl_bench.benchmarks.api.results",
    "dataset": "fl_bench.benchmarks.api.data",
    "load": "fl_bench.benchmarks.api.results",
    "method": "fl_bench.methods.registry",
    "partition": "fl_bench.benchmarks.api.data",
    "run": "fl_bench.benchmarks.api.running",
}
"""The names of the Python interface, and the modules that have them."""

__all__ = ["__version__", *PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC})
