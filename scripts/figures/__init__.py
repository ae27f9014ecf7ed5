"""Las figuras del libro, un módulo por capítulo.

Cada módulo puede tener `FIGURES`, de nombre a función que dibuja una figura de matplotlib en una
paleta; `ANIMATIONS`, de nombre a función que da los fotogramas, y con ellas `POSTERS`, el fotograma
fijo de cada una, y `CRF`, cuánto se comprime; e `IMAGES`, de nombre a función que da una imagen.
`INPUTS` nombra los modelos y las muestras que lee.
"""
