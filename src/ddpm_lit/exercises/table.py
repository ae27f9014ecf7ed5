"""Qué ejercicios de código hay, en el orden del libro."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ddpm_lit.exercises.checks import (
    backward,
    conditioning,
    continuous,
    ddim,
    editing,
    flow,
    forward,
    guidance,
    ideal,
    improved,
    latent,
    losses,
    posterior,
    sampling,
    scheduler,
    score,
    training,
    unet,
)


class Exercise(NamedTuple):
    """Un ejercicio de código.

    Attributes:
        chapter: el capítulo, como se llama en el libro.
        summary: qué se pide, en pocas palabras.
        function: la función que el lector completa.
        check: la pone a prueba; lanza `checking.MistakeError` si algo no sale.
    """

    chapter: str
    summary: str
    function: str
    check: Callable[[Callable[..., Any]], None]


EXERCISES: dict[str, Exercise] = {
    "salto": Exercise(
        "Forward process",
        "ensuciar un lote de un salto",
        "q_sample",
        forward.check_jump,
    ),
    "posterior": Exercise(
        "Posterior",
        "el paso atrás con el dato delante",
        "q_posterior",
        posterior.check_posterior,
    ),
    "recorte": Exercise(
        "Backwards process",
        "recortar el dato que se cree, y el ruido que casa con él",
        "clipped",
        backward.check_clipping,
    ),
    "coseno": Exercise(
        "Scheduler",
        "las β del schedule coseno",
        "cosine_betas",
        scheduler.check_cosine,
    ),
    "divergencia": Exercise(
        "Función de pérdidas",
        "la divergencia entre dos normales",
        "normal_kl",
        losses.check_divergence,
    ),
    "ideal": Exercise(
        "¿Por qué estamos prediciendo ε?",
        "lo mejor que puede responder una red",
        "ideal_x_start",
        ideal.check_ideal,
    ),
    "perdida": Exercise(
        "Entrenamiento",
        "la pérdida del Algoritmo 1",
        "training_loss",
        training.check_loss,
    ),
    "generar": Exercise(
        "Generación",
        "el Algoritmo 2",
        "generate",
        sampling.check_generation,
    ),
    "embedding": Exercise(
        "UNET",
        "el instante, en senos y cosenos",
        "sinusoidal_embedding",
        unet.check_embedding,
    ),
    "rango": Exercise(
        "Improving diffusion",
        "la varianza que da la red",
        "learned_variance",
        improved.check_range,
    ),
    "guia": Exercise(
        "CFG",
        "la predicción guiada",
        "guided",
        guidance.check_guidance,
    ),
    "atencion": Exercise(
        "Añadir información condicional",
        "la atención de los píxeles a las palabras",
        "cross_attention",
        conditioning.check_attention,
    ),
    "reponer": Exercise(
        "Editar sin entrenar",
        "reponer lo conocido, como RePaint",
        "put_back",
        editing.check_put_back,
    ),
    "ddim": Exercise(
        "DDIM",
        "el paso, con azar y sin él",
        "ddim_step",
        ddim.check_ddim,
    ),
    "recocido": Exercise(
        "Score matching",
        "Langevin, del nivel más ruidoso al menos",
        "annealed_langevin",
        score.check_annealing,
    ),
    "vuelta": Exercise(
        "El límite continuo",
        "el paso atrás, de la EDO a la SDE",
        "reverse_step",
        continuous.check_reverse_step,
    ),
    "hutchinson": Exercise(
        "El límite continuo",
        "la divergencia, con sondas",
        "divergence",
        continuous.check_divergence,
    ),
    "recto": Exercise(
        "Flow matching y EDM",
        "una red de DDPM en el camino recto",
        "rectified_velocity",
        flow.check_rectified,
    ),
    "heun": Exercise(
        "Flow matching y EDM",
        "generar con la media de dos pendientes",
        "generate",
        flow.check_heun,
    ),
    "autoencoder": Exercise(
        "De aquí a Stable Diffusion",
        "la pérdida del autoencoder",
        "autoencoder_loss",
        latent.check_autoencoder,
    ),
}
"""Los ejercicios, por su nombre, que es también el de su fichero."""
