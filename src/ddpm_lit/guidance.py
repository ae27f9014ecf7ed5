r"""Guía: empujar la generación hacia lo que dice la condición.

Guiar es cambiar la red por otra. Las dos funciones principales reciben una red
`model(x_t, t, **condition)` y devuelven otra que se llama igual, así que sirven con
cualquier sampler, schedule y predicción:

- `classifier_free` combina la red con y sin condición (Ho y Salimans 2022);
- `classifier_guided` le suma el gradiente de un clasificador (Dhariwal y Nichol 2021).

**El convenio de este paquete** es el $w$ del artículo de Ho y Salimans: $w = 0$ no guía.
Otras bibliotecas llaman «guidance scale» a $s = 1 + w$, que no guía con $s = 1$; aquí se
acepta como `s=…`, y `guidance_weight` traduce.

Fuentes: Ho y Salimans 2022 (arXiv:2207.12598), Dhariwal y Nichol 2021 (arXiv:2105.05233),
Saharia et al. 2022 (arXiv:2205.11487) para el umbral dinámico, Lin et al. 2023
(arXiv:2305.08891) para la guía reescalada y Kynkäänniemi et al. 2024 (arXiv:2404.07724)
para la guía en un intervalo.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor

from ddpm_lit.backward import Model, TimedModel
from ddpm_lit.diffusion import Diffusion

Null = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""De una condición a la condición nula, con los mismos nombres y formas."""


def guidance_weight(**scale: float) -> float:
    r"""El peso $w$ de la guía, se diga en el convenio que se diga: $w = s - 1$.

    Args:
        **scale: exactamente uno de los dos, `w=…` (Ho y Salimans: 0 no guía) o `s=…` (el de
            casi todas las bibliotecas: 1 no guía).

    Returns:
        $w$.

    Raises:
        ValueError: si llegan los dos o ninguno, otro nombre, o un valor que no es finito.
    """
    unknown = sorted(set(scale) - {"w", "s"})
    if unknown:
        raise ValueError(
            f"«{unknown[0]}» no dice en qué convenio está: unas bibliotecas "
            "llaman así a w, que no guía con 0, y otras a s = 1 + w, que no "
            "guía con 1. Escribe w=… o s=…."
        )
    if len(scale) != 1:
        listed = (
            " y ".join(f"{name} = {value}" for name, value in scale.items())
            or "nada"
        )
        raise ValueError(
            "El peso de la guía se da con w=… o con s=… (s = 1 + w), uno de "
            f"los dos, y ha llegado {listed}."
        )
    ((name, value),) = scale.items()
    if not math.isfinite(value):
        raise ValueError(
            f"El peso de la guía debe ser un número finito y {name} es {value}."
        )
    return value if name == "w" else value - 1


