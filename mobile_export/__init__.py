"""Artifact -> a folder that an app adds to its build. Reads artifacts, runs nothing; knows no converter, no server."""
