"""Graphs for TensorRT: strongly typed ONNX, cut into blocks, with what a board needs to build engines of them."""
