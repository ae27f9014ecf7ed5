"""Un capítulo nuevo, a partir de una plantilla que ya pasa todas las comprobaciones."""
