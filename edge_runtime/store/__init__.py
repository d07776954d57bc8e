"""The model store: versions of models side by side, one of each name active, and the way back. See docs/models.md."""
