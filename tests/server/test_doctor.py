"""`nanoedge doctor` as an operator runs it, on a machine with one fault planted at a time."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edge_runtime.editor import EMBEDDED
from edge_runtime.machine import Machine
from server.doctor import system
from server.doctor.finding import Status
from tests.program import program
from tests.server.started import Started

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


class Examined:
    """What one run of the command came to."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        assert done.returncode in (0, 1), done.stderr
        self.code = done.returncode
        self.findings: list[dict[str, str]] = json.loads(done.stdout)

    def of(self, subject: str) -> list[dict[str, str]]:
        return [finding for finding in self.findings if finding["subject"] == subject]

    def wrong(self, status: str = "fail") -> dict[str, str]:
        """The only finding of that status."""
        (found,) = [finding for finding in self.findings if finding["status"] == status]
        return found


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def doctor(*options: str | Path | int, shell: str = "", **variables: str) -> Examined:
    """Run the command; `shell` is what a shell does before it becomes the command. Mounts end with it."""
    command = [*program(), "doctor", "--json", *map(str, options)]
    if shell:
        own_mounts = ["unshare", "--mount"] if "mount" in shell else []
        command = [*own_mounts, "sh", "-c", f'{shell}; exec "$@"', "sh", *command]
    environment = {**os.environ, **variables}
    return Examined(subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment))


def test_a_sound_machine(state: Path, port: int) -> None:
    found = doctor("--state", state, "--port", port)
    assert found.code == 0
    assert not [finding for finding in found.findings if finding["status"] == "fail"]
    subjects = {finding["subject"] for finding in found.findings}
    assert {"processor", "memory", "state folder", "model nano-banana", "device cpu", "port", "clock"} <= subjects
    assert all(bool(finding["fix"]) == (finding["status"] != "ok") for finding in found.findings)
    assert list(state.iterdir()) == []


def test_how_much_is_kept(state: Path, port: int) -> None:
    (state / "results" / "anna").mkdir(parents=True)
    (state / "results" / "anna" / "picture").write_bytes(bytes(2_300_000))
    (state / "jobs.sqlite").write_bytes(bytes(1_200_000))
    (kept,) = doctor("--state", state, "--port", port).of("kept")
    assert kept["status"] == "ok" and "jobs take 1.2 MB, results 2.3 MB; nanoedge serve --keep-mb" in kept["found"]


