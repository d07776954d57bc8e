"""Model families, one file each. A file exposes `FAMILY`."""
