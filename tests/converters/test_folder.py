"""Folders in diffusers layout, and the same fetched from a small server that speaks the Hub's protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file

from converters.folder import UNKNOWN_LICENCE, PipelineFolder
from converters.hub import wanted_files
from edge_runtime.errors import ConversionError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
INDEX = {
    "_class_name": "FluxKontextPipeline", "_diffusers_version": "0.42.1", "is_distilled": True,
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "safety_checker": [None, None],
    "vae": ["diffusers", "AutoencoderKL"],
}  # fmt: skip
SMALL = {
    "model_index.json": json.dumps(INDEX),
    "README.md": "---\nlanguage: en\nlicense: apache-2.0\n---\nlicense: none\n",
    "transformer/config.json": '{"num_layers": 2}',
    "scheduler/scheduler_config.json": '{"shift": 3.0}',
    "tokenizer/vocab.json": "{}",
    "tokenizer/merges.txt": "a b\n",
}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "tiny-kontext"
    for name, content in SMALL.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    save_file({"w": torch.ones(2)}, folder / "transformer" / "diffusion_pytorch_model.safetensors")
    return folder


def test_a_folder(checkpoint):
    folder = PipelineFolder.open(str(checkpoint))
    assert (folder.path, folder.source, folder.pipeline) == (checkpoint, "tiny-kontext", "FluxKontextPipeline")
    assert folder.classes["transformer"] == "FluxTransformer2DModel" and "safety_checker" not in folder.classes
    assert folder.settings == {"is_distilled": True}
    assert folder.config("transformer") == {"num_layers": 2}
    assert folder.config("scheduler") == {"shift": 3.0}
    assert folder.config("tokenizer", "vocab.json") == {}
    assert [file.name for file in folder.files("tokenizer")] == ["merges.txt", "vocab.json"]
    assert folder.folder("tokenizer") == checkpoint / "tokenizer"
    assert folder.weights("transformer").read("w").tolist() == [1, 1]
    assert [name for name in ("transformer", "vae", "safety_checker", "unheard") if folder.has(name)] == ["transformer"]
    assert folder.licence == "apache-2.0"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, UNKNOWN_LICENCE), ("# A model\nlicense: mit\n", UNKNOWN_LICENCE),
        ("---\ntags: [a]\n---\n", UNKNOWN_LICENCE),
        ("---\nlicense: 'mit'\n---\n", "mit"), ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: flux-1-dev\n---\n", "flux-1-dev"), ("---\nlicense: other\n---\n", "other"),
    ],
)  # fmt: skip
def test_licences(card, licence, checkpoint):
    (checkpoint / "README.md").unlink()
    if card is not None:
        (checkpoint / "README.md").write_bytes(card.encode())
    assert PipelineFolder.open(str(checkpoint)).licence == licence


def test_the_digest_is_of_what_a_conversion_reads(checkpoint, tmp_path):
    digest = PipelineFolder.open(str(checkpoint)).digest()
    (checkpoint / "README.md").write_text("other words")
    (checkpoint / "picture.png").write_bytes(b"1")
    moved = checkpoint.rename(tmp_path / "elsewhere")
    assert PipelineFolder.open(str(moved)).digest() == digest
    digests = {digest}
    for name in ("tokenizer/merges.txt", "transformer/config.json", "model_index.json"):
        (moved / name).write_text((moved / name).read_text() + "\n")
        digests.add(PipelineFolder.open(str(moved)).digest())
    save_file({"w": torch.zeros(2)}, moved / "transformer" / "diffusion_pytorch_model.safetensors")
    digests.add(PipelineFolder.open(str(moved)).digest())
    assert len(digests) == 5


def test_what_is_no_folder(checkpoint, tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    for path in (file, tmp_path / "missing"):
        with pytest.raises(ConversionError, match="not a folder.*diffusers layout, or hf:OWNER/NAME"):
            PipelineFolder.open(str(path))
    with pytest.raises(ConversionError, match="folder transformer has no model_index.json. Got config.json, diff"):
        PipelineFolder.open(str(checkpoint / "transformer"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConversionError, match="Got an empty folder"):
        PipelineFolder.open(str(tmp_path / "empty"))


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "\xff", "[" * 100_000, '{"_class_name": 3}', "{}"])
def test_damaged_indexes(content, checkpoint):
    (checkpoint / "model_index.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ConversionError, match="model_index.json (can't be read|is no JSON object|names no pipeline)"):
        PipelineFolder.open(str(checkpoint))


@pytest.mark.parametrize("name", ["../other", "/etc", "a/b", "..", ".", "", "a\\b"])
def test_components_can_not_be_elsewhere(name, checkpoint):
    (checkpoint / "model_index.json").write_text(json.dumps({**INDEX, name: ["diffusers", "AutoencoderKL"]}))
    with pytest.raises(ConversionError, match="component that is no plain name"):
        PipelineFolder.open(str(checkpoint))
    (checkpoint / "model_index.json").write_text(json.dumps(INDEX))
    folder = PipelineFolder.open(str(checkpoint))
    assert not folder.has(name)
    if name:
        with pytest.raises(ConversionError, match="not plain|no configuration"):
            folder.config("transformer", name)


def test_missing_components_and_configurations(checkpoint):
    folder = PipelineFolder.open(str(checkpoint))
    for ask in (folder.config, folder.weights, folder.files, folder.folder):
        with pytest.raises(
            ConversionError, match="tiny-kontext has no vae. Allowed: transformer, scheduler, tokenizer. Its"
        ):
            ask("vae")
        with pytest.raises(ConversionError, match="has no unheard. Allowed: transformer, scheduler, tokenizer.$"):
            ask("unheard")
    with pytest.raises(ConversionError, match="no configuration. Got merges.txt, vocab.json. Allowed: config.json or"):
        folder.config("tokenizer")
    with pytest.raises(ConversionError, match="tokenizer has no safetensors weights"):
        folder.weights("tokenizer")
    (checkpoint / "transformer" / "config.json").write_text("{")
    with pytest.raises(ConversionError, match="transformer/config.json can't be read"):
        folder.config("transformer")


def test_what_is_fetched():
    names = [
        "model_index.json", "README.md", "flux1-kontext-dev.safetensors", "ae.safetensors", "teaser.png",
        "transformer/config.json", "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "transformer/diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.fp16.json",
        "unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.bin", "unet/model.onnx", "vae/diffusion_pytorch_model.fp16.safetensors",
        "tokenizer/merges.txt", "tokenizer_2/spiece.model", "text_encoder/openvino/config.json", "samples/a.png",
    ]  # fmt: skip
    assert wanted_files(names) == [
        "README.md", "model_index.json", "tokenizer/merges.txt", "tokenizer_2/spiece.model", "transformer/config.json",
        "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json", "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]  # fmt: skip


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub's protocol that a download needs: one repository, `tiny/kontext`."""

    weights = save({"w": torch.ones(2)})
    files = {name: content.encode() for name, content in SMALL.items()} | {
        "transformer/diffusion_pytorch_model.safetensors": weights,
        "transformer/diffusion_pytorch_model.fp16.safetensors": weights,
        "kontext.safetensors": weights,
    }

    def do_HEAD(self) -> None:  # noqa: N802
        self.do_GET()

    def do_GET(self) -> None:  # noqa: N802
        path = self.path.split("?")[0]
        if path.startswith("/api/models/tiny/kontext/tree/"):
            tree = [{"type": "file", "path": name, "size": len(c), "oid": oid(c)} for name, c in self.files.items()]
            return self.answer(200, json.dumps(tree).encode())
        if path in ("/api/models/tiny/kontext", "/api/models/tiny/kontext/revision/main"):
            siblings = [{"rfilename": name} for name in self.files]
            return self.answer(200, json.dumps({"id": "tiny/kontext", "sha": COMMIT, "siblings": siblings}).encode())
        if path.startswith(place := f"/tiny/kontext/resolve/{COMMIT}/") and path.removeprefix(place) in self.files:
            return self.answer(200, self.files[path.removeprefix(place)])
        code = "GatedRepo" if "gated" in path else "RevisionNotFound" if "revision" in path else "RepoNotFound"
        return self.answer(403 if code == "GatedRepo" else 404, b"", code)

    def answer(self, status: int, content: bytes, code: str = "") -> None:
        self.send_response(status)
        headers = {"Content-Length": len(content), "X-Repo-Commit": COMMIT, "ETag": f'"{oid(content)}"'}
        for name, value in (headers | ({"X-Error-Code": code} if code else {})).items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


