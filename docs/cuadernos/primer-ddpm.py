# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Vuestro primer DDPM en diez minutos
#
# Vamos a hacer un modelo de difusión entero: cogemos cifras escritas a mano, aprendemos a quitarles
# ruido y acabamos generando cifras que no ha escrito nadie. Son diez minutos de lectura y uno de
# entrenamiento, sin GPU. Las razones de cada cosa están en los capítulos del libro; aquí venimos a
# verlo funcionar.
#
# Los dos bucles importantes los escribiremos a mano, para que no quede nada escondido. Lo demás lo
# pone el paquete `ddpm_lit`. Si no lo tenéis, dentro de una copia del repositorio:
# `pip install ".[datos]" matplotlib`.

# %%
# %matplotlib inline
import time

import matplotlib.pyplot as plt
import torch

from ddpm_lit import (
    EMA,
    Diffusion,
    UNet,
    UNetConfig,
    load_dataset,
    make_schedule,
    p_mean_variance,
    q_sample,
)

torch.manual_seed(0)


def mostrar(imagenes, columnas=10, titulos=None):
    """Dibuja imágenes (N, 1, 8, 8) en una cuadrícula."""
    filas = -(-len(imagenes) // columnas)
    medidas = (0.8 * columnas, (1.0 if titulos else 0.8) * filas)
    _, ejes = plt.subplots(
        filas, columnas, figsize=medidas, squeeze=False, layout="constrained"
    )
    for eje in ejes.flat:
        eje.axis("off")
    for i, imagen in enumerate(imagenes):
        eje = ejes.flat[i]
        eje.imshow(imagen[0], cmap="gray", vmin=-1, vmax=1)
        if titulos:
            eje.set_title(titulos[i], fontsize=8)
    plt.show()


# %% [markdown]
# ## 1. Los datos, $x_0$
#
# Los dígitos de scikit-learn son 1797 imágenes de 8×8 píxeles. Llegan ya con valores entre $-1$
# (negro) y $1$ (blanco), que es lo que supone toda la teoría.

# %% alt="Veinte cifras escritas a mano, de ocho por ocho píxeles."
datos = load_dataset("digits").x
print(
    "forma:",
    tuple(datos.shape),
    "  valores: de",
    datos.min().item(),
    "a",
    datos.max().item(),
)
mostrar(datos[:20])

# %% [markdown]
# ## 2. Cuánto ruido: el schedule
#
# Vamos a estropear cada imagen en $T$ pasos. Lo que importa en cada uno es un número,
# $\bar\alpha_t$: la parte de la imagen que sobrevive (al cuadrado). Empieza cerca de 1 y acaba
# cerca de 0. El artículo usa $T = 1000$; con $T = 250$ tardaremos la cuarta parte en generar, y el
# paquete reescala las $\beta_t$ para que el recorrido sea el mismo.

# %% alt="Dos curvas frente a t: la señal baja de uno a cero y el ruido sube de cero a uno."
T = 250
schedule = make_schedule("linear", timesteps=T)

plt.figure(figsize=(6, 2.5))
plt.plot(schedule.sqrt_alphas_cumprod, label=r"señal, $\sqrt{\bar\alpha_t}$")
plt.plot(
    schedule.sqrt_one_minus_alphas_cumprod,
    label=r"ruido, $\sqrt{1-\bar\alpha_t}$",
)
plt.xlabel("índice de t")
plt.legend()
plt.show()

# %% [markdown]
# ## 3. Estropear: el forward process
#
# No hace falta dar los pasos de uno en uno. Con un ruido $\epsilon \sim \mathcal{N}(0, I)$ se llega
# de un salto a cualquier $t$:
#
# $$
# x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon
# \label{citada:cuaderno-salto}
# $$
#
# Eso es lo que hace `q_sample`. Veamos la misma cifra con cada vez más ruido:

# %% alt="La misma cifra en diez instantes: nítida al principio y convertida en ruido al final."
t = torch.linspace(0, T - 1, 10).long()
ruido = torch.randn(1, 1, 8, 8).expand(10, -1, -1, -1)
mostrar(
    q_sample(schedule, datos[10:11], t, ruido),
    titulos=[f"t = {i + 1}" for i in t.tolist()],
)

# %% [markdown]
# ## 4. La red
#
# Una U-Net pequeña. Recibe la imagen estropeada y el instante, $(x_t, t)$, y tiene que decir qué
# ruido lleva dentro: $\epsilon_\theta(x_t, t)$. Por cómo se inicializa, antes de entrenar responde
# siempre 0.

# %%
red = UNet(
    UNetConfig(
        in_channels=1,
        block_out_channels=(32, 64),
        layers_per_block=1,
        attention=(False, True),
        norm_num_groups=8,
    )
)
print(
    f"{sum(p.numel() for p in red.parameters()):,} parámetros".replace(",", " ")
)
print(
    "respuesta inicial:",
    red(torch.randn(2, 1, 8, 8), torch.tensor([3, 100])).abs().max().item(),
)

# %% [markdown]
# ## 5. Entrenar: el Algoritmo 1
#
# Una imagen, un instante al azar, un ruido al azar, y un paso de gradiente sobre
#
# $$
# L_{\text{simple}} = \operatorname{E}_{t, x_0, \epsilon}
# \left[\left\lVert \epsilon - \epsilon_\theta(x_t, t) \right\rVert^2\right]
# \label{citada:cuaderno-perdida}
# $$
#
# En el código se promedia entre los píxeles, y eso solo cambia la escala. Y dos ayudas: la tasa de
# aprendizaje sube al principio y baja hasta casi cero al final (`OneCycleLR`), y se guarda una
# media móvil de los pesos (EMA), que es con la que generaremos.

# %% smoke="pasos = 5"
pasos = 700

# %%
ema = EMA(red, decay=0.995)
optimizador = torch.optim.AdamW(red.parameters(), lr=2e-3)
tasa = torch.optim.lr_scheduler.OneCycleLR(
    optimizador, max_lr=2e-3, total_steps=pasos
)
red.train()
perdidas, inicio = [], time.perf_counter()
for paso in range(pasos):
    x_0 = datos[torch.randint(len(datos), (64,))]  # unas imágenes
    t = torch.randint(T, (64,))  # un instante para cada una
    ruido = torch.randn_like(x_0)  # y un ruido
    x_t = q_sample(schedule, x_0, t, ruido)

    perdida = (ruido - red(x_t, t)).square().mean()

    optimizador.zero_grad()
    perdida.backward()
    torch.nn.utils.clip_grad_norm_(red.parameters(), 1.0)
    optimizador.step()
    tasa.step()
    ema.update(red)

    perdidas.append(perdida.item())
    if (paso + 1) % 100 == 0:
        media = sum(perdidas[-100:]) / 100
        print(
            f"paso {paso + 1}: pérdida {media:.3f}, "
            f"{time.perf_counter() - inicio:.0f} s"
        )

# %% alt="La pérdida frente al paso: cae muy deprisa desde uno y después baja despacio."
plt.figure(figsize=(6, 2.5))
plt.plot(perdidas, linewidth=0.7)
plt.yscale("log")
plt.xlabel("paso")
plt.ylabel("pérdida")
plt.show()

# %% [markdown]
# Empieza en 1, que es lo que paga quien siempre responde 0, y cae enseguida. No llega a 0:
# con poco ruido, a la red le cuesta saber qué es ruido y qué es trazo.
#
# ## 6. Generar: el Algoritmo 2
#
# Empezamos por ruido puro, $x_T$, y deshacemos los pasos de uno en uno:
#
# $$
# x_{t-1} = \frac{1}{\sqrt{\alpha_t}}
# \left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\, \epsilon_\theta(x_t, t)\right) + \sigma_t z
# \label{citada:cuaderno-paso}
# $$
#
# con $z$ ruido nuevo, salvo en el último paso, en el que no se añade nada. `p_mean_variance`
# calcula esa media; por el camino pasa por $\hat x_0$, lo que la red cree que hay debajo del
# ruido, y lo recorta a $[-1, 1]$, que es donde viven los datos. La $\hat x_0$ nos la quedamos
# para verla.

# %%
# la red predice ε, con la varianza pequeña y con recorte
proceso = Diffusion(schedule)
x = torch.randn(40, 1, 8, 8)
pelicula = []
with torch.no_grad():
    for indice in reversed(range(T)):
        t = torch.full((40,), indice)
        paso_atras = p_mean_variance(proceso, ema.model(x, t), x, t)
        x = paso_atras.mean
        if indice > 0:
            x = x + paso_atras.variance.sqrt() * torch.randn_like(x)
        if indice % 25 == 0:
            pelicula += [(indice, x[0], paso_atras.x_start[0])]

# %% alt="Arriba, ruido que se hace cifra; abajo, lo que la red imagina, cada vez más nítido."
mostrar(
    [estado for _, estado, _ in pelicula]
    + [imaginada for _, _, imaginada in pelicula],
    titulos=[f"t = {i}" for i, _, _ in pelicula] + [""] * len(pelicula),
)

# %% [markdown]
# Arriba, la muestra en cada momento; abajo, lo que la red imagina ($\hat x_0$). Con $t$ muy alto
# casi no queda señal y sus errores se amplifican: solo imagina ruido. Después aparece un borrón,
# luego la forma general y, al final, los detalles. Y aquí están las cuarenta, sin elegir:

# %% alt="Cuadrícula de cuarenta cifras generadas por la red, la mayoría legibles."
mostrar(x)

# %% [markdown]
# Ya está: eso es un DDPM. Con un minuto de entrenamiento no todas salen bien, y se puede seguir
# tirando del hilo:
#
# - **Más pasos.** Cambiad `pasos` por 3000 y volved a mirar la cuadrícula.
# - **Sin ruido.** Quitad el `if` que suma ruido al generar. ¿Adónde van a parar todas las muestras?
# - **Sin media móvil.** Generad con `red.eval()` en lugar de `ema.model`.
# - **Otra predicción.** Haced que la red prediga $v = \sqrt{\bar\alpha_t}\,\epsilon -
#   \sqrt{1-\bar\alpha_t}\,x_0$ (y decídselo al proceso: `Diffusion(schedule, "v")`).
#
# En el paquete, estos dos bucles son las funciones `algorithm1` y `algorithm2`, y un entrenamiento
# completo, con copias de seguridad y clases, es una orden: `ddpm-lit train digits-class`.
