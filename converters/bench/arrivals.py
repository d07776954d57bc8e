"""Open loop: edits arrive at a node at random (Poisson), whatever it answers, as users do.

A client that waits for an answer before it asks again hides every queue: the slower the node, the fewer the requests.
Here latency counts from the moment when an edit was due, so that time spent waiting on this side counts too.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from converters.bench import http_client
from converters.bench.edits import PhotoEdit
from converters.bench.http_client import Address
from converters.bench.journal import Journal
from converters.bench.local import Report
from converters.bench.settings import Node
from edge_runtime.errors import OptionError

WARM_UP_EDITS: Final = 3
_REFUSED: Final = 503
_DENIED: Final = (401, 403, 404)


@dataclass(frozen=True, kw_only=True)
class OpenLoop:
    """One measurement of a node at every rate; what the journal has of a rate is not measured again."""

    node: Node
    edits: Sequence[PhotoEdit]
    journal: Journal
    report: Report
    seed: int = 0

    def run(self) -> None:
        """Warm the node up and go through the rates, slow ones first; raises OptionError when it takes no edits."""
        done = {rate for (rate,) in self.journal.keys("rate", "rate")}
        address = Address.parse(self.node.url)
        left = [rate for rate in sorted(self.node.rates) if rate not in done]
        if left:
            http_client.reach(address)
            self._warm_up(address)
        for rate in left:
            arrivals, seconds = self._at(address, rate)
            self.journal.add({"kind": "rate", "rate": rate, "seconds": seconds, "arrivals": arrivals})

    def _warm_up(self, address: Address) -> None:
        for edit in self.edits[:WARM_UP_EDITS]:
            answer = self._ask(address, edit)
            if answer.status in _DENIED or answer.status == 0:
                raise OptionError(
                    "the node takes no edits from here",
                    got=f"{answer.status} {answer.code}".strip(),
                    hint="does it need a key (--key), and has it this model?",
                    param="url",
                )

    def _at(self, address: Address, rate: float) -> tuple[list[dict[str, Any]], float]:
        """Return the arrivals at a rate, and the seconds until the last one had its answer."""
        chooser = random.Random(f"{self.seed} {rate}")
        arrivals: list[dict[str, Any]] = []
        clients = []
        began, due = time.perf_counter(), 0.0
        while (due := due + chooser.expovariate(rate)) < self.node.seconds:
            self.report(f"{rate:g} edits a second", min(int(due), int(self.node.seconds) - 1), int(self.node.seconds))
            edit = chooser.choice(self.edits)
            time.sleep(max(0.0, began + due - time.perf_counter()))
            clients.append(threading.Thread(target=self._come, args=(address, edit, began, due, arrivals), daemon=True))
            clients[-1].start()
        for client in clients:
            client.join()
        self.report(f"{rate:g} edits a second", int(self.node.seconds), int(self.node.seconds))
        return sorted(arrivals, key=lambda arrival: float(arrival["due"])), time.perf_counter() - began

    def _come(
        self, address: Address, edit: PhotoEdit, began: float, due: float, arrivals: list[dict[str, Any]]
    ) -> None:
        late = time.perf_counter() - began - due
        answer = self._ask(address, edit)
        arrivals.append({
            "edit": edit.name, "due": due, "late": late, "seconds": time.perf_counter() - began - due,
            "status": answer.status, "code": answer.code, "retry_seconds": answer.retry_seconds,
        })  # fmt: skip

    def _ask(self, address: Address, edit: PhotoEdit) -> http_client.Answer:
        return http_client.edit(address, edit.data, edit.case.instruction, self.node.model, self.node.key)
