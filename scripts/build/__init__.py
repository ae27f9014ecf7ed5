"""La construcción: entrena los modelos pequeños, los mide y deja un manifiesto de todo.

Se llama con `doit -f scripts/build/dodo.py` (o `make artefacts`); cada tarea es una
función corriente de este paquete o de `scripts.figures`.
"""
