"""Names of nets, the inputs they take and how to build them (federation room); needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError, unknown_name
from fl_bench.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

Shape = tuple[int, ...]
"""Shape of one sample: (channels, height, width) of an image, (features,) of a row, (channels, length) of a sequence,
(length,) of a text."""

Kind = Literal["image", "sequence", "text"]
"""Samples that a net is made for. A row is a sample like any other for those that flatten theirs."""

Builder = Callable[..., tuple["nn.Module", "nn.Linear"]]
"""build(shape, classes, **parameters) returns the body (samples to features) and the head (features to logits).

A net that takes texts has the argument `vocabulary` beside them: the number of different tokens, or None for sequences.
"""


@dataclass(frozen=True)
class ModelPlugin:
    """One net, or one family of nets such as `mlp-<width>`."""

    pattern: str
    """What users write. `<width>` stands for a whole number from 1 to 99999, `[...]` may be left out."""
    build: Builder
    """Makes body and head; the numbers of `pattern` arrive as keyword arguments of the same names."""
    summary: str
    """One line for `fl-bench list models`."""
    example: str
    """A name that follows `pattern`; the pattern itself where it has no parameters."""
    min_side: int | None
    """Smallest height and width of the images, or length of the sequences, that the net takes; None when it flattens
    samples of any shape."""
    source: str
    """The paper (and variant) that defines the net."""
    channels: tuple[int, ...] | None = None
    """Numbers of channels of the images the net takes; None for any."""
    takes: tuple[Kind, ...] = ("image",)
    """Kinds of samples that the net takes, where it does not flatten them."""

    def __post_init__(self) -> None:
        if self.parameters(self.example) is None:
            raise ConfigError(f"model {self.pattern!r} needs an example that follows the pattern, got {self.example!r}")

    @property
    def name(self) -> str:
        """The fixed part of the pattern: `mlp` for `mlp-<width>`."""
        return self.pattern.partition("<")[0].rstrip("-")

    def parameters(self, name: str) -> dict[str, int] | None:
        """The numbers in `name`, or None where it does not follow the pattern."""
        match = _regex(self.pattern).fullmatch(name)
        return None if match is None else {key: int(text) for key, text in match.groupdict().items() if text}

    def fits(self, shape: Shape, vocabulary: int | None = None) -> bool:
        """Whether the net takes samples of `shape`; texts have a vocabulary. To flatten names makes no sense."""
        if self.min_side is None:
            return vocabulary is None
        kind = "text" if vocabulary is not None else {2: "sequence", 3: "image"}.get(len(shape))
        right_channels = self.channels is None or shape[0] in self.channels
        return kind in self.takes and min(shape if kind == "text" else shape[1:]) >= self.min_side and right_channels

    @property
    def inputs(self) -> str:
        """The samples the net takes, in words."""
        if self.min_side is None:
            return "all but texts (flattened)"
        if self.takes != ("image",):
            return f"{' and '.join(f'{kind}s' for kind in self.takes)} of length {self.min_side} and more"
        channels = "" if self.channels is None else f", {' or '.join(map(str, self.channels))} channels"
        return f"images of at least {self.min_side}x{self.min_side}{channels}"


MODELS: Registry[ModelPlugin] = Registry(
    "model",
    built_in=[f"{__package__}.{module}" for module in ("vectors", "convolutional", "large", "enlarged", "sequential")],
)


def model(
    pattern: str,
    *,
    summary: str,
    min_side: int | None = None,
    channels: tuple[int, ...] | None = None,
    takes: tuple[Kind, ...] = ("image",),
    source: str = "",
    example: str | None = None,
) -> Callable[[Builder], Builder]:
    """Register a net so that grids can call it by name.

    The function returns the two halves of the net; what lies between samples and features goes into the body,
    the head is the last linear layer. A file with this in it is a complete plugin:

        from torch import nn
        from fl_bench.federation.models import model

        @model("tiny-<width>", summary="one convolution, global pool", min_side=4, example="tiny-8")
        def tiny(shape, classes, width):
            body = nn.Sequential(
                nn.Conv2d(shape[0], width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
            )
            return body, nn.Linear(width, classes)

    Args:
        pattern: the name, with `<parameter>` for whole numbers and `[...]` around what may be left out.
        summary: one line for `fl-bench list models`.
        min_side: smallest height and width in pixels, or smallest length of a sequence; None for nets that flatten
            samples of any shape.
        channels: numbers of channels the images may have; None for any.
        takes: kinds of samples, where the net does not flatten them; the function of one that takes texts has an
            argument `vocabulary`, the number of different tokens, which is None for other kinds.
        source: the paper that defines the net.
        example: a name that follows `pattern`; needed where it has parameters.
    Raises:
        ConfigError: the name is taken, or the example does not follow the pattern.
    """

    def add(build: Builder) -> Builder:
        plugin = ModelPlugin(pattern, build, summary, example or pattern, min_side, source, channels, takes)
        MODELS.register(plugin.name)(plugin)
        return build

    return add


def find_model(name: str) -> tuple[ModelPlugin, Mapping[str, int]]:
    """The plugin that `name` asks for and its parameters: `mlp-64` gives the family `mlp` and {"width": 64}.

    Raises:
        ConfigError: no net has the name, or its parameters do not follow the family's pattern.
    """
    plugins = _plugins()
    for plugin in plugins:
        parameters = plugin.parameters(name)
        if parameters is not None:
            return plugin, parameters
    for plugin in plugins:
        if plugin.example != plugin.pattern and name.startswith(plugin.name):
            raise ConfigError(
                f"model {name!r} does not follow the pattern {plugin.pattern}, whose parameters are "
                f"whole numbers from 1 to 99999; {plugin.example!r} would do"
            )
    raise unknown_name("model", name, [plugin.example for plugin in plugins])


def check_model(name: str, shape: Shape, vocabulary: int | None = None) -> None:
    """Refuse a net that cannot be built for samples of `shape`, before anything is loaded.

    Args:
        name: of the net.
        shape: of one sample.
        vocabulary: number of different tokens where samples are texts.

    Raises:
        ConfigError: the name is unknown or malformed, or the net does not fit; then it names the nets that do.
    """
    plugin, _ = find_model(name)
    if not plugin.fits(shape, vocabulary):
        are = f"have shape {shape}" if vocabulary is None else f"are texts of {shape[0]} tokens"
        raise ConfigError(
            f"model {name!r} takes {plugin.inputs}, and the samples {are}; "
            f"these fit: {', '.join(fitting(shape, vocabulary))}"
        )


def fitting(shape: Shape, vocabulary: int | None = None) -> list[str]:
    """Names of the nets that take samples of `shape` (with a vocabulary: texts); a family with one example."""
    return [plugin.example for plugin in _plugins() if plugin.fits(shape, vocabulary)]


def model_names() -> list[dict[str, str]]:
    """A row per net for `fl-bench list models`: name (or pattern), inputs, summary, source."""
    return [
        {"name": plugin.pattern, "inputs": plugin.inputs, "summary": plugin.summary, "source": plugin.source}
        for plugin in _plugins()
    ]


@lru_cache(maxsize=256)
def _regex(pattern: str) -> re.Pattern[str]:
    """What names that follow a pattern look like."""
    regex = re.escape(pattern).replace(r"\[", "(?:").replace(r"\]", ")?")
    return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>[1-9][0-9]{0,4})", regex))


def _plugins() -> list[ModelPlugin]:
    return [MODELS[name] for name in MODELS.names()]
