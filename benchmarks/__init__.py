"""Benchmarks: cuánto tarda, cuánto ocupa y qué calidad da ddpm_lit, al lado de otros.

Los rivales se instalan de sus paquetes, con su versión fijada (`requirements.txt`), en una carpeta
suya, `build/benchmarks/rivales`, y comparten el PyTorch de ddpm_lit. Cada corredor es un proceso
(`worker`) que da un paso cuando se le pide. La carrera (`race`) se los pide por turnos, A, B, A,
B…, y las proporciones se hacen dentro de cada vuelta: si otro programa frena a uno, casi siempre
frena también a los que corren con él. Cada unidad (`units`, `quality`) deja un JSON con todos los
tiempos en `benchmarks/results/`, y la página «Rendimiento» solo lee esos ficheros (`tables`).

    make benchmarks                      # las que falten; se pueden interrumpir y continuar
    python -m benchmarks train-cifar10   # una; admite comodines
"""