def test_the_table_for_people(state: Path, port: int) -> None:
    command = [*program(), "doctor", "--state", str(state), "--port", str(port), "--device", "tpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "ok    cores" in done.stdout and "fail  device tpu" in done.stdout and "-> install" in done.stdout
    assert done.stdout.rstrip().endswith("1 wrong") and not done.stderr


def test_1_few_open_files(state: Path, port: int) -> None:
    found = doctor("--state", state, "--port", port, shell="ulimit -n 256")
    assert found.code == 1 and found.wrong()["subject"] == "open files" and "LimitNOFILE" in found.wrong()["fix"]


def test_2_a_limited_address_space(state: Path, port: int) -> None:
    found = doctor("--state", state, "--port", port, shell="ulimit -v 1900000")
    assert found.code == 1 and found.wrong()["subject"] == "address space" and "ulimit -v" in found.wrong()["fix"]


def test_3_a_file_where_the_state_should_be(state: Path, port: int) -> None:
    (state / "file").write_text("")
    found = doctor("--state", state / "file" / "nanoedge", "--port", port)
    assert found.wrong()["subject"] == "state folder" and "--state" in found.wrong()["fix"]


@root_only
@pytest.mark.parametrize(
    ("options", "fix"),
    [("size=100k", "free some space"), ("size=10m,ro", "read-only"), ("size=50m,nr_inodes=1", "free some space")],
)
def test_4_a_full_or_read_only_disk(state: Path, port: int, options: str, fix: str) -> None:
    mount = f"mount -t tmpfs -o {options} tmpfs {state}; (head -c 1000000 /dev/zero > {state}/filling) 2>/dev/null"
    found = doctor("--state", state, "--port", port, shell=mount)
    assert found.wrong()["subject"] == "state folder" and fix in found.wrong()["fix"]


@root_only
def test_5_a_temporary_folder_that_nothing_runs_from(state: Path, port: int, tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o noexec,size=300m tmpfs {tmp_path}; mkdir -m 700 {state}"
    found = doctor("--state", state, "--port", port, shell=mount, TMPDIR=str(tmp_path))
    (noexec,) = [finding for finding in found.of("temporary folder") if finding["status"] == "warn"]
    assert "noexec" in noexec["found"] and "TMPDIR" in noexec["fix"] and "folder build" in noexec["fix"]


def test_6_a_damaged_model(state: Path, port: int, tmp_path: Path) -> None:
    damaged = tmp_path / "mine"
    shutil.copytree(EMBEDDED, damaged)
    data = bytearray((damaged / "vision.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "vision.onnx").write_bytes(data)
    found = doctor("--state", state, "--port", port, "--model", damaged)
    assert found.wrong()["subject"] == "model mine" and "vision.onnx" in found.wrong()["found"]
    assert "copy it again" in found.wrong()["fix"]


def test_7_a_port_that_is_taken(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = doctor("--state", state, "--port", other.getsockname()[1])
    assert found.wrong()["subject"] == "port" and "--port" in found.wrong()["fix"]


def test_a_port_that_our_server_has(state: Path, running: Started) -> None:
    assert doctor("--state", state, "--port", running.port).of("port")[0]["status"] == "ok"


def providers(folder: Path, **entry: str) -> Path:
    file = folder / "providers.json"
    known = {"name": "central", "kind": "openai-compatible", "model": "m", **entry}
    file.write_text(json.dumps({"providers": [known]}))
    return file


def test_8_a_provider_without_its_key(state: Path, port: int, tmp_path: Path) -> None:
    file = providers(tmp_path, base_url="https://gpu.example.com/v1", key_env="NANOEDGE_NO_SUCH_KEY")
    found = doctor("--state", state, "--port", port, "--providers", file)
    assert found.wrong()["subject"] == "providers file" and "NANOEDGE_NO_SUCH_KEY" in found.wrong()["found"]
    assert "variables" in found.wrong()["fix"]


def test_9_a_provider_that_nobody_answers_for(state: Path, port: int, tmp_path: Path) -> None:
    file = providers(tmp_path, base_url=f"http://127.0.0.1:{port}/v1")
    found = doctor("--state", state, "--port", port, "--providers", file)
    assert found.wrong()["subject"] == "provider central" and "firewall" in found.wrong()["fix"]


@contextmanager
def elsewhere(offset_seconds: float) -> Iterator[int]:
    """A server whose clock differs from ours."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + offset_seconds)

        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_10_a_clock_that_is_wrong(state: Path, port: int, tmp_path: Path) -> None:
    with elsewhere(3600) as address:
        file = providers(tmp_path, base_url=f"http://127.0.0.1:{address}/v1")
        found = doctor("--state", state, "--port", port, "--providers", file)
    assert found.of("provider central")[0]["status"] == "ok"
    assert found.wrong()["subject"] == "clock" and "timedatectl" in found.wrong()["fix"]


def test_11_files_from_the_future(state: Path, port: int) -> None:
    (state / "jobs").touch()
    os.utime(state / "jobs", (2e9, 2e9))
    found = doctor("--state", state, "--port", port)
    assert found.wrong()["subject"] == "clock" and "2033" in found.wrong()["found"]


def test_12_a_device_that_is_not_there(state: Path, port: int) -> None:
    found = doctor("--state", state, "--port", port, "--device", "directml")
    assert found.wrong()["subject"] == "device directml" and "driver" in found.wrong()["fix"]
    assert found.of("device cpu")[0]["status"] == "ok"


def test_13_no_authorities(state: Path, port: int) -> None:
    found = doctor("--state", state, "--port", port, SSL_CERT_FILE="/nowhere.pem", SSL_CERT_DIR="/nowhere")
    assert found.of("certificates")[0]["status"] == "warn" and "SSL_CERT_FILE" in found.of("certificates")[0]["fix"]


def test_14_state_that_others_can_read(state: Path, port: int) -> None:
    state.chmod(0o755)
    found = doctor("--state", state, "--port", port)
    assert found.wrong("warn")["subject"] == "state folder" and "chmod 700" in found.wrong("warn")["fix"]


def test_15_little_memory_and_an_old_processor(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 262144 kB\nMemAvailable: 200000 kB\n")
    (tmp_path / "proc" / "cpuinfo").write_text("flags : sse2 sse4_1\n")
    assert system.memory(Machine.detect(tmp_path)).status is Status.FAIL
    processor = system.processor(tmp_path, "x86_64")
    assert processor.status is Status.WARN and "fp32" in processor.fix
    assert system.cores(1).status is Status.WARN
