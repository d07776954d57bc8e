"""A client with an API key of its own: a known caller."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from server.keys import Rule


def keyed(app: Flask) -> FlaskClient:
    """Make a key and a client that sends it with each request. From then on the node wants keys of everybody."""
    client = app.test_client()
    _, client.environ_base["HTTP_X_API_KEY"] = app.extensions["nanoedge"].access.keys.create("test", Rule())
    return client
