"""An edge without any large model, and a central that paints with a tiny FLUX.1 Kontext: two processes."""

from __future__ import annotations

import base64
import json
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import openai
import pytest
import urllib3
from PIL import Image

from converters.pipelines.flux_kontext import PREFERRED_PIXELS
from edge_runtime import outgoing
from edge_runtime.editor import Editor
from edge_runtime.generators import finished
from edge_runtime.request import EditRequest, Size, Step
from edge_runtime.workers import Crew, Workers
from tests.server.started import ROOT, command, started_server

pytestmark = pytest.mark.slow
WORDS = "now put a small red hat on the cup"


@pytest.fixture(scope="module")
def kontext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Kontext that sees photos at small sizes."""
    from tiny.artifact import converted
    from tiny.flux_kontext import build

    folder = tmp_path_factory.mktemp("central")
    build(folder / "checkpoint")
    small = [[width // 4, height // 4] for width, height in PREFERRED_PIXELS]
    return converted(folder / "checkpoint", folder, size={"preferred": small})["fp32"]


def test_the_central_paints_what_the_edge_can_not(kontext: Path, tmp_path: Path, photo: bytes) -> None:
    with started_server("--role", "central", "--model", str(kontext), "--device", "cpu") as central:
        models = urllib3.request("GET", f"{central.url}/v1/models").json()["data"]
        name = next(entry["id"] for entry in models if entry["id"] != "nano-banana")
        entry = {
            "name": "gpu", "kind": "openai-compatible", "base_url": f"{central.url}/v1", "model": name,
            "family": "flux-kontext", "seconds": 20,
        }  # fmt: skip
        file = tmp_path / "providers.json"
        file.write_text(json.dumps({"fallback": "allow", "providers": [entry]}))
        with (
            started_server("--providers", str(file)) as edge,
            openai.OpenAI(base_url=f"{edge.url}/v1", api_key="none", max_retries=0, timeout=120) as client,
        ):
            events = list(client.images.edit(
                image=("p.jpg", photo), prompt=WORDS, size="128x128", output_format="png", stream=True,
                partial_images=1, extra_body={"seed": 7, "num_inference_steps": 2, "model": "auto"},
            ))  # fmt: skip
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    final = events[1]
    route = final.model_extra["x_route"]
    assert (route["site"], route["name"], route["model"]) == ("central", "gpu", name)
    assert route["not_chosen"][0]["name"] == "nano-banana"
    done = np.asarray(Image.open(BytesIO(base64.b64decode(final.b64_json))).convert("RGB"), int)
    sent = outgoing.picture(photo, Size(width=128, height=128))
    with Editor.open(kontext) as editor:
        assert final.model_extra["x_version"] == editor.artifact.version
        alone = editor.edit(EditRequest(
            image=sent.data, instruction=WORDS, seed=7, steps=2, output_format="png",
            size=Size(width=sent.width, height=sent.height),
        ))  # fmt: skip
    assert (np.asarray(Image.open(BytesIO(alone.image)).convert("RGB"), int) == done).mean() > 0.99


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--role", "central"), "needs a model of its own"),
        (("--role", "central", "--model", "{kontext}", "--providers", "{kontext}/none.json"), "sends nothing on"),
        (("--role", "central", "--model", "{kontext}", "--device", "tensorrt"), "can't use the device"),
        (("--role", "central", "--model", "{kontext}", "--device", "abacus"), "can't use the device"),
    ],
)  # fmt: skip
def test_a_central_that_could_not_keep_its_promise_does_not_start(
    kontext: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = [argument.format(kontext=kontext) for argument in arguments]
    ended = subprocess.run(command("--port", "0", *given), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode in (2, 5) and words in ended.stderr and "Traceback" not in ended.stderr


def test_a_central_refuses_at_once_what_it_can_not_do_in_time(kontext: Path, photo: bytes) -> None:
    with started_server("--role", "central", "--model", str(kontext)) as central:
        models = urllib3.request("GET", f"{central.url}/v1/models").json()["data"]
        name = next(entry["id"] for entry in models if entry["id"] != "nano-banana")
        fields = {"image": ("p.jpg", photo), "instructions": WORDS, "model": name, "size": "128", "steps": "2"}
        assert urllib3.request("POST", f"{central.url}/edit", fields=fields, timeout=120).status == 200
        late = urllib3.request("POST", f"{central.url}/edit", fields={**fields, "deadline_ms": "1"}, timeout=120)
        assert late.status == 504 and late.json()["error"]["code"] == "deadline_too_short"


def test_steps_previews_and_cancelling_go_through_the_process_of_a_model(kontext: Path, photo: bytes) -> None:
    request = EditRequest(
        image=photo, instruction=WORDS, seed=7, steps=3, output_format="png", size=Size(width=128, height=128),
        previews=True,
    )  # fmt: skip
    workers = Workers(Crew())
    worker = workers.editor(kontext, threads=1)
    with Editor.open(kontext, threads=1) as editor:
        assert worker.abilities == editor.abilities and worker.abilities is not None
        seen: list[tuple[Step, ...]] = [(), ()]
        results = []
        for place, one in enumerate((editor, worker)):
            told: list[Step] = []
            results.append(finished(one.steps(request), told.append))
            seen[place] = tuple(told)
    assert seen[0] == seen[1] and results[0].image == results[1].image and results[1].seed == 7
    for here, there in zip(*seen, strict=True):
        assert (here.preview is None) == (there.preview is None)
        assert here.preview is None or np.array_equal(here.preview, there.preview)
    assert sum(step.preview is not None for step in seen[1]) >= 2
    steps = worker.steps(request)
    while next(steps).done < 1:
        pass
    steps.close()
    assert finished(worker.steps(request)).image == results[0].image and not worker.fate.restarts
    workers.close()