PROGRAM = """
import json, sys, time
import huggingface_hub
from converters.folder import PipelineFolder
from edge_runtime.errors import ConversionError
for name in sys.argv[1:]:
    started = time.perf_counter()
    try:
        folder = PipelineFolder.open(name)
        answer = dict(source=folder.source, values=folder.weights("transformer").read("w").tolist())
    except ConversionError as error:
        answer = dict(error=str(error))
    print(json.dumps(dict(answer, seconds=time.perf_counter() - started)))
"""


def opened(endpoint: str, home: Path, *names: str) -> tuple[list[dict], str]:
    """Open checkpoints in a process of its own, as huggingface_hub reads its environment when it is imported.

    Return an answer for each, with {"error": message} for an error, and what was logged.
    """
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def hub():
    """The server's address; it stops when the test ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_and_later_without_a_network(hub, tmp_path):
    names = ("hf:tiny/kontext", "hf:tiny/none", "hf:tiny/kontext@v9", "hf:tiny/gated")
    (first, none, revision, gated), _ = opened(hub, tmp_path, *names)
    assert "error" not in first, first
    assert (first["source"], first["values"]) == (f"hf:tiny/kontext@{COMMIT}", [1, 1])
    snapshot = next(tmp_path.glob("hub/*/snapshots/*"))
    fetched = sorted(str(file.relative_to(snapshot)) for file in snapshot.rglob("*.*"))
    assert fetched == sorted([*SMALL, "transformer/diffusion_pytorch_model.safetensors"])
    assert "no such checkpoint. Got hf:tiny/none" in none["error"]
    assert "Got hf:tiny/kontext@v9" in revision["error"]
    assert "tiny/gated is gated" in gated["error"] and "huggingface.co/tiny/gated" in gated["error"]

    names = ("hf:tiny/kontext", f"hf:tiny/kontext@{COMMIT}", "hf:tiny/other")
    (later, pinned, other), log = opened("http://127.0.0.1:9", tmp_path, *names)
    assert later["source"] == pinned["source"] == first["source"] and later["values"] == [1, 1]
    assert "taking the earlier download" in log
    assert "checkpoint hf:tiny/other can't be fetched" in other["error"] and "Check the network" in other["error"]
    assert max(answer["seconds"] for answer in (later, pinned, other)) < 5


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:a/b/c", "hf:a/b@", "hf:a b/c", "hf:../b c"])
def test_names_that_the_hub_does_not_have(name):
    started = time.perf_counter()
    with pytest.raises(ConversionError, match="can't be used.*Allowed: hf:OWNER/NAME"):
        PipelineFolder.open(name)
    assert time.perf_counter() - started < 1
