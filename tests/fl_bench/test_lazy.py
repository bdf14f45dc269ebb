"""What the command line needs before training starts is imported without the slow libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
import torch.nn.functional as functional

from fl_bench import lazy

SLOW = ("torch", "torchvision", "sklearn", "scipy", "pandas", "matplotlib")


def imported_by(code: str) -> set[str]:
    """Slow libraries that a fresh process has after `code`; it may print nothing else."""
    report = f"{code}\nimport sys\nprint(*[name for name in {SLOW!r} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "from fl_bench.methods.registry import METHODS\n"
        "assert 'fedavg' in METHODS\n"
        "for name in METHODS.names():\n    METHODS[name]().needs(), METHODS[name].summary()",
        "from fl_bench.federation.models import check_model, model_names\n"
        "assert model_names()\ncheck_model('cnn', (1, 28, 28))",
        "from fl_bench.datasets.partition import PARTITIONS\n[PARTITIONS[name]() for name in PARTITIONS.names()]",
        "from fl_bench.federation.settings import ModelMix, Training\nTraining(), ModelMix()",
        "from fl_bench.federation.codecs import Codec\nCodec.parse('top-3').nbytes(5, 10)",
        "import fl_bench.datasets.catalogue, fl_bench.datasets.split",
    ],
    ids=["methods", "models", "partitions", "settings", "codecs", "datasets"],
)
def test_registries_and_settings_need_no_slow_library(code: str) -> None:
    assert imported_by(code) == set()


def test_torch_comes_with_its_first_use() -> None:
    assert imported_by("from fl_bench.lazy import F, nn, torch") == set()
    assert "torch" in imported_by("from fl_bench.lazy import torch\nassert torch.zeros(2).tolist() == [0.0, 0.0]")


def test_the_lazy_names_are_the_real_ones() -> None:
    assert lazy.torch.float32 is torch.float32
    assert lazy.torch.Tensor is torch.Tensor
    assert lazy.torch.random.fork_rng is torch.random.fork_rng
    assert lazy.F.cross_entropy is functional.cross_entropy
    assert lazy.nn.Linear is torch.nn.Linear


def test_a_missing_name_is_torchs_own_error() -> None:
    with pytest.raises(AttributeError, match="no_such_function"):
        lazy.torch.no_such_function  # noqa: B018 - the look-up is what is tested


def test_import_machinery_does_not_wake_it() -> None:
    assert imported_by("from fl_bench.lazy import torch\nassert not hasattr(torch, '__path__')") == set()
