"""Attention with the scores of a few heads at a time, for sequences of pictures; no weights here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

HEADS_AT_ONCE: Final = 4
"""Scores of all heads of two pictures of 1024 x 1024 pixels would be 7 GB; a few heads at a time lose no speed."""


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor | None = None,
    heads_at_once: int = HEADS_AT_ONCE,
) -> torch.Tensor:
    """Return float32 (sequences, heads, tokens, width), as all three; `bias` is added to the scores."""
    parts = []
    pieces = (part.split(heads_at_once, dim=1) for part in (query * query.shape[-1] ** -0.5, key, value))
    for some_query, some_key, some_value in zip(*pieces, strict=True):
        scores = torch.matmul(some_query, some_key.transpose(2, 3))
        scores = scores if bias is None else scores + bias
        parts.append(torch.matmul(scores.softmax(-1), some_value))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


class FewHeadsAtOnce(TorchFunctionMode):
    """While it is entered, plain attention of a library's modules runs as `attention` does."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[Any], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch instead of each of its functions."""
        given = dict(kwargs or {})
        if func is not functional.scaled_dot_product_attention:
            return func(*args, **given)
        options = {name: given.pop(name) for name in list(given) if name not in ("query", "key", "value")}
        if any(option is not None and option is not False and option != 0.0 for option in options.values()):
            return func(*args, **given, **options)
        return attention(*args, **given)
