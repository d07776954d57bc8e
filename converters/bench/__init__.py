"""`nanoedge bench`: measures models on photographs, locally or through a node, and writes a report.

torch is imported in `metrics` alone, by the files whose metric needs it.
"""
