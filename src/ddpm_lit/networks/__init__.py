"""Las demás redes y sus piezas: el MLP de los puntos, los embeddings y la media de los pesos."""
