"""fl-bench: fair, reproducible comparisons of federated-learning methods.

The repository root is the inside of this import package: the folder `methods/` is imported as
`fl_bench.methods`, `datasets/` as `fl_bench.datasets`, and so on (see `[tool.setuptools.package-dir]` in
`pyproject.toml`). Only the few things that every room shares stand here: `errors`, the plugin `registry`,
seeded `streams`, `sealed` values and the `lazy` import of torch.
"""

__version__ = "0.1.0"
