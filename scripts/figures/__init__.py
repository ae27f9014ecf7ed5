"""Las figuras del libro, un módulo por capítulo.

Cada módulo tiene `FIGURES`, de nombre a función que dibuja una figura de matplotlib en una
paleta, y puede tener `ANIMATIONS`, de nombre a función que da los fotogramas; `INPUTS`
nombra los modelos y las muestras que lee.
"""
