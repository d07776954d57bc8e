"""`nanoedge bench`: how fast, how good, and what people prefer; of models on photographs, locally or through a node.

torch is imported in `metrics` alone, by the files whose metric needs it.
"""
