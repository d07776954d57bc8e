"""A started server whose children are killed, stopped or left alone, and that is killed itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import urllib3
from PIL import Image

from edge_runtime.editor import EMBEDDED
from tests.server.started import ROOT, Started, command, started_server

HTTP = urllib3.PoolManager(maxsize=20, retries=False, timeout=60)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """A server of its own: its children get hurt."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TMPDIR", str(folder))
        with started_server() as server:
            yield server
    assert left_in(folder) == set(), "nothing is left behind"


def left_in(folder: Path) -> set[str]:
    """What is left in a folder, but for a file of ONNX Runtime's own that it writes when it is imported."""
    return {path.name for path in folder.iterdir()} - {".ses"}


def edit(server: Started, photo: bytes, **fields: str) -> urllib3.BaseHTTPResponse:
    given: dict[str, Any] = {"image": ("p.jpg", photo), "instructions": "warmer, blur the background", **fields}
    return HTTP.request("POST", f"{server.url}/edit", fields=given)


def children(server: Started) -> dict[str, psutil.Process]:
    """The server's children by what they do."""
    found = psutil.Process(server.process.pid).children(recursive=True)
    with suppress(psutil.Error):  # one that has just ended
        return {line[-1]: child for child in found if (line := child.cmdline())}
    return children(server)


def large_photo(width: int = 4000, height: int = 3000) -> bytes:
    stream = BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(noise).resize((width, height)).save(stream, "JPEG")
    return stream.getvalue()


def running(server: Started) -> bool:
    return "imgedit_inflight 1.0" in HTTP.request("GET", f"{server.url}/metrics").data.decode()


def test_models_and_decoder_have_processes_of_their_own(running: Started) -> None:
    assert set(children(running)) == {"editor", "decoder"}
    maps = Path(f"/proc/{running.process.pid}/maps")
    assert not maps.exists() or "onnxruntime" not in maps.read_text(), "the server itself runs no model"


@pytest.mark.slow
def test_children_are_replaced(node: Started, photo: bytes) -> None:
    before = children(node)
    for child in before.values():
        child.kill()
    psutil.wait_procs(before.values(), timeout=10)
    assert edit(node, photo, size="200").status == 200
    after = children(node)
    assert set(after) == {"editor", "decoder"} and not set(before.values()) & set(after.values())
    metrics = HTTP.request("GET", f"{node.url}/metrics").data.decode()
    assert 'imgedit_worker_restarts_total{model="nano-banana",reason="exit"} 1.0' in metrics
    assert 'imgedit_model_load_seconds{model="nano-banana"}' in metrics


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
def test_a_request_survives_its_worker(node: Started, number: int) -> None:
    photo = large_photo()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(edit, node, photo, output_format="png")
        deadline = time.monotonic() + 30
        while not running(node):
            assert time.monotonic() < deadline and not job.done()
        os.kill(children(node)["editor"].pid, number)
        assert job.result().status == 200
    assert HTTP.request("GET", f"{node.url}/readyz").status == 200


@pytest.mark.slow
def test_a_model_that_crashes_again_and_again_is_told_of(photo: bytes) -> None:
    with started_server() as server:
        stop = threading.Event()

        def hurt() -> None:
            while not stop.wait(0.02):
                for child in psutil.Process(server.process.pid).children():
                    with suppress(psutil.Error):  # just ended
                        if child.cmdline()[-1:] == ["editor"]:
                            child.kill()

        attacker = threading.Thread(target=hurt)
        attacker.start()
        try:
            statuses = {edit(server, photo, size="64").status: "" for _ in range(3)}
        finally:
            stop.set()
            attacker.join()
        assert set(statuses) <= {500, 503}
        ready = HTTP.request("GET", f"{server.url}/readyz")
        assert ready.status == 503 and "crashed repeatedly" in ready.json()["reasons"][0]
        refused = edit(server, photo, size="64")
        assert refused.status == 503 and refused.json()["error"]["code"] in ("no_capacity", "model_resting")
        time.sleep(int(refused.headers["Retry-After"]) + 1)
        assert edit(server, photo, size="64").status == 200
        assert HTTP.request("GET", f"{server.url}/readyz").status == 200


@pytest.mark.slow
def test_an_idle_model_is_unloaded_and_comes_back(photo: bytes, tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "other")
    with started_server("--model", str(tmp_path / "other"), "--idle-seconds", "1") as server:
        assert edit(server, photo, model="other", size="64").status == 200
        deadline = time.monotonic() + 20
        while len(psutil.Process(server.process.pid).children()) > 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert set(children(server)) == {"editor", "decoder"}, "the small model and the decoder are kept"
        assert HTTP.request("GET", f"{server.url}/readyz").status == 200
        assert edit(server, photo, model="other", size="64").status == 200


@pytest.mark.slow
@pytest.mark.parametrize("busy", [False, True])
def test_a_killed_server_leaves_no_child_and_no_file(busy: bool, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TMPDIR", str(folder))
        with started_server() as server:
            left = list(children(server).values())
            if busy:
                client = threading.Thread(target=_refused, args=(server,))
                client.start()
                while not running(server):
                    time.sleep(0.01)
            server.process.kill()
            server.process.wait()
            _, alive = psutil.wait_procs(left, timeout=10)
            if busy:
                client.join()
    assert len(left) == 2 and not alive and left_in(folder) == set()


def _refused(server: Started) -> None:
    with pytest.raises(urllib3.exceptions.HTTPError):
        edit(server, large_photo())


@pytest.mark.slow
def test_sigterm_to_all_processes_finishes_what_runs(tmp_path: Path) -> None:
    """As systemd sends it, and as Ctrl-C in a terminal comes."""
    photo = large_photo(2000, 1500)
    with started_server() as server, ThreadPoolExecutor(1) as pool:
        job = pool.submit(edit, server, photo)
        while not running(server):
            assert not job.done()
        left = list(children(server).values())
        for child in left:
            child.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        assert job.result().status == 200 and server.process.wait(15) == 0
        _, alive = psutil.wait_procs(left, timeout=5)
        assert not alive


def test_a_model_that_can_not_be_opened_leaves_no_child(tmp_path: Path) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "damaged")
    (tmp_path / "damaged" / "text.onnx").write_bytes(bytes((EMBEDDED / "text.onnx").stat().st_size))
    arguments = command("--port", "0", "--model", str(tmp_path / "damaged"))
    ended = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 4 and "text.onnx" in ended.stderr and "Traceback" not in ended.stderr
