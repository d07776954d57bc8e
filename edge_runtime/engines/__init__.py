"""Hardware backends, one file each. A file exposes `ENGINE`; see `edge_runtime.engine` for what that must do."""
