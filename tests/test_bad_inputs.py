"""Entradas malas por toda la interfaz pública, y la frase que recibe cada una.

Cada mensaje dice en español qué ha llegado, qué se esperaba y, si hace falta, qué hacer; aquí
se comprueban las palabras que no pueden faltar.
"""

import math
import re
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import tiny
from ddpm_lit.backward import p_mean_variance
from ddpm_lit.cli import main
from ddpm_lit.data import Dataset, load_dataset, split
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.files.images import grid, load_picture, points_image, save_gif, to_uint8
from ddpm_lit.forward import q_mean_variance, q_sample, q_step
from ddpm_lit.improved import make_loss
from ddpm_lit.losses import (
    discretized_gaussian_log_likelihood,
    loss_weight,
    simple_loss,
    weighted_mse,
)
from ddpm_lit.machine.devices import choose_device
from ddpm_lit.models.pretrained import load_pretrained
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.models.trained import Trained
from ddpm_lit.networks.ema import EMA
from ddpm_lit.networks.mlp import MLP, MLPConfig
from ddpm_lit.noise import (
    Stream,
    TrainingDraws,
    batch_indices,
    keyed_generator,
    sampling_noise,
    training_draws,
)
from ddpm_lit.parametrisation import convert, to_epsilon
from ddpm_lit.posterior import q_posterior
from ddpm_lit.recipes.reading import load_recipe
from ddpm_lit.runs.checkpoint import MODEL
from ddpm_lit.runs.train import Every, train
from ddpm_lit.sampling import ancestral, make_sampler, sample
from ddpm_lit.scheduler import (
    Schedule,
    constant_betas,
    linear_betas,
    make_schedule,
    rescale_zero_terminal_snr,
    respace,
    scaled_linear_betas,
    sigmoid_betas,
    spaced_indices,
)
from ddpm_lit.training import algorithm1, gradient_step
from ddpm_lit.unet import UNet, UNetConfig

LINEAR = make_schedule("linear", 100)
ZERO_SNR = rescale_zero_terminal_snr(LINEAR)
PROCESS = Diffusion(LINEAR)
X = torch.zeros(4, 3)
T = torch.tensor([0, 1, 50, 99])
SMALL = {
    "in_channels": 1,
    "block_out_channels": (4, 4),
    "attention": (False, False),
    "layers_per_block": 1,
    "norm_num_groups": 2,
}
UNET = UNet(UNetConfig(**SMALL, num_classes=3))
PLAIN = UNet(UNetConfig(**SMALL))
IMAGE = torch.zeros(2, 1, 8, 8)
TIMES = torch.tensor([0, 1])
TOY = Trained(tiny.toy().build_model(), tiny.toy(), (2,), {})
DIGITS = Trained(tiny.digits().build_model(), tiny.digits(), (1, 8, 8), {})


def zeros(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x)


class Wrapped:
    """Lo que devuelven las redes de otras bibliotecas: el tensor va en `sample`."""

    def __init__(self, sample: torch.Tensor) -> None:
        self.sample = sample


def wrapping(x: torch.Tensor, t: torch.Tensor) -> Wrapped:
    return Wrapped(x)


def sampled(**options: Any) -> torch.Tensor:
    return sample(zeros, PROCESS, (2,), **{"indices": range(2)} | options)


def trained_on(batch: Any, model: Any = zeros) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    list(algorithm1(model, PROCESS, [batch], TrainingDraws(), gradient_step(optimizer)))


