"""Core ML: how a torch module becomes a package (`.mlpackage`), and how a package is read and run without a Mac."""
