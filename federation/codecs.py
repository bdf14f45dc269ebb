"""Codecs of prediction matrices: what is sent instead of float32 scores, and its length in bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fl_bench.errors import ConfigError
from fl_bench.lazy import F, torch

from .payloads import Scores, label_bits, label_bytes

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Codec:
    """One way to code scores (methods.md 2.8). The receiver works with the decoded scores."""

    kind: Literal["none", "float16", "top-k", "hard"] = "none"
    keep: int = 0
    """Classes kept per sample by `top-k`."""

    @classmethod
    def parse(cls, text: str) -> Codec:
        """Read `none`, `float16`, `hard` or `top-<k>`.

        Raises:
            ConfigError: any other text.
        """
        if text in ("none", "float16", "hard"):
            return cls(text)  # type: ignore[arg-type]  # narrowed by the tuple above, which mypy does not follow
        number = text.removeprefix("top-")
        if text.startswith("top-") and number.isdecimal() and len(number) < 10 and int(number) > 0:
            return cls("top-k", int(number))
        raise ConfigError(f"no codec is named {text!r} (known: none, float16, hard, top-<k> such as top-3)")

    def nbytes(self, samples: int, classes: int, number: int = 4) -> int:
        """Coded bytes of one client's scores on `samples` public samples, with `number` bytes per float."""
        if self.kind == "float16":
            return samples * classes * 2
        if self.kind == "hard":
            return label_bytes(samples, classes)
        if self.kind == "top-k":
            keep = min(self.keep, classes)
            return math.ceil(samples * keep * (8 * number + label_bits(classes)) / 8)
        return samples * classes * number

    def code(self, scores: Scores) -> Scores:
        """Encode and decode: the scores that arrive, with their coded size; what its method has coded stays as it is.

        Raises:
            ConfigError: `top-k` or `hard` asked for logits, of which they keep no meaning.
        """
        if self.kind == "none" or scores.coded_bytes is not None:
            return scores
        if scores.form == "logits" and self.kind != "float16":
            raise ConfigError(f"codec {self.kind!r} needs probabilities, but this method sends logits; use float16")
        clients, *several, samples, classes = scores.values.shape
        size = math.prod(several) * self.nbytes(samples, classes, scores.values.element_size())
        sizes = torch.full((clients,), size, device=scores.values.device)
        return replace(scores, values=self._decoded(scores.values), coded_bytes=sizes)

    def _decoded(self, values: Tensor) -> Tensor:
        if self.kind == "float16":
            return values.to(torch.float16).to(values.dtype)
        classes = values.shape[-1]
        if self.kind == "hard":
            return F.one_hot(values.argmax(dim=-1), classes).to(values.dtype)
        if self.keep >= classes:
            return values
        kept, index = values.topk(self.keep, dim=-1)
        rest = (1.0 - kept.sum(dim=-1, keepdim=True)).clamp_min(0) / (classes - self.keep)
        return rest.expand_as(values).scatter(-1, index, kept)