# Nombre del caso, lo que se hace, y las palabras del mensaje.
CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    # --- scheduler
    "un schedule que no existe": (
        lambda: make_schedule("lineal"),
        ValueError,
        "ningún schedule «lineal».*linear, .*cosine",
    ),
    "una opción que el schedule no tiene": (
        lambda: make_schedule("cosine", 100, beta_start=0.1),
        ValueError,
        "«cosine» no admite las opciones.*beta_start",
    ),
    "T no es un entero": (
        lambda: make_schedule("linear", 10.5),
        ValueError,
        r"T debe ser un entero positivo y ha llegado 10\.5",
    ),
    "T negativo": (lambda: make_schedule("cosine", -3), ValueError, "entero positivo.*-3"),
    "el lineal con T demasiado pequeño": (
        lambda: linear_betas(20),
        ValueError,
        "T = 20: su mayor beta sería 1.*T ≥ 21, o el schedule «cosine»",
    ),
    "el constante con T demasiado pequeño": (
        lambda: constant_betas(10),
        ValueError,
        "constante.*T = 10.*Usa T ≥ 11",
    ),
    "betas negativas": (
        lambda: scaled_linear_betas(100, -0.1, 0.1),
        ValueError,
        r"beta_start = -0\.1 y beta_end = 0\.1.*entre 0 y 1",
    ),
    "una beta mayor que 1": (
        lambda: Schedule.from_betas([0.1, 1.2]),
        ValueError,
        r"0 < β < 1.*valores entre 0\.1 y 1\.2",
    ),
    "una beta que no es un número": (
        lambda: Schedule.from_betas([0.1, math.nan]),
        ValueError,
        "0 < β < 1",
    ),
    "ninguna beta": (
        lambda: Schedule.from_betas([]),
        ValueError,
        r"tabla \(T,\) con T ≥ 1 y su forma es \(0,\)",
    ),
    "betas en una tabla de dos dimensiones": (
        lambda: Schedule.from_betas(torch.full((2, 2), 0.1)),
        ValueError,
        r"su forma es \(2, 2\)",
    ),
    "ᾱ que no decrece": (
        lambda: Schedule.from_alphas_cumprod([0.5, 0.6]),
        ValueError,
        "estrictamente decreciente.*ᾱ₀ = 1, quita ese primer valor",
    ),
    "ᾱ que empieza en 1": (
        lambda: Schedule.from_alphas_cumprod([1.0, 0.5]),
        ValueError,
        "quita ese primer valor",
    ),
    "la sigmoide al revés": (
        lambda: sigmoid_betas(100, start=3, end=-3),
        ValueError,
        "start < end.*start = 3, end = -3",
    ),
    "señal nula en un schedule de un paso": (
        lambda: rescale_zero_terminal_snr(Schedule.from_betas([0.5])),
        ValueError,
        "un solo paso.*Usa T ≥ 2",
    ),
    "más pasos de los que hay": (
        lambda: spaced_indices(100, 101),
        ValueError,
        "101 pasos de un proceso que tiene 100: pide entre 1 y 100",
    ),
    "un reparto que no existe": (
        lambda: spaced_indices(100, 10, "raro"),
        ValueError,
        "ningún reparto «raro».*linspace, leading, trailing",
    ),
    "un número de pasos en lugar de sus índices": (
        lambda: respace(LINEAR, 10),
        ValueError,
        r"son 10, un solo número.*spaced_indices\(100, 10\)",
    ),
    "pasos que descienden": (
        lambda: respace(LINEAR, [50, 10]),
        ValueError,
        r"estrictamente crecientes y estar entre 0 y 99; han llegado \[50, 10\]",
    ),
    "pasos fuera del schedule": (
        lambda: respace(LINEAR, [0, 100]),
        ValueError,
        "entre 0 y 99",
    ),
    # --- forward y posterior
    "t fuera de rango": (
        lambda: q_sample(LINEAR, X, torch.tensor([0, 1, 2, 100]), X),
        ValueError,
        "entre 0 y 99.*el índice 0 es el t = 1.*entre 0 y 100",
    ),
    "t negativo": (
        lambda: q_sample(LINEAR, X, torch.tensor([0, 1, 2, -1]), X),
        ValueError,
        "t debe estar entre 0 y 99",
    ),
    "t con decimales": (
        lambda: q_sample(LINEAR, X, T.float(), X),
        TypeError,
        r"índices enteros \(int64\) y ha llegado torch\.float32",
    ),
    "t sin dimensión": (
        lambda: q_step(LINEAR, X, torch.tensor(3), X),
        ValueError,
        r"t debe tener forma \(B,\).*\(\)",
    ),
    "t que no es uno por ejemplo": (
        lambda: q_mean_variance(LINEAR, X, T[:3]),
        ValueError,
        "3 en «t», 4 en «x_start».*un índice t por ejemplo",
    ),
    "ruido de otra forma": (
        lambda: q_sample(LINEAR, X, T, torch.zeros(4, 2)),
        ValueError,
        r"«noise» tiene forma \(4, 2\) y «x_start» \(4, 3\)",
    ),
    "ruido que se repetiría sin querer": (
        lambda: q_sample(LINEAR, X, T, torch.zeros(4, 1)),
        ValueError,
        r"«noise» tiene forma \(4, 1\)",
    ),
    "ruido para otro número de ejemplos": (
        lambda: q_step(LINEAR, X, T, torch.zeros(2, 3)),
        ValueError,
        "4 en «x_prev», 2 en «noise»",
    ),
    "imágenes de 8 bits sin convertir": (
        lambda: q_sample(LINEAR, X.to(torch.uint8), T, X),
        TypeError,
        r"coma flotante, con valores en \[-1, 1\], y son torch\.uint8",
    ),
    "x_0 y x_t de formas distintas": (
        lambda: q_posterior(LINEAR, X, torch.zeros(4, 5), T),
        ValueError,
        r"«x_t» tiene forma \(4, 5\) y «x_start» \(4, 3\)",
    ),
    # --- backward
    "una predicción que no existe": (
        lambda: Diffusion(LINEAR, "ruido"),
        ValueError,
        "no puede predecir «ruido».*epsilon, x_start, v, posterior_mean",
    ),
    "ε con señal terminal nula": (
        lambda: Diffusion(ZERO_SNR, "epsilon"),
        ValueError,
        "no se puede predecir «epsilon».*Usa la predicción «v» o «x_start»",
    ),
    "convertir a lo que no existe": (
        lambda: convert(LINEAR, X, X, T, "epsilon", "ruido"),
        ValueError,
        "«ruido».*epsilon, x_start, v, posterior_mean",
    ),
    "una varianza que no existe": (
        lambda: Diffusion(LINEAR, "epsilon", "aprendida"),
        ValueError,
        "ninguna varianza «aprendida».*fixed_small, fixed_large, learned",
    ),
    "un recorte que no lo es": (
        lambda: Diffusion(LINEAR, clip="no"),
        TypeError,
        "clip es 'no' y debe ser True, False o una función",
    ),
    "la red responde con otra forma": (
        lambda: p_mean_variance(PROCESS, torch.zeros(4, 6), X, T),
        ValueError,
        r"salida de la red tiene forma \(4, 6\) y x_t tiene \(4, 3\)",
    ),
    "la red no responde con un tensor": (
        lambda: p_mean_variance(PROCESS, Wrapped(X), X, T),
        TypeError,
        r"ha devuelto un Wrapped y debe devolver un tensor.*\.sample",
    ),
    "generar con una red que no responde con un tensor": (
        lambda: sample(wrapping, PROCESS, (2,), indices=range(2)),
        TypeError,
        r"ha devuelto un Wrapped y debe devolver un tensor.*\.sample",
    ),
    "ε de formas que no casan": (
        lambda: to_epsilon(LINEAR, torch.zeros(4, 1), X, T),
        ValueError,
        r"«x_t» tiene forma \(4, 3\) y «x_start» \(4, 1\)",
    ),
    # --- losses
    "un peso que no existe": (
        lambda: loss_weight(PROCESS, "p2"),
        ValueError,
        "ningún peso «p2».*uniform, vlb, min_snr",
    ),
    "el peso de la cota con una varianza que se aprende": (
        lambda: loss_weight(Diffusion(LINEAR, variance="learned"), "vlb"),
        ValueError,
        "«vlb» se calcula con una varianza fija y «learned» la aprende la red",
    ),
    "una pérdida que no existe": (
        lambda: make_loss("mae"),
        ValueError,
        "ninguna pérdida «mae».*mse, hybrid, vlb",
    ),
    "una opción que la pérdida no tiene": (
        lambda: make_loss("mse", vlb_weight=1.0),
        ValueError,
        "«mse» no admite «vlb_weight»",
    ),
    "la pérdida de lo que no es un tensor": (
        lambda: simple_loss(PROCESS, Wrapped(X), X, X, T),
        TypeError,
        r"ha devuelto un Wrapped y debe devolver un tensor.*\.sample",
    ),
    "una salida que no es como el objetivo": (
        lambda: weighted_mse(torch.zeros(4, 1), X),
        ValueError,
        r"\(4, 1\) y el objetivo \(4, 3\)",
    ),
    "un peso que no es uno por ejemplo": (
        lambda: weighted_mse(X, X, torch.ones(3)),
        ValueError,
        r"pesos tienen forma \(3,\) y se espera \(4,\)",
    ),
    "un objetivo con ruido de otra forma": (
        lambda: simple_loss(Diffusion(LINEAR, "v"), X, X, torch.zeros(4, 1), T),
        ValueError,
        "«noise» tiene forma",
    ),
    "un decodificador con un solo nivel": (
        lambda: discretized_gaussian_log_likelihood(X, X, X, levels=1),
        ValueError,
        "al menos 2 niveles y han llegado 1",
    ),
    # --- noise
    "una semilla negativa": (
        lambda: training_draws(-1, 0, [0], (2,), 10),
        ValueError,
        r"semilla debe estar entre 0 y 2\*\*64 - 1 y ha llegado -1",
    ),
    "una semilla que no es un entero": (
        lambda: keyed_generator("hoy", Stream.TRAINING),
        TypeError,
        "semilla debe ser un entero y ha llegado 'hoy'",
    ),
    "una muestra de índice negativo": (
        lambda: next(sampling_noise(0, [-1], (2,))),
        ValueError,
        r"de 0 a 2\*\*32 - 1 y ha llegado -1",
    ),
    "un lote vacío": (
        lambda: batch_indices(10, 0, 0, 0),
        ValueError,
        "10 ejemplos y se pide un lote de 0",
    ),
    # --- unet y mlp
    "una U-Net que no reparte sus grupos": (
        lambda: UNetConfig(block_out_channels=(48, 96), attention=(False, True)),
        ValueError,
        "48 canales.*norm_num_groups=32.*otro número de grupos",
    ),
    "atención para otro número de niveles": (
        lambda: UNetConfig(attention=(True,)),
        ValueError,
        "attention tiene 1 valores y block_out_channels 4",
    ),
    "un dropout imposible": (
        lambda: UNetConfig(dropout=1.0),
        ValueError,
        r"dropout vale 1\.0, y debe estar en \[0, 1\)",
    ),
    "una imagen que no se puede reducir": (
        lambda: UNET(torch.zeros(2, 1, 7, 8), TIMES),
        ValueError,
        "mide 7×8.*múltiplos de 2.*6×8 y 8×8",
    ),
    "una imagen con otros canales": (
        lambda: UNET(torch.zeros(2, 3, 8, 8), TIMES),
        ValueError,
        r"forma \(2, 3, 8, 8\).*espera \(B, 1, alto, ancho\)",
    ),
    "un instante para dos imágenes": (
        lambda: UNET(IMAGE, TIMES[:1]),
        ValueError,
        r"t tiene forma \(1,\), y se esperaba \(2,\)",
    ),
    "una clase que la red no conoce": (
        lambda: UNET(IMAGE, TIMES, torch.tensor([0, 4])),
        ValueError,
        "de 0 a 4, y esta red admite de 0 a 2, o 3 para «sin clase»",
    ),
    "clases con decimales": (
        lambda: UNET(IMAGE, TIMES, torch.zeros(2)),
        TypeError,
        r"class_labels es de tipo torch\.float32.*int64",
    ),
    "clases para una red que no las conoce": (
        lambda: PLAIN(IMAGE, TIMES, TIMES),
        ValueError,
        "no es condicional y ha recibido class_labels",
    ),
    "puntos de otra dimensión": (
        lambda: MLP(MLPConfig())(torch.zeros(2, 3), TIMES),
        ValueError,
        r"forma \(2, 3\), y este MLP espera \(B, 2\)",
    ),
    "un MLP de anchura impar": (lambda: MLPConfig(width=9), ValueError, "width vale 9.*par"),
    # --- ema, dispositivos y generación
    "una EMA que no promedia": (
        lambda: EMA(nn.Linear(1, 1), 1.0),
        ValueError,
        r"decaimiento de la EMA debe estar en \[0, 1\) y ha llegado 1\.0",
    ),
    "un dispositivo que no existe": (
        lambda: choose_device("gpu"),
        ValueError,
        "«gpu» no es un dispositivo de PyTorch. Usa «cpu», «cuda»",
    ),
    "generar en lotes de cero": (
        lambda: sampled(batch_size=0),
        ValueError,
        "de 0 en 0: debe ser al menos 1",
    ),
    "generar en más pasos de los que hay": (
        lambda: sampled(steps=500),
        ValueError,
        "500 pasos de un proceso que tiene 100",
    ),
    "generar en cero pasos": (lambda: sampled(steps=0), ValueError, "0 pasos.*entre 1 y 100"),
    "una condición que no llega para todas": (
        lambda: sampled(condition={"class_labels": torch.zeros(3)}),
        ValueError,
        "«class_labels» tiene 3 filas y se han pedido 2",
    ),
    "una red que devuelve otra forma": (
        lambda: sample(lambda x, t: x[:, :1], PROCESS, (2,), indices=range(2)),
        ValueError,
        r"salida de la red tiene forma \(2, 1\)",
    ),
    "pedir una clase a quien no las conoce": (
        lambda: TOY.sample(2, class_labels=1),
        ValueError,
        "«toy» no conoce clases",
    ),
    "pedir una clase que no hay": (
        lambda: DIGITS.sample(2, class_labels=[3, 10]),
        ValueError,
        "clases de 0 a 9 y se ha pedido la 10",
    ),
    "pedir una clase con decimales": (
        lambda: DIGITS.sample(2, class_labels=3.7),
        TypeError,
        r"clases son números enteros y ha llegado 3\.7",
    ),
    "una opción que no existe al generar": (
        lambda: DIGITS.sample(2, pasos=3),
        ValueError,
        "No existe la opción «pasos» al generar.*steps",
    ),
    "una opción que el sampler no tiene": (
        lambda: make_sampler("heun", eta=0.5),
        ValueError,
        "«heun» no admite «eta»",
    ),
    # --- datos
    "datos fuera de [-1, 1]": (
        lambda: Dataset(x=torch.full((3, 2), 200.0)),
        ValueError,
        r"de 200 a 200 y deben estar en \[-1, 1\].*v / 127\.5 - 1",
    ),
    "datos que no son números": (
        lambda: Dataset(x=torch.full((3, 2), math.nan)),
        ValueError,
        r"deben estar en \[-1, 1\] y ser finitos",
    ),
    "datos en enteros de 64 bits": (
        lambda: Dataset(x=torch.zeros(3, 2, dtype=torch.int64)),
        TypeError,
        r"tensor float32, o uint8 si son imágenes.* y han llegado como torch\.int64",
    ),
    "datos de 8 bits con otros niveles": (
        lambda: Dataset(x=torch.zeros(3, 2, dtype=torch.uint8), levels=17),
        ValueError,
        "«levels» vale 17 y los datos de 8 bits tienen 256",
    ),
    "clases que no tienen nombre": (
        lambda: Dataset(x=X, labels=torch.tensor([0, 1, 2, 3]), label_names=("a", "b")),
        ValueError,
        "van de 0 a 3 y hay 2 nombres",
    ),
    "un conjunto que no existe": (
        lambda: load_dataset("digitos"),
        ValueError,
        "'digitos' no existe. ¿Querías decir «digits»",
    ),
    "una opción que el conjunto no tiene": (
        lambda: load_dataset("moons", size=3),
        ValueError,
        "«moons» no tiene la opción 'size'.*Hay: n, seed, noise",
    ),
    "una carpeta que no existe": (
        lambda: load_dataset("folder", path="/no/existe"),
        FileNotFoundError,
        "'/no/existe' no existe o no es una carpeta",
    ),
    "una carpeta que es un número": (
        lambda: load_dataset("folder", path=2024),
        TypeError,
        "«path» debe ser el nombre de una carpeta, entre comillas, y ha llegado 2024",
    ),
    "clases sin nombres": (
        lambda: Dataset(x=X, labels=torch.tensor([0, 1, 2, 3])),
        ValueError,
        "Hay «labels» pero no «label_names»: da el nombre de cada clase",
    ),
    "dos clases que se llaman igual": (
        lambda: Dataset(x=X, labels=torch.tensor([0, 1, 1, 0]), label_names=("pez", "pez")),
        ValueError,
        "Dos clases se llaman «pez»",
    ),
    "una huella para muchos datos": (
        lambda: Dataset(x=X, content_keys=("a",)),
        ValueError,
        "«content_keys» tiene 1 elementos y hay 4 datos",
    ),
    "apartarlo todo": (
        lambda: split(Dataset(x=X), 1.0, 0),
        ValueError,
        r"fracción de reserva es 1\.0 y debe estar entre 0 y 1",
    ),
    "ningún punto": (
        lambda: load_dataset("ring", n=0),
        ValueError,
        "«n» vale 0 y debe ser al menos 1",
    ),
    # --- recetas
    "una receta que no existe": (
        lambda: load_recipe("digit"),
        FileNotFoundError,
        "ninguna receta «digit». ¿Querías decir «digits»",
    ),
    "un valor mal escrito": (
        lambda: load_recipe("digits", overrides={"training.step": 3}),
        ValueError,
        r"No existe el valor «training\.step».*¿Querías decir «steps»",
    ),
    "un valor de otro tipo": (
        lambda: load_recipe("digits", overrides={"training.steps": "mil"}),
        ValueError,
        r"«training\.steps» debe ser un número entero y ha llegado 'mil'",
    ),
    # --- entrenamiento
    "eta para una función": (
        lambda: DIGITS.sample(2, sampler=ancestral, eta=0.5),
        ValueError,
        r"eta = 0\.5 con un sampler que ya es una función.*make_sampler",
    ),
    "un modelo enviado que no existe": (
        lambda: load_pretrained("openmoji-texo"),
        FileNotFoundError,
        "El paquete no trae ningún modelo «openmoji-texo»",
    ),
    "una imagen de dos canales": (
        lambda: load_picture("a.png", (2, 8, 8)),
        ValueError,
        r"forma \(2, 8, 8\).*C = 1 o 3",
    ),
    "una imagen que no está": (
        lambda: load_picture("a.png", (1, 8, 8)),
        FileNotFoundError,
        r"No existe la imagen «a\.png»",
    ),
    "guardar cada cero pasos": (
        lambda: train(tiny.toy(), "x", every=Every(checkpoint=0)),
        ValueError,
        "«checkpoint» vale 0 y debe ser al menos 1",
    ),
    "apuntar cada medio paso": (
        lambda: Every(log=0.5),
        TypeError,
        r"«log» debe ser un número entero y ha llegado 0\.5",
    ),
    "dibujar muestras que no se dibujan": (
        lambda: train(
            load_recipe("swiss-roll", overrides={"model.options.dim": 7}),
            "x",
            dataset=Dataset(x=torch.zeros(4, 7)),
            every=Every(sample=1),
        ),
        ValueError,
        r"forma \(7,\) y solo se dibujan.*every\.sample = 0",
    ),
    "un lote que es una tupla": (
        lambda: trained_on((X, T)),
        TypeError,
        r"debe ser un diccionario con los datos en «x» y ha llegado un tuple.*conviértelas",
    ),
    "un lote que es un tensor": (
        lambda: trained_on(X),
        TypeError,
        "debe ser un diccionario con los datos en «x» y ha llegado un Tensor",
    ),
    "un lote sin datos": (
        lambda: trained_on({"imagen": X}),
        TypeError,
        "ha llegado un diccionario con 'imagen'",
    ),
    "entrenar una red que no responde con un tensor": (
        lambda: trained_on({"x": X}, wrapping),
        TypeError,
        r"ha devuelto un Wrapped y debe devolver un tensor.*\.sample",
    ),
    "una red con clases y datos sin ellas": (
        lambda: train(tiny.digits(), "x", dataset=Dataset(x=torch.zeros(4, 1, 8, 8))),
        ValueError,
        r"conoce 10 clases y los datos no las tienen.*quita model\.options\.num_classes",
    ),
    "datos con más clases que la red": (
        lambda: train(
            tiny.digits(),
            "x",
            dataset=Dataset(
                x=torch.zeros(1, 1, 8, 8),
                labels=torch.tensor([11]),
                label_names=tuple("abcdefghijkl"),
            ),
        ),
        ValueError,
        r"clases de 0 a 9 y en los datos está la 11: pon model\.options\.num_classes = 12",
    ),
    # --- ficheros e imágenes
    "un modelo que no existe": (
        lambda: load_model("nada.safetensors"),
        FileNotFoundError,
        r"No existe el fichero de pesos «nada\.safetensors»",
    ),
    "una cuadrícula de dos canales": (
        lambda: grid(torch.zeros(2, 2, 8, 8)),
        ValueError,
        r"forma \(2, 2, 8, 8\).*C = 1 o 3",
    ),
    "puntos que no son del plano": (
        lambda: points_image(X),
        ValueError,
        r"forma \(4, 3\) y se espera \(N, 2\)",
    ),
    "dibujar lo que no es un número": (
        lambda: to_uint8(torch.tensor([math.nan])),
        ValueError,
        "no son números.*revisa el modelo",
    ),
    "una animación sin fotogramas": (
        lambda: save_gif([], "a.gif"),
        ValueError,
        "ningún fotograma",
    ),
    "fotogramas desiguales": (
        lambda: save_gif([Image.new("L", (2, 2)), Image.new("L", (3, 2))], "a.gif"),
        ValueError,
        "deben compartir tamaño y modo",
    ),
}


