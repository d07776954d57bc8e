"""What editors that paint by denoising have in common: the parts that the families put together. NumPy only."""
