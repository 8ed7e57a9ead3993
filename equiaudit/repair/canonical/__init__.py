"""The canonical form of an image written into files: torch archives and ONNX."""
