"""Modelos entrenados: usarlos, guardarlos y leerlos, y los que vienen en el paquete."""