def classifier_free(
    model: Model,
    w: float | None = None,
    *,
    null: Null,
    rescale: float = 0.0,
    interval: tuple[int, int] | None = None,
    channels: int | None = None,
    **scale: float,
) -> Model:
    r"""Guía sin clasificador (Ho y Salimans 2022, ec. 6), en una sola tanda doblada.

    $$\tilde\epsilon_\theta(x_t, t, c) = (1 + w)\,\epsilon_\theta(x_t, t, c)
    - w\,\epsilon_\theta(x_t, t)$$

    Los dos coeficientes suman 1, así que la misma fórmula vale si la red predice $x_0$, $v$ o
    $\tilde\mu_t$: todos son la misma función afín de $\epsilon$ dado $x_t$. Con `rescale` ya
    no: la desviación que se iguala es la de lo que la red predice.

    Con $w = 0$ la red sin condición no se evalúa.

    Args:
        model: la red, entrenada con la condición apagada en parte de los ejemplos.
        w: el peso de la guía; en su lugar se puede dar `s=…`, con $s = 1 + w$.
        null: lo que da la condición nula, p. ej.
            `partial(conditioning.null_condition, num_classes=10)`.
        rescale: $\phi \in [0, 1]$ de la guía reescalada (véase `rescale_guidance`).
        interval: $(t_{\min}, t_{\max})$, índices originales, los dos incluidos; fuera de ellos
            no se guía. `None` guía siempre.
        channels: cuántos canales de la salida se guían; por defecto, tantos como tiene $x_t$.
            Los demás (la varianza aprendida) son los de la red con condición.
        **scale: `s=…`.

    Returns:
        Otra red, `guided(x_t, t, **condition)`.

    Raises:
        ValueError: si el peso no está claro (véase `guidance_weight`), o `rescale` o `interval`
            no son válidos. Y al llamar a la red, si no recibe condición o la nula no tiene los
            mismos nombres y formas.
    """
    weight = guidance_weight(**({} if w is None else {"w": w}), **scale)
    if not 0 <= rescale <= 1:
        raise ValueError(
            f"rescale es {rescale} y debe estar entre 0 (nada) y 1 (del todo)."
        )
    if interval is not None and not 0 <= interval[0] <= interval[1]:
        raise ValueError(
            f"El intervalo de la guía va de {interval[0]} a {interval[1]}: "
            "deben ser dos índices de código, (t_min, t_max), no negativos y "
            "en orden."
        )

    low, high = interval or (0, math.inf)

    def guided(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        if not condition:
            raise ValueError(
                "La red guiada no ha recibido ninguna condición, y sin ella "
                "no hay nada que guiar: dásela por su nombre (class_labels=…) "
                "o usa la red sin guía."
            )
        inside = (t >= low) & (t <= high)
        # En una GPU no se miran los t, que obligaría a esperarla: quien genera
        # los sabe de antemano.
        seen = interval is not None and t.device.type == "cpu"
        outside = seen and not bool(inside.any())
        if weight == 0 or outside:
            return model(x_t, t, **condition)
        empty = null(condition)
        _check_null(condition, empty)
        doubled = {
            name: torch.cat([value, empty[name]])
            for name, value in condition.items()
        }
        output = model(torch.cat([x_t, x_t]), torch.cat([t, t]), **doubled)
        conditional, unconditional = output.chunk(2)
        count = channels if channels is not None else x_t.shape[1]
        with_c, without_c = conditional[:, :count], unconditional[:, :count]
        mixed = (1 + weight) * with_c - weight * without_c
        if rescale:
            mixed = rescale_guidance(mixed, with_c, rescale)
        mixed = torch.where(
            inside.view(-1, *(1,) * (mixed.ndim - 1)), mixed, with_c
        )
        return torch.cat([mixed, conditional[:, count:]], dim=1)

    return TimedModel(
        guided, lambda time: guided if low <= time <= high else model
    )


def rescale_guidance(guided: Tensor, conditional: Tensor, phi: float) -> Tensor:
    r"""Guía reescalada (Lin et al. 2023, ec. 14-16): se devuelve a la salida su desviación.

    $$\left(\phi\,\frac{\operatorname{std}(\epsilon_c)}{\operatorname{std}(\tilde\epsilon)}
    + 1 - \phi\right)\tilde\epsilon$$

    Las desviaciones son las de todos los valores de cada muestra.

    Args:
        guided: la salida guiada, (B, C, …).
        conditional: la de la red con condición, de la misma forma.
        phi: $\phi$, de 0 (nada) a 1 (la desviación de la condicionada).

    Returns:
        (B, C, …).
    """
    stds = (value.flatten(1).std(dim=1) for value in (conditional, guided))
    wanted, found = (
        value.view(-1, *(1,) * (guided.ndim - 1)) for value in stds
    )
    # Una salida constante no tiene desviación que devolverle: se queda como
    # está.
    ratio = torch.where(found > 0, wanted / found.clamp(min=1e-30), 1.0)
    return guided * (phi * ratio + 1 - phi)


def dynamic_threshold(percentile: float = 0.995) -> Callable[[Tensor], Tensor]:
    r"""Umbral dinámico de Saharia et al. (2022): recorta $\hat x_0$ sin saturarlo.

    $$\hat x_0 \leftarrow \frac{\min(\max(\hat x_0, -s), s)}{s}, \qquad s = \max(q, 1)$$

    donde $q$ es el percentil de $|\hat x_0|$ entre todos los valores de cada muestra. Si casi
    ninguno se sale de $[-1, 1]$, es el recorte de siempre.

    Args:
        percentile: de 0 a 1.

    Returns:
        Una función de $\hat x_0$, (B, …), para el argumento `clip` de los samplers.

    Raises:
        ValueError: si el percentil no está entre 0 y 1.
    """
    if not 0 <= percentile <= 1:
        raise ValueError(
            f"El percentil es {percentile} y debe estar entre 0 y 1, p. ej. "
            "0.995."
        )

    def clip(x_start: Tensor) -> Tensor:
        threshold = (
            x_start.flatten(1).abs().quantile(percentile, dim=1).clamp(min=1)
        )
        threshold = threshold.view(-1, *(1,) * (x_start.ndim - 1))
        return x_start.clamp(-threshold, threshold) / threshold

    return clip


# --- Con un clasificador --------------------------------------------------------------------------


def log_prob_gradient(
    log_prob: Callable[..., Tensor], x_t: Tensor, t: Tensor, **condition: Tensor
) -> Tensor:
    r"""$\nabla_{x_t} \log p(y|x_t)$, por diferenciación automática.

    Args:
        log_prob: `log_prob(x_t, t, **condition)`, que da $\log p(y|x_t)$, de forma (B,).
        x_t: $x_t$, de forma (B, …).
        t: índices de código (B,) del schedule original.
        **condition: lo que hay que reconocer, p. ej. `class_labels`.

    Returns:
        El gradiente, (B, …).

    Raises:
        ValueError: si `log_prob` no da un número por muestra.
    """
    with torch.enable_grad():
        x = x_t.detach().requires_grad_()
        value = log_prob(x, t, **condition)
        if value.shape != (len(x_t),):
            raise ValueError(
                f"log p(y|x_t) ha llegado con forma {tuple(value.shape)} y se "
                f"esperaba ({len(x_t)},): un número por muestra, el de la "
                "clase pedida."
            )
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return gradient


def classifier_guided(
    model: Model,
    log_prob: Callable[..., Tensor],
    diffusion: Diffusion,
    *,
    scale: float = 1.0,
    null: Null | None = None,
) -> Model:
    r"""Guía por clasificador (Dhariwal y Nichol 2021, alg. 2): al score se le suma un gradiente.

    $$\hat\epsilon = \epsilon_\theta(x_t, t) - \sqrt{1-\bar\alpha_t}\;
    s\,\nabla_{x_t} \log p(y|x_t)$$

    Eso mueve $\hat x_0$ en $\frac{1-\bar\alpha_t}{\sqrt{\bar\alpha_t}}\,s\nabla$, y lo que la
    red predice, en eso mismo por su pendiente (`Parametrisation.slope`): a $\epsilon$ se le resta
    $\sqrt{1-\bar\alpha_t}\,s\nabla$; a $v$,
    $\sqrt{\frac{1-\bar\alpha_t}{\bar\alpha_t}}\,s\nabla$, y a $\tilde\mu_t$ se le suma
    $\frac{\beta_t}{\sqrt{\alpha_t}}\,s\nabla$.

    Args:
        model: la red, `model(x_t, t, **condition)`.
        log_prob: el clasificador de datos ruidosos, `log_prob(x_t, t, **condition)`, que da
            $\log p(y|x_t)$, (B,); p. ej. `NoisyClassifier.log_prob`.
        diffusion: el proceso con que se entrenaron (también si se genera con menos pasos).
        scale: $s$; con 1 se muestrea (si todo es exacto) la distribución condicionada.
        null: lo que se hace con la condición antes de dársela a la red; el clasificador
            recibe siempre la entera. Con una red sin condición, `lambda condition: {}`.

    Returns:
        Otra red, `guided(x_t, t, **condition)`.

    Raises:
        ValueError: si el schedule no deja señal en $T$: allí $x_T$ no dice nada de la clase y
            la corrección sería $0/0$.
    """
    schedule = diffusion.schedule
    if schedule.zero_terminal_snr:
        raise ValueError(
            "Con señal terminal nula (ᾱ_T = 0), x_T no dice nada de la clase "
            "y la guía por clasificador no está definida: usa un schedule que "
            "deje algo de señal, o `classifier_free`."
        )
    bar = schedule.alphas_cumprod
    moved = (1 - bar) / bar.sqrt() * diffusion.prediction.slope(schedule)

    @cache
    def moved_on(device: torch.device, dtype: torch.dtype) -> Tensor:
        # Primero el tipo: no todos los dispositivos tienen float64.
        return moved.to(dtype).to(device)

    def guided(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        seen = condition if null is None else null(condition)
        output = model(x_t, t, **seen)
        gradient = log_prob_gradient(log_prob, x_t, t, **condition)
        factor = scale * moved_on(x_t.device, x_t.dtype)[t]
        factor = factor.view(-1, *(1,) * (x_t.ndim - 1))
        count = x_t.shape[1]
        first = output[:, :count] + factor * gradient
        return torch.cat([first, output[:, count:]], dim=1)

    return guided


def guided_mean(
    mean: Tensor, variance: Tensor, gradient: Tensor, scale: float = 1.0
) -> Tensor:
    r"""La otra forma de la guía por clasificador (Dhariwal y Nichol 2021, alg. 1): mover la media.

    $$\mu + s\,\Sigma\,\nabla \log p(y|x)\big|_{x=\mu}$$

    Es la media exacta de $\mathcal{N}(\mu, \Sigma)\,p(y|x)^s$ si $\log p(y|x)$ es una recta, y
    su aproximación de primer orden si no.

    Args:
        mean: $\mu$, de forma (B, …).
        variance: la diagonal de $\Sigma$, que se pueda difundir con la media.
        gradient: $\nabla \log p(y|x)$, de forma (B, …).
        scale: $s$.

    Returns:
        La media guiada, (B, …); la varianza del paso no cambia.
    """
    return mean + scale * variance * gradient


def _check_null(
    condition: Mapping[str, Tensor], null: Mapping[str, Tensor]
) -> None:
    found = {name: tuple(value.shape) for name, value in null.items()}
    expected = {name: tuple(value.shape) for name, value in condition.items()}
    if found != expected:
        raise ValueError(
            f"La condición nula es {found} y la condición, {expected}: deben "
            "tener los mismos nombres y formas para ir en la misma tanda."
        )
