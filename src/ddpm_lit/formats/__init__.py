"""Formatos de otros: los repositorios de diffusers, el hub y ONNX."""
