"""Los ficheros de partida de los ejercicios, tal como se le copian al lector."""
