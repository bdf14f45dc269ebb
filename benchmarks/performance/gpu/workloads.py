"""What is measured on a card (benchmarks room): W1 to W3, and W6, COSMOS with the nets of its paper."""

from __future__ import annotations

from dataclasses import replace

from ..workloads import FEW_EPOCHS, WORKLOADS, Workload

W6 = Workload(
    "W6",
    method="cosmos",
    server="vgg16",
    clients=25,
    samples=400,
    public=1000,
    test=2500,
    images="noise-32",
    settings=FEW_EPOCHS,
)
"""A round of the paper's experiments with a quarter of its private images, a tenth of its pool and one pass in place of
five: a twentieth to a fiftieth of its steps, in the same shapes."""

PAPER_STEPS = {"local": 20, "distill": 50, "server": 50}
"""How many times as many steps of a kind a round of the paper has."""

NETS = {
    "resnet18": "resnet18",
    "mobilenetv2": "mobilenetv2",
    "squeezenet": "squeezenet",
    "mixed": "resnet18+mobilenetv2+squeezenet",
}
"""Clients' nets of W6, by the name of its part."""

SMALL = {workload.name.replace(" ", "-"): workload for workload in WORKLOADS}
LARGE = {
    f"W6-{name}-{precision}": replace(W6, name=f"W6 {name} {precision}", model=model, precision=precision)
    for name, model in NETS.items()
    for precision in ("float32", "bf16")
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
