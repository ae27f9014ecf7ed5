"""Un entrenamiento: su registro, sus checkpoints, sus muestras por el camino y cómo se retoma."""