def test_there_are_at_least_forty() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_the_library_explains(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    act, kind, words = CASES[name]
    with pytest.raises(kind) as caught:
        act()
    message = str(caught.value)
    assert re.search(words, message), message
    assert "\n" not in message
    assert message[-1] in ".)?»", message
    assert list(tmp_path.iterdir()) == [], "no se ha escrito nada"


# --- La línea de órdenes ------------------------------------------------------------------------

# La orden (en una carpeta con `toy.safetensors` y `roto.safetensors`), el código y las palabras.
COMMANDS: dict[str, tuple[str, int, str]] = {
    "una orden que no existe": ("trian digits", 2, "No existe la orden 'trian'"),
    "una opción que no existe": ("train digits --pasos 3", 2, "No existe la opción '?--pasos"),
    "sin receta": ("train", 2, "Falta el argumento 'RECETA'"),
    "una opción sin su valor": ("sample toy.safetensors -n", 2, "'-n' necesita un valor"),
    "un argumento de más": ("info a b", 2, r"Sobra un argumento \(b\)"),
    "un número que no lo es": (
        "sample toy.safetensors -n diez",
        2,
        "'-n': 'diez' no es un número entero válido",
    ),
    "cero muestras": ("sample toy.safetensors -n 0", 2, "'-n': 0 no cumple x>=1"),
    "un perfil que no existe": ("train digits --profile tpu", 2, "'tpu' no es ninguno de estos"),
    "un cambio sin igual": (
        "train digits --set training.steps",
        2,
        "«training.steps» debe ser NOMBRE=VALOR",
    ),
    "un cambio que no es TOML": (
        "train digits --set training.steps=[1,",
        2,
        "no es un valor de TOML",
    ),
    "un cambio con una línea de más": (
        "train digits --set seed=1\nname=2",
        2,
        "no es un valor de TOML",
    ),
    "una clase que no dice nada": (
        "sample toy.safetensors --class 3,,4",
        2,
        "«» no dice qué clases.*o un nombre",
    ),
    "el nombre de una clase que no hay": (
        "sample condicional.safetensors --class lobo",
        1,
        "«condicional» no conoce la clase «lobo». Conoce: gato, perro",
    ),
    "el nombre de una clase de quien no conoce ninguna": (
        "sample toy.safetensors --class gato",
        1,
        "«toy» no conoce clases: no se le puede pedir «gato»",
    ),
    "un intervalo al revés": ("sample toy.safetensors --class 9-0", 2, "«9-0» no dice qué clases"),
    "una imagen con otra extensión": (
        "sample toy.safetensors --out a.jpg",
        2,
        r"«a\.jpg» debe acabar en \.png",
    ),
    "una animación con otra extensión": (
        "sample toy.safetensors --animation a.avi",
        2,
        r"debe acabar en \.gif o \.mp4",
    ),
    "una receta que no existe": ("train digit", 1, "¿Querías decir «digits»"),
    "un fichero de receta que no existe": ("train nada.toml", 1, "No existe el fichero de receta"),
    "un cambio con un nombre malo": (
        "train digits --set training.step=3",
        1,
        "No existe el valor «training.step»",
    ),
    "un cambio con un tipo malo": (
        "train digits --set training.steps=pocos",
        1,
        "debe ser un número entero y ha llegado 'pocos'",
    ),
    "una opción mala de los datos": (
        "train swiss-roll --set data.options.n=muchos",
        1,
        "«n» debe ser un número entero y ha llegado 'muchos'",
    ),
    "un dispositivo que no hay": ("train swiss-roll --device tpu", 1, "«tpu» no es un dispositivo"),
    "un modelo que no existe": (
        "sample nada.safetensors",
        1,
        "No existe el modelo.*ddpm-lit train",
    ),
    "una carpeta sin modelo": ("sample vacia", 1, "no hay ni model.safetensors ni"),
    "un fichero que no es un modelo": (
        "sample roto.safetensors",
        1,
        "no es un fichero safetensors o está dañado",
    ),
    "clases de quien no las conoce": ("sample toy.safetensors --class 3", 1, "no conoce clases"),
    "más pasos de los que hay": (
        "sample toy.safetensors --steps 99",
        1,
        "99 pasos de un proceso que tiene 20",
    ),
    "un modelo de señales, que no se dibuja": (
        "sample senal.safetensors",
        1,
        r"tienen forma \(7,\) y solo se dibujan",
    ),
    "escribir donde hay un fichero": (
        "sample toy.safetensors -n 1 --out roto.safetensors/a.png",
        2,
        "no se puede escribir: «.*» es un fichero, no una carpeta",
    ),
    "entrenar en un fichero": (
        "train swiss-roll --profile smoke --run-dir roto.safetensors",
        1,
        "No se puede usar «.*»: .*se esperaba una carpeta",
    ),
    # --- sample: guía, samplers y texto
    "eta con un sampler que no la tiene": (
        "sample toy.safetensors --sampler heun --eta 0.5",
        2,
        "--eta es el azar de ddim, y «heun» no lo tiene",
    ),
    "eta con el de siempre": (
        "sample toy.safetensors --sampler ddpm --eta 1",
        2,
        "añade --sampler ddim",
    ),
    "una eta mayor que 1": (
        "sample toy.safetensors --sampler ddim --eta 1.5",
        2,
        r"'--eta': 1\.5 no cumple 0<=x<=1",
    ),
    "un sampler que no existe": (
        "sample toy.safetensors --sampler euler",
        2,
        "'euler' no es ninguno de estos: 'ddpm', 'ddim'",
    ),
    "un reparto que no existe en la orden": (
        "sample toy.safetensors --spacing raro",
        2,
        "'raro' no es ninguno de estos: 'linspace'",
    ),
    "una guía que no es un número": (
        "sample condicional.safetensors --guidance mucha",
        2,
        "'--guidance': 'mucha' no es un número válido",
    ),
    "una guía por debajo de olvidar": (
        "sample condicional.safetensors --guidance -2",
        2,
        "no cumple x>=-1",
    ),
    "una guía infinita": (
        "sample condicional.safetensors --guidance inf",
        1,
        "peso de la guía debe ser un número finito",
    ),
    "reescalar una guía que no hay": (
        "sample condicional.safetensors --guidance-rescale 0.5",
        2,
        "no la hay: añade --guidance",
    ),
    "reescalar una guía de 0": (
        "sample condicional.safetensors --guidance 0 --guidance-rescale 0.5",
        2,
        "no la hay: añade --guidance",
    ),
    "guiar a quien no aprendió sin condición": (
        "sample toy.safetensors --guidance 1",
        1,
        r"«toy» no se puede guiar.*training\.condition_dropout = 0\.1",
    ),
    "texto para quien no lee": (
        "sample condicional.safetensors --text uno",
        1,
        "«condicional» no lee texto",
    ),
    "clases de quien lee texto": ("sample lee.safetensors --class 3", 1, "«lee» no conoce clases"),
    "una palabra desconocida": (
        "sample lee.safetensors --text cuatros",
        1,
        "no conoce la palabra «cuatros» de «cuatros».*¿Querías decir «cuatro».*Conoce 10 palabras",
    ),
    "una frase demasiado larga": (
        "sample lee.safetensors --text uno-dos-tres-uno",
        1,
        "tiene 4 palabras y la red lee como mucho 3",
    ),
    "guiar hacia ninguna frase": (
        "sample lee.safetensors --guidance 2",
        1,
        "No hay nada hacia lo que guiar.*--text",
    ),
    "el nombre de un modelo casi bien escrito": (
        "sample lees",
        1,
        "No existe el modelo «lees».*ddpm-lit train",
    ),
    # --- sample: imágenes
    "una máscara sin imagen": (
        "sample lee.safetensors --mask hueco.png",
        2,
        "--mask solo sirve para rellenar una imagen: añade --inpaint",
    ),
    "un salto sin imagen": ("sample lee.safetensors --jump 3", 2, "--jump solo sirve"),
    "repetir sin imagen": ("sample lee.safetensors --resamplings 3", 2, "--resamplings solo sirve"),
    "una fuerza sin imagen": (
        "sample lee.safetensors --strength 0.3",
        2,
        "--strength dice cuánto rehacer.*añade --from-image",
    ),
    "una fuerza mayor que 1": (
        "sample lee.safetensors --from-image foto.png --strength 2",
        2,
        "'--strength': 2.* no cumple 0<=x<=1",
    ),
    "una fuerza de 0": (
        "sample lee.safetensors --from-image foto.png --strength 0",
        1,
        "strength vale 0.0 y debe ser mayor que 0",
    ),
    "una imagen que no existe": (
        "sample lee.safetensors --from-image nada.png",
        1,
        r"No existe la imagen «nada\.png»",
    ),
    "una imagen que no lo es": (
        "sample lee.safetensors --inpaint roto.safetensors",
        1,
        "no se puede leer como imagen",
    ),
    "una imagen enorme": (
        "sample lee.safetensors --from-image enorme.png",
        1,
        "«enorme.png» no se puede leer como imagen: tiene más de 178 millones de píxeles",
    ),
    "una imagen para un modelo de puntos": (
        "sample toy.safetensors --from-image foto.png",
        1,
        "«toy» genera puntos, no imágenes: quita --from-image",
    ),
    "una imagen sin hueco ni máscara": (
        "sample lee.safetensors --inpaint foto.png",
        1,
        "«foto.png» no tiene píxeles transparentes: dile qué rellenar con --mask",
    ),
    "una máscara sin nada en blanco": (
        "sample lee.safetensors --inpaint foto.png --mask negro.png",
        1,
        "no tiene hueco: la máscara «negro.png» no tiene nada en blanco",
    ),
    "una máscara toda en blanco": (
        "sample lee.safetensors --inpaint foto.png --mask blanco.png",
        1,
        "es la imagen entera.*genera sin --inpaint",
    ),
    "una máscara pintada de negro sobre una capa transparente": (
        "sample lee.safetensors --inpaint foto.png --mask capa.png",
        1,
        "«capa.png» tiene partes transparentes y lo demás no es todo blanco.*Pinta de blanco",
    ),
    "una máscara de otro tamaño": (
        "sample lee.safetensors --inpaint foto.png --mask grande.png",
        1,
        "miden 9×9 y 8×8 píxeles: deben medir lo mismo",
    ),
    "un salto que no cabe": (
        "sample lee.safetensors --inpaint foto.png --mask hueco.png --steps 3 --jump 9",
        1,
        "Un salto de 9 niveles no cabe en un proceso de 3 pasos",
    ),
    "una imagen para quien no parte de ninguna": (
        "sample lee.safetensors --image foto.png",
        1,
        "«lee» no parte de ninguna imagen: quita --image.*--from-image",
    ),
    "ampliar sin imagen": (
        "sample amplia.safetensors",
        1,
        "«amplia» parte de una imagen: dásela con --image",
    ),
    # --- evaluate
    "medir lo que no existe": ("evaluate nada", 1, "No existe el modelo «nada»"),
    "medir muy pocas muestras": ("evaluate toy.safetensors -n 1", 2, "'-n': 1 no cumple x>=4"),
    "medir frente a otra forma": (
        "evaluate toy.safetensors --data digits",
        1,
        r"«digits» tienen forma \(1, 8, 8\) y las muestras de «toy», \(2,\)",
    ),
    "medir frente a lo que no existe": (
        "evaluate toy.safetensors --data moon",
        1,
        "'moon' no existe.*¿Querías decir «moons»",
    ),
    "medidas en otra extensión": (
        "evaluate toy.safetensors --out medidas.txt",
        2,
        r"«medidas\.txt» debe acabar en \.json",
    ),
    "medir con eta y sin ddim": (
        "evaluate toy.safetensors --sampler ddpm --eta 0.5",
        2,
        "quita --eta",
    ),
    "medir con una guía que no hay": (
        "evaluate toy.safetensors --guidance-rescale 0.5",
        2,
        "no la hay: añade --guidance",
    ),
    # --- train desde otros pesos
    "partir de unos pesos que no existen": (
        "train swiss-roll --weights nada",
        1,
        "No existe el modelo «nada»",
    ),
    "partir de los pesos de otra red": (
        "train swiss-roll --profile smoke --weights toy.safetensors",
        1,
        "no es la de los pesos de partida.*«toy»",
    ),
    "partir de unos pesos donde ya hay un checkpoint": (
        "train toy.toml --run-dir empezado --weights toy.safetensors",
        2,
        "«empezado» ya hay un checkpoint.*--weights no serviría de nada.*--restart",
    ),
    "empezar de cero con unos pesos que no hay": (
        "train toy.toml --run-dir empezado --restart --weights nada",
        1,
        "No existe el modelo «nada»",
    ),
    "información de lo que no existe": ("info nada", 1, "No hay ninguna receta «nada»"),
    "información de una carpeta sin nada": ("info vacia", 1, "no es la de un entrenamiento"),
}


NAMES = ("gato", "perro", *map(str, range(2, 10)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Una carpeta con modelos de todas clases, imágenes y un fichero que no es nada."""
    path = tmp_path_factory.mktemp("malas")
    save_model(path / "toy.safetensors", TOY.model, TOY.recipe, TOY.shape)
    save_model(path / "senal.safetensors", TOY.model, TOY.recipe, (7,))
    for recipe in (tiny.conditional(num_classes=10), tiny.reader(), tiny.enlarger()):
        save_model(
            path / f"{recipe.name}.safetensors",
            recipe.build_model(),
            recipe,
            (1, 8, 8),
            data={"label_names": NAMES if recipe.name == "condicional" else ()},
        )
    for name, side, shade in (
        ("foto", 8, 90),
        ("negro", 8, 0),
        ("blanco", 8, 255),
        ("grande", 9, 0),
    ):
        Image.new("L", (side, side), shade).save(path / f"{name}.png")
    hole = Image.new("L", (8, 8), 0)
    hole.paste(255, (0, 0, 4, 4))
    hole.save(path / "hueco.png")
    layer = Image.new("RGBA", (8, 8))
    layer.paste((0, 0, 0, 255), (0, 0, 4, 4))
    layer.save(path / "capa.png")
    Image.new("1", (20_000, 10_000)).save(path / "enorme.png")
    (path / "roto.safetensors").write_bytes(b"esto no es un modelo")
    (path / "vacia").mkdir()
    shipped = resources.files("ddpm_lit.recipes") / "swiss-roll.toml"
    (path / "toy.toml").write_text(shipped.read_text(encoding="utf-8"), encoding="utf-8")
    train(
        load_recipe(path / "toy.toml", profile="smoke", overrides={"training.steps": 1}),
        path / "empezado",
        device="cpu",
        progress=False,
    )
    (path / "empezado" / MODEL).unlink()
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_explains(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    line, code, words = COMMANDS[name]
    with pytest.raises(SystemExit) as stop:
        main(line.split(" "))
    errors = capfd.readouterr().err
    assert stop.value.code == code, errors
    assert "Error: " in errors
    assert re.search(words, errors, re.DOTALL), errors
    assert "Traceback" not in errors
    # Lo que se ha hecho con una imagen se dice antes, con su nombre delante.
    said = [line for line in errors.strip().splitlines() if not line.startswith("«")]
    assert len(said) == 1 or code == 2
    assert sorted(folder.rglob("*")) == before


def test_a_missing_extra_says_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(SystemExit) as stop:
        main(["sample", "toy.safetensors", "--animation", "a.mp4"])
    assert stop.value.code == 1
    assert "pip install imageio-ffmpeg" in capfd.readouterr().err
    assert not (folder / "muestras.png").exists()


def test_a_loss_that_is_not_finite_ends_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "train swiss-roll --profile smoke --set training.learning_rate=1e30 --log-every 5"
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 1
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert re.match(r"Error: (La pérdida|El gradiente) del paso \d+ .*learning_rate", last)


def test_the_traceback_is_there_for_who_asks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(FileNotFoundError, match="No existe el modelo"):
        main(["--traceback", "sample", "nada.safetensors"])


def test_a_bug_of_the_program_is_not_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.chdir(folder)
    monkeypatch.setattr("ddpm_lit.models.storage.load_model", broken)
    with pytest.raises(ZeroDivisionError):
        main(["sample", "toy.safetensors"])


def test_out_of_memory_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("ddpm_lit.models.storage.load_model", full)
    with pytest.raises(SystemExit) as stop:
        main(["sample", "toy.safetensors"])
    assert stop.value.code == 1
    assert "No cabe en la memoria. Prueba con un lote menor" in capfd.readouterr().err
