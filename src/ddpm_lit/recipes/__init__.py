"""Recetas: configuraciones de entrenamiento completas y con nombre, una por fichero TOML."""
