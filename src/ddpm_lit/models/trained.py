"""Un modelo entrenado y lo que se hace con él: pedirle muestras."""

import difflib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_lit.backward import Model, Sampler
from ddpm_lit.conditioning import (
    check_data,
    null_condition,
    tokenize,
    wanted_conditions,
)
from ddpm_lit.data.dataset import check_integer
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.guidance import classifier_free
from ddpm_lit.latent import Autoencoder, fingerprint, load_autoencoder
from ddpm_lit.machine.devices import (
    BFLOAT16,
    FLOAT32,
    choose_device,
    in_bfloat16,
)
from ddpm_lit.machine.graphs import replayed
from ddpm_lit.machine.processes import Processes
from ddpm_lit.models.prompts import check_prompts, known_words
from ddpm_lit.models.together import sample_together
from ddpm_lit.recipes.recipe import Recipe, SamplingConfig
from ddpm_lit.sampling import (
    SAMPLERS,
    WHOLE,
    Edit,
    SampleStep,
    make_sampler,
)
from ddpm_lit.scheduler import Schedule

Classes = int | str | Sequence[int] | Sequence[str] | Tensor | None
"""Qué clases se piden: una para todas o una por muestra, por su número o por su nombre."""

FEW_STEPS = 50
"""Los pasos que se dan si no se dice otra cosa, con los samplers que no necesitan todos."""

DECODED = 64
"""Cuántos latentes se llevan a imágenes a la vez."""

LISTED = 20
"""Cuántos nombres de clase se enseñan en un error."""


