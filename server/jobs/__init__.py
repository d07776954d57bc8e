"""Edits that outlive the connection and the process: kept sealed in SQLite, leased, ended exactly once."""
