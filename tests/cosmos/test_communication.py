"""What the paper says of communication, in its megabytes, which are 2^20 bytes: our closed forms."""

from __future__ import annotations

import pytest

from fl_bench.datasets.catalogue import dataset_info
from fl_bench.datasets.split import SplitSettings
from fl_bench.federation.models import net_bytes
from fl_bench.methods.base import Facts
from fl_bench.methods.registry import METHODS

MIB = 2**20


@pytest.mark.parametrize(
    ("dataset", "labels", "parameters"),
    # 10 000 samples times 100 classes times 4 bytes are 4 000 000 / 1 048 576; AlexNet-small has 30 084 580 parameters
    [("cifar100", 3.81, 114.76), ("cifar10", 0.38, 113.36)],
)
def test_stated_sizes_are_closed_forms(dataset: str, labels: float, parameters: float) -> None:
    known = dataset_info(dataset)
    assert known.classes is not None
    assert known.train is not None
    assert known.shape is not None
    pool = SplitSettings(public=0.2).public_rows(known.train)
    assert pool == 10_000
    facts = Facts(public=pool, classes=known.classes, net=net_bytes("alexnet-small", known.shape, known.classes))
    plan = METHODS["cosmos"]().plan(facts)
    assert round(plan.up_bytes / MIB, 2) == round(plan.down_bytes / MIB, 2) == labels
    averaged = METHODS["fedavg"]().plan(facts)
    assert round(averaged.up_bytes / MIB, 2) == round(averaged.down_bytes / MIB, 2) == parameters
