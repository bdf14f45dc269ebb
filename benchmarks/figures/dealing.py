"""Who holds what: training samples by client and class (benchmarks room, figures)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import new_figure, styled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure


@styled
def draw(view: Mapping[str, Any]) -> Figure:
    """A cell for each client (rows) and class (columns), as dark as it has samples.

    Args:
        view: what `running.examining.examine` gives.
    """
    counts = np.array([row["classes"] for row in view["clients"]])
    figure = new_figure(2 + counts.shape[1] * 0.3, 1.5 + counts.shape[0] * 0.22)
    axes = figure.subplots()
    axes.grid(visible=False)
    image = axes.imshow(counts, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set(xlabel="class", ylabel="client", title=f"{view['dataset']}, {view['scheme']}, seed {view['seed']}")
    figure.colorbar(image, label="training samples")
    return figure
