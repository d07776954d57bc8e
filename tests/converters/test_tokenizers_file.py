from __future__ import annotations

import pytest
from tiny.instruct_pix2pix import save_clip_tokenizer
from tiny.qwen_vl import save_tokenizer
from tokenizers import Tokenizer

from converters.tokenizers_file import tokenizer_json
from edge_runtime.errors import ConversionError


def test_what_is_there_is_taken_as_it_is(tmp_path):
    save_tokenizer(tmp_path)
    assert tokenizer_json(tmp_path) == (tmp_path / "tokenizer.json").read_bytes()


def test_older_files_make_the_same_tokens_as_the_library(tmp_path):
    from transformers import CLIPTokenizer

    folder = tmp_path / "tokenizer"
    save_clip_tokenizer(folder)
    content = tokenizer_json(folder)
    built = Tokenizer.from_str(content.decode())
    for text in ("Make it SNOWY, please", "naïve café 🙂", "", "two  spaces\nand a line"):
        assert built.encode(text).ids == CLIPTokenizer.from_pretrained(folder)(text).input_ids
    assert tokenizer_json(folder) == content
    assert not (folder / "tokenizer.json").exists()


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CLIPTokenizer"}')
    with pytest.raises(ConversionError, match="tokenizer"):
        tokenizer_json(tmp_path)
