"""La construcción: entrena los modelos pequeños, los mide y deja un manifiesto de todo.

Se llama con `python -m scripts.build` (o `make artefacts`); cada tarea es una
función corriente de este paquete o de `scripts.figures`.
"""
