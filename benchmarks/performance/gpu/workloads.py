"""What is measured on a card (benchmarks room): W1 to W3, and W6, COSMOS with the nets of its paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ..workloads import FEW_EPOCHS, W1, W2, WORKLOADS, Workload

W6 = Workload(
    "W6",
    method="cosmos",
    server="vgg16-plain",
    clients=25,
    samples=400,
    public=1000,
    test=2500,
    images="noise-32",
    settings=FEW_EPOCHS,
)
"""A round of the paper's experiments with a quarter of its private images, a tenth of its pool and one pass in place of
five: a twentieth to a fiftieth of its steps, in the same shapes."""

NETS = {"resnet18": "resnet18-bn", "mobilenetv2": "mobilenetv2-bn", "squeezenet": "squeezenet"}
"""Clients' nets of W6 as the grid `cosmos-paper` has them, by the name of their part."""

FORMATS: tuple[Literal["float32", "tf32", "bf16"], ...] = ("float32", "tf32", "bf16")
"""Number formats that W6 is measured in."""

SMALL = {
    **{workload.name.replace(" ", "-"): workload for workload in WORKLOADS},
    "W1-100": replace(W1.with_clients(100), name="W1, 100 clients"),
    "W2-300": replace(W2.with_clients(300), name="W2, 300 clients"),
}
LARGE = {
    f"W6-{name}-{precision}": replace(W6, name=f"W6 {name} {precision}", model=model, precision=precision)
    for name, model in {**NETS, "mixed": "+".join(NETS.values())}.items()
    for precision in FORMATS
}
SUBJECTS: dict[str, Workload] = {**SMALL, **LARGE}
"""All of them, by the name of their parts."""


def tiny(workload: Workload) -> Workload:
    """The same in seconds on a CPU: two clients, a batch of images each, random pixels."""
    return replace(
        workload,
        clients=2,
        samples=16,
        public=workload.public and 20,
        test=20,
        batch_size=8,
        images=workload.images if workload.images == "noise-32" else "noise",
    )
