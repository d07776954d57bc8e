"""`nanoedge bench`: how fast, how good, and what people prefer."""
