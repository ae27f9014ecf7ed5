"""Medir: cómo de buenas son unas muestras, y un modelo frente a los datos de su receta."""