@dataclass(frozen=True)
class Trained:
    """Un modelo entrenado, con lo que hace falta para usarlo.

    Args:
        model: la red, en modo de evaluación.
        recipe: la receta con que se entrenó.
        shape: la forma de una muestra, p. ej. (1, 8, 8).
        provenance: de dónde sale (pasos, segundos, versiones…).
        data: con qué datos se entrenó (nombres de las clases, cuántos, su huella…).
    """

    model: nn.Module
    recipe: Recipe
    shape: tuple[int, ...]
    provenance: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def diffusion(self) -> Diffusion:
        """El proceso que aprendió."""
        return self.recipe.make_diffusion()

    @property
    def schedule(self) -> Schedule:
        """El schedule con que se entrenó."""
        return self.diffusion.schedule

    @cached_property
    def autoencoder(self) -> Autoencoder | None:
        """El que dibuja lo que genera, si lo que genera son latentes; `None` si ya son datos.

        Raises:
            FileNotFoundError: si no está donde dice la receta.
            ValueError: si no es el mismo con que se entrenó.
        """
        source = self.recipe.data.autoencoder
        if source is None:
            return None
        found = load_autoencoder(source)
        if self.provenance.get("autoencoder") not in (None, fingerprint(found)):
            raise ValueError(
                f"El autoencoder «{source}» no es el mismo con que se entrenó "
                f"«{self.recipe.name}»: sus latentes no dirían lo mismo."
            )
        return found

    @property
    def image_shape(self) -> tuple[int, ...]:
        """La forma de lo que da `sample`: si genera latentes, la de la imagen de uno."""
        if self.autoencoder is None:
            return self.shape
        config = self.autoencoder.config
        height, width = (config.factor * side for side in self.shape[1:])
        return (config.in_channels, height, width)

    @property
    def num_classes(self) -> int | None:
        """Cuántas clases conoce la red, o `None` si no es condicional."""
        classes: int | None = self.recipe.model.options.get("num_classes")
        return classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """Los nombres de sus clases, en orden; vacía si no se saben."""
        return tuple(self.data.get("label_names", ()))

    def sampling(self, **changes: Any) -> SamplingConfig:
        """Cómo se genera: lo que lleva el modelo, con los cambios que se pidan.

        Cambiar de sampler olvida los pasos y el azar del que lleva el modelo: son suyos. Los
        pasos quedan siempre dichos.

        Args:
            **changes: campos de `SamplingConfig`.

        Returns:
            La configuración, con sus pasos.

        Raises:
            ValueError: si un campo no existe, o un valor no es válido.
        """
        known = [each.name for each in fields(SamplingConfig)]
        for name in changes:
            if name not in known:
                raise ValueError(_unknown_option(name, known))
        for name in ("guidance", "rescale", "eta"):
            value = changes.get(name, 0.0)
            if not isinstance(value, int | float) and (name, value) != (
                "eta",
                None,
            ):
                raise TypeError(
                    f"«{name}» debe ser un número y ha llegado {value!r}."
                )
        base = self.recipe.sampling
        if changes.get("sampler", base.sampler) != base.sampler:
            base = replace(base, steps=None, eta=None)
        chosen = replace(base, **changes)
        total = len(self.schedule)
        usual = total if chosen.sampler == "ddpm" else min(FEW_STEPS, total)
        return replace(chosen, steps=chosen.steps or usual)

    def sample(
        self,
        indices: int | Sequence[int],
        *,
        seed: int = 0,
        class_labels: Classes = None,
        text: str | Sequence[str] | None = None,
        scalars: Tensor | None = None,
        image: Tensor | None = None,
        condition: Mapping[str, Tensor] | None = None,
        sampler: str | Sampler | None = None,
        edit: Edit = WHOLE,
        batch_size: int = 128,
        device: str | torch.device | None = None,
        processes: Processes | None = None,
        callback: Callable[[SampleStep], None] | None = None,
        progress: bool = False,
        decoded: bool = True,
        **options: Any,
    ) -> Tensor:
        r"""Genera muestras: `trained.sample(16, class_labels=3, guidance=2.0, sampler="ddim")`.

        Args:
            indices: cuántas muestras, o el índice de cada una.
            seed: la semilla.
            class_labels: la clase de todas, o una por muestra, por su número o por su nombre;
                véase `class_condition`.
            text: la frase de todas, o una por muestra.
            scalars: los números que lleva la red, (N, S).
            image: la imagen que se concatena a cada muestra, (N, C, H, W).
            condition: las condiciones que lleve la red, por su nombre: tensores (N, …). Lo que
                diga manda sobre los demás argumentos.
            sampler: un nombre de `ddpm_lit.sampling.SAMPLERS`, o la función que da un paso; por
                defecto, el que lleva el modelo.
            edit: otra manera de recorrer el camino (véase `ddpm_lit.editing`).
            batch_size: cuántas muestras se generan a la vez.
            device: dónde se calcula; `None` elige el mejor dispositivo que haya.
            processes: los procesos entre los que se reparten, que dicen también dónde se calcula;
                todos deben pedir lo mismo (véase `models.together.sample_together`).
            callback: función que recibe cada `SampleStep` de cada lote de este proceso.
            progress: si se enseña una barra de progreso.
            decoded: si los latentes se entregan ya en imágenes; un modelo que no los lleva no hace
                caso. A `callback` le llegan siempre los latentes.
            **options: los demás campos de `SamplingConfig`: `steps`, `spacing`, `eta`,
                `guidance`, `rescale`, `interval`, `precision` y `cuda_graph`; por defecto, los que
                lleva el modelo.

        Returns:
            Las muestras, (N, *image_shape), en la CPU; los latentes, si se piden, (N, *shape).

        Raises:
            TypeError: si los índices o las clases no son enteros, o algo no es de su tipo.
            ValueError: si se pide una condición que la red no conoce o que no se puede leer,
                guiar una red que no aprendió a generar sin condición, o un dispositivo además de
                los procesos.
        """
        chosen = _indices(indices)
        if processes is None:
            where = choose_device(None if device is None else str(device))
            processes = Processes(where)
        elif device is not None:
            raise ValueError(
                f"Han llegado device = {str(device)!r} y processes, que ya dicen dónde se calcula: "
                "quita device, o dáselo a processes_for."
            )
        asked = self.class_condition(class_labels, len(chosen))
        asked |= self.text_condition(text, len(chosen))
        named = {"scalars": scalars, "image": image}
        asked |= self._given(named) | self._given(condition or {})
        if not isinstance(edit, Edit):
            raise TypeError(
                f"edit es {edit!r}, y debe salir de ddpm_lit.editing: inpaint(…) o redraw(…)."
            )
        if edit is not WHOLE and self.autoencoder is not None:
            raise ValueError(
                f"El modelo «{self.recipe.name}» genera latentes, y una imagen no se edita en "
                "ellos: usa un modelo de píxeles."
            )
        check_integer("batch_size", batch_size, minimum=1)
        if sampler is None or isinstance(sampler, str):
            own = {} if sampler is None else {"sampler": sampler}
            config = self.sampling(**own, **options)
            eta = {} if config.eta is None else {"eta": config.eta}
            step = make_sampler(config.sampler, **eta)
        elif callable(sampler):
            step, config = sampler, self._sampling_of(options)
        else:
            raise TypeError(
                f"sampler es {sampler!r}, y debe ser un nombre ({', '.join(SAMPLERS)}) o la "
                "función que da un paso."
            )
        # Sin frase no hay nada hacia lo que guiar, salvo que se pida.
        speechless = "tokens" in asked and text is None
        unguided = speechless and "guidance" not in options
        model = self.guided(
            0.0 if unguided else config.guidance,
            rescale=config.rescale,
            interval=config.interval,
            device=processes.device,
            precision=config.precision,
            cuda_graph=config.cuda_graph,
        )
        samples = sample_together(
            processes,
            model,
            self.diffusion,
            self.shape,
            indices=chosen,
            seed=seed,
            steps=config.steps,
            spacing=config.spacing,
            sampler=step,
            condition=asked,
            edit=edit,
            batch_size=batch_size,
            callback=callback,
            progress=progress,
        )
        return self.decode(samples) if decoded else samples

    @torch.no_grad()
    def decode(self, samples: Tensor) -> Tensor:
        """Las imágenes de unos latentes, recortadas a [-1, 1]; lo que ya son datos, como estaba.

        Args:
            samples: (N, *shape), en la CPU.

        Returns:
            (N, *image_shape).
        """
        if self.autoencoder is None:
            return samples
        return torch.cat(
            [
                self.autoencoder.decode(part).clamp(-1, 1)
                for part in torch.split(samples, DECODED)
            ]
        )

    def _given(self, given: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Las condiciones que llegan ya en un tensor, si la red las lleva y están a su escala."""
        wanted = wanted_conditions(self.recipe.network_config())
        condition = {}
        for name, value in given.items():
            if value is None:
                continue
            if name not in wanted:
                raise ValueError(
                    f"El modelo «{self.recipe.name}» no lleva «{name}», y ha llegado. Lo que "
                    f"lleva: {', '.join(wanted) or 'nada'}."
                )
            # Un escalar que no se sabe es NaN.
            known = (
                value.nan_to_num(posinf=torch.inf, neginf=-torch.inf)
                if name == "scalars" and isinstance(value, Tensor)
                else value
            )
            if name in ("scalars", "image"):
                check_data(name, known)
            condition[name] = value
        return condition

    def _sampling_of(self, options: Mapping[str, Any]) -> SamplingConfig:
        """La configuración con un sampler propio, que trae su azar y da todos los pasos."""
        if options.get("eta") is not None:
            raise ValueError(
                f"Ha llegado eta = {options['eta']} con un sampler que ya es una función: pon eta "
                'en él, con make_sampler("ddim", eta=…).'
            )
        everything = {"steps": len(self.schedule), "eta": None}
        return self.sampling(sampler="ddpm", **everything | dict(options))

    def guided(
        self,
        w: float,
        *,
        device: torch.device | str = "cpu",
        precision: str = FLOAT32,
        cuda_graph: bool = False,
        **options: Any,
    ) -> Model:
        """La red, guiada sin clasificador con peso `w`; con 0, la red tal cual.

        Args:
            w: el peso de la guía.
            device: dónde se deja la red.
            precision: con qué precisión calcula, `"float32"` o `"bfloat16"`; la guía se aplica
                siempre en float32.
            cuda_graph: si en CUDA se graba y se repite (véase `machine.graphs.replayed`).
            **options: `rescale` e `interval`, como en `ddpm_lit.guidance.classifier_free`.

        Returns:
            Una función `model(x_t, t, **condition)`.

        Raises:
            ValueError: si se quiere guiar una red que no aprendió a generar sin condición.
        """
        network: Model = self.model.to(device)
        model = in_bfloat16(network, precision == BFLOAT16)
        model = replayed(model, cuda_graph)
        if w == 0:
            return model
        if self.recipe.training.condition_dropout == 0:
            raise ValueError(
                f"El modelo «{self.recipe.name}» no se puede guiar: no aprendió a generar sin "
                "condición. Entrénalo con training.condition_dropout = 0.1, o no pidas guía."
            )
        null = partial(null_condition, num_classes=self.num_classes)
        channels = self.shape[0]
        return classifier_free(
            model, w, null=null, channels=channels, **options
        )

    def text_condition(
        self, text: str | Sequence[str] | None, count: int
    ) -> dict[str, Tensor]:
        """La condición `{"tokens": …}` de `count` muestras, comprobada.

        Args:
            text: la frase de todas, o una por muestra; con `None`, sin texto.
            count: cuántas muestras son.

        Returns:
            Un diccionario con un tensor int64 (count, L), o vacío si la red no lee texto.

        Raises:
            ValueError: si la red no lee texto, hay un número de frases que no es `count`, o
                alguna no tiene ninguna palabra que la red conozca. De las que no conoce, si
                conoce otras, se avisa.
        """
        config = self.recipe.network_config()
        vocabulary = getattr(config, "vocabulary", ())
        if not vocabulary:
            if text is None:
                return {}
            raise ValueError(
                f"El modelo «{self.recipe.name}» no lee texto: no se le puede pedir ninguna frase."
            )
        if text is None:
            empty = torch.zeros(count, config.text_length, dtype=torch.int64)
            return null_condition({"tokens": empty})
        if isinstance(text, bytes) or not hasattr(text, "__iter__"):
            raise TypeError(
                f"Una frase es un texto entre comillas, y ha llegado {text!r}."
            )
        captions = [text] * count if isinstance(text, str) else list(text)
        if len(captions) != count:
            raise ValueError(
                f"Hay {len(captions)} frases para {count} muestras: da una, o una por muestra."
            )
        check_prompts(captions, vocabulary, self.recipe.name)
        captions = known_words(captions, vocabulary, self.recipe.name)
        return {"tokens": tokenize(captions, vocabulary, config.text_length)}

    def class_condition(
        self, class_labels: Classes, count: int
    ) -> dict[str, Tensor]:
        """La condición `{"class_labels": …}` de `count` muestras, comprobada.

        Args:
            class_labels: la clase de todas, o una por muestra, por su número o por su nombre;
                con `None`, una red que conoce clases las recorre en orden.
            count: cuántas muestras son.

        Returns:
            Un diccionario con un tensor int64 (count,), o vacío si la red no conoce clases.

        Raises:
            TypeError: si las clases no son números enteros ni nombres.
            ValueError: si se pide una clase que no existe, no hay una por muestra, o la red no
                conoce clases.
        """
        if self.num_classes is None:
            if class_labels is None:
                return {}
            raise ValueError(
                f"El modelo «{self.recipe.name}» no conoce clases: no se le puede pedir ninguna."
            )
        if class_labels is None:
            return {"class_labels": torch.arange(count) % self.num_classes}
        labels = self._class_numbers(class_labels)
        labels = labels.expand(count) if labels.ndim == 0 else labels
        if labels.shape != (count,):
            raise ValueError(
                f"Las clases tienen forma {tuple(labels.shape)} para {count} muestras: da una, o "
                "una por muestra."
            )
        outside = labels[(labels < 0) | (labels >= self.num_classes)]
        if outside.numel() > 0:
            raise ValueError(
                f"El modelo «{self.recipe.name}» conoce las clases de 0 a {self.num_classes - 1} "
                f"y se ha pedido la {int(outside[0])}."
            )
        return {"class_labels": labels}

    def class_number(self, name: str) -> int:
        """El número de una clase, por su nombre o por ese mismo número, escrito.

        Args:
            name: el nombre; si no hay ninguna clase que se llame así, «3» es la 3.

        Returns:
            El número, que puede no ser el de ninguna clase.

        Raises:
            ValueError: si no es ni lo uno ni lo otro; dice a qué nombres se parece.
        """
        names, owner = self.class_names, self.recipe.name
        if name in names:
            return names.index(name)
        if name.isdecimal():
            return int(name)
        if self.num_classes is None:
            raise ValueError(
                f"El modelo «{owner}» no conoce clases: no se le puede pedir «{name}»."
            )
        if not names:
            raise ValueError(
                f"Las clases del modelo «{owner}» no tienen nombre, y se ha pedido «{name}»: pide "
                f"un número, de 0 a {self.num_classes - 1}."
            )
        folded = {each.casefold(): each for each in reversed(names)}
        close = difflib.get_close_matches(name.casefold(), folded, n=3)
        near = "», «".join(folded[each] for each in close)
        hint = f" ¿Querías decir «{near}»?" if close else ""
        listed = ", ".join(names[:LISTED])
        rest = f" y otras {len(names) - LISTED}" if len(names) > LISTED else ""
        raise ValueError(
            f"El modelo «{owner}» no conoce la clase «{name}».{hint} Conoce: {listed}{rest}."
        )

    def _class_numbers(self, class_labels: Any) -> Tensor:
        """Las clases que se piden como un tensor int64, sin mirar si existen."""
        if isinstance(class_labels, str):
            class_labels = self.class_number(class_labels)
        elif isinstance(class_labels, list | tuple):
            class_labels = [
                self.class_number(each) if isinstance(each, str) else each
                for each in class_labels
            ]
        try:
            labels = torch.as_tensor(class_labels)
            whole = not (labels.is_floating_point() or labels.is_complex())
        except (TypeError, ValueError, RuntimeError):
            whole = False
        if not whole or labels.dtype == torch.bool:
            raise TypeError(
                f"Las clases son números enteros y ha llegado {class_labels!r}."
            )
        return labels.to(torch.int64)


def _indices(indices: Any) -> Sequence[int]:
    """El índice de cada muestra: de 0 en adelante si lo que se dice es cuántas."""
    several = getattr(indices, "ndim", 0) > 0
    try:
        if isinstance(indices, bool):
            raise TypeError
        if several or not hasattr(indices, "__index__"):
            return [operator.index(each) for each in indices]
        count = operator.index(indices)
    except TypeError:
        raise TypeError(
            f"Lo primero que se le dice a sample es cuántas muestras, un entero, o el índice de "
            f"cada una, p. ej. range(16), y ha llegado {indices!r}."
        ) from None
    if count < 0:
        raise ValueError(
            f"Se piden {count} muestras, y no puede haber menos de 0."
        )
    return range(count)


def _unknown_option(name: str, known: list[str]) -> str:
    """Por qué no vale una opción al generar, y cuál sería."""
    moved = {
        **dict.fromkeys(("known", "mask"), "edit=inpaint(known, mask)"),
        **dict.fromkeys(
            ("initial", "strength"), "edit=redraw(initial, strength)"
        ),
        **dict.fromkeys(("jump", "resamplings"), "edit=inpaint(…)"),
    }
    conditions = ("class_labels", "text", "scalars", "image", "edit")
    close = difflib.get_close_matches(name, [*known, *conditions], n=1)
    if name in moved:
        hint = f" Eso se dice con {moved[name]}, de ddpm_lit.editing."
    else:
        hint = f" ¿Querías decir «{close[0]}»?" if close else ""
    return (
        f"No existe la opción «{name}» al generar.{hint} Las que hay: {', '.join(known)}; y, para "
        f"decir qué se genera, {', '.join(conditions)}."
    )
