"""A tiny real tokenizer and a processor of the Qwen-VL kind; the library's own wants torchvision, for videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
VOCABULARY = 288
"""256 bytes, the special tokens, and room up to a multiple of 32."""


def token_id(token: str) -> int:
    return 256 + SPECIAL_TOKENS.index(token)


def save_tokenizer(
    folder: Path, vocabulary: dict[str, int] | None = None, merges: list[tuple[str, str]] | None = None
) -> None:
    """Write a byte-level tokenizer with the special tokens of Qwen, by default one without merges."""
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer

    bytewise = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *SPECIAL_TOKENS]
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary or {token: place for place, token in enumerate(bytewise)},
        merges=merges or [],
        unk_token=None,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens=list(SPECIAL_TOKENS),
    )
    tokenizer.save_pretrained(folder)


def save_processor(folder: Path, **pixels: Any) -> None:
    """Write a processor's folder: tokenizer and what becomes of pixels."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    save_tokenizer(folder)
    Qwen2VLImageProcessorPil(**pixels).save_pretrained(folder)


def qwen3_processor(folder: Path) -> Any:
    """Open a processor's folder as the library would, without its part for videos."""
    from transformers import AutoTokenizer, Qwen3VLProcessor
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    class WithoutVideo(Qwen3VLProcessor):  # type: ignore[misc]
        def check_argument_for_proper_class(self, name: str, argument: object) -> type:
            return type(argument)

    return WithoutVideo(
        image_processor=Qwen2VLImageProcessorPil.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
    )
