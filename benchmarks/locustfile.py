"""Edits by Locust (pip install locust): people who look at a result for a second before they ask for the next.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8080 --photo photo.jpg [--instruction warmer]

NANOEDGE_KEY holds the key, if the server wants one. Refused edits (503, 429) are counted as failures under their code.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path

from locust import HttpUser, constant, events, task  # type: ignore[import-not-found,unused-ignore]

TIMEOUT_SECONDS = 120


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    parser.add_argument("--photo", required=True, help="the photo to edit")
    parser.add_argument("--instruction", default="warmer", help="what to change")


class Editor(HttpUser):
    """One person with one photo."""

    wait_time = constant(1)

    def on_start(self) -> None:
        """Read the photo once."""
        options = self.environment.parsed_options
        self._photo, self._instruction = Path(options.photo).read_bytes(), options.instruction
        if key := os.environ.get("NANOEDGE_KEY"):
            self.client.headers["Authorization"] = f"Bearer {key}"

    @task
    def edit(self) -> None:
        """Ask for an edit."""
        files = {"image": ("photo.jpg", self._photo, "image/jpeg")}
        form = {"prompt": self._instruction}
        with self.client.post(
            "/v1/images/edits", data=form, files=files, timeout=TIMEOUT_SECONDS, catch_response=True,
        ) as answer:
            if not answer.ok:
                said = answer.json()["error"]["code"] if answer.status_code else str(answer.error)
                answer.failure(f"{answer.status_code} {said}")
