"""One file a way to send traces; each exposes `TRACER`, which makes a `server.tracing.Tracing` from an address."""
