"""Peticiones raras a un modelo entrenado, desde Python: o se atienden, o se dice qué hacer."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tiny
from ddpm_lit.conditioning import tokenize
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.editing import inpaint, redraw, repaint_path
from ddpm_lit.models.prompts import check_prompts, known_words
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.models.trained import Trained
from ddpm_lit.networks.mlp import MLP, MLPConfig
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.train import train
from ddpm_lit.sampling import sample
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.unet import UNet, UNetConfig

NAMES = ("gato", "perro", "Pez espada", *map(str, range(3, 10)))


def trained(recipe: Recipe, *names: str, shape: tuple[int, ...] = (1, 8, 8)) -> Trained:
    return Trained(tiny.shaken(recipe), recipe, shape, {}, {"label_names": names})


READER = trained(tiny.reader())
CLASSES = trained(tiny.conditional(num_classes=10), *NAMES)
NAMELESS = trained(tiny.conditional(num_classes=10))
PLAIN = trained(tiny.conditional())
ENLARGER = trained(tiny.enlarger())
TOY = trained(tiny.toy(), shape=(2,))
FAST: dict[str, Any] = {"steps": 2, "device": "cpu"}


# --- Frases ---------------------------------------------------------------------------------------

COLOURS = ("corazon", "rojo", "gato", "perro", "cara", "de")


@pytest.mark.parametrize("prompt", ["", " ", "¿?", "...", "!!!", "-"])
def test_a_prompt_without_words_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match="no tiene ninguna palabra que el modelo «lee» pueda leer"):
        READER.sample(2, text=prompt, **FAST)
    with pytest.raises(ValueError, match="para no pedir nada, no des ninguna frase"):
        READER.sample(2, text=["uno", prompt], **FAST)


def test_nothing_can_be_asked_for_by_asking_for_nothing() -> None:
    assert READER.sample(2, **FAST).shape == (2, 1, 8, 8)
    assert READER.sample(2, text="Uno, dos", **FAST).shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("❤️", "lleva «❤».*Prueba con «corazón rojo»"),
        ("🐶", "lleva «🐶».*Prueba con «cara de perro»"),
        ("gato ❤️", "lleva «❤».*Prueba con «gato corazón rojo»"),
        ("🍎", "Se llama «manzana roja», pero el modelo no conoce esas palabras"),
        ("☞", "lleva «☞».*con letras"),
    ],
)
def test_an_emoji_is_not_a_word_but_its_name_may_be(prompt: str, words: str) -> None:
    pytest.importorskip("emoji")
    with pytest.raises(ValueError, match=words):
        check_prompts([prompt], COLOURS, "colores")


def test_without_the_package_an_emoji_is_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "emoji", None)
    with pytest.raises(ValueError, match=r"lee palabras, y «gato ❤️» lleva «❤».*con letras"):
        check_prompts(["gato ❤️"], COLOURS, "colores")


def test_what_is_not_text_is_not_a_prompt() -> None:
    with pytest.raises(TypeError, match="texto entre comillas, y ha llegado 3"):
        READER.sample(1, text=[3], **FAST)  # type: ignore[list-item]


def test_every_unknown_word_is_named() -> None:
    with pytest.raises(ValueError) as raised:
        tokenize(["un corason verde y un gatto"], (*COLOURS, "un"), 12)
    message = str(raised.value)
    for each in ("«corason» (¿«corazon»?)", "«verde»", "«y»", "«gatto» (¿«gato»?)"):
        assert each in message
    assert "«un»" not in message
    assert "Conoce 7 palabras" in message
    with pytest.raises(ValueError, match=r"no conoce la palabra «gatto».*¿Querías decir «gato»\?"):
        tokenize(["gato gatto gatto"], COLOURS, 12)


def test_unknown_words_are_said_and_left_out_if_there_are_others() -> None:
    vocabulary = (*COLOURS, "un")
    with pytest.warns(UserWarning) as warned:
        read = known_words(["un corason rojo", "gato", "un corason rojo"], vocabulary, "colores")
    assert read == ["un rojo", "gato", "un rojo"]
    (message,) = {str(each.message) for each in warned}
    assert message == (
        "El modelo «colores» no conoce «corason» (¿«corazon»?): de «un corason rojo» lee solo "
        "«un rojo»."
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert known_words(["Corazón rojo", "dragón"], vocabulary, "x") == [
            "Corazón rojo",
            "dragón",
        ]


def test_a_model_draws_with_the_words_it_knows_and_refuses_if_it_knows_none() -> None:
    with pytest.warns(UserWarning, match=r"no conoce «doss» \(¿«dos»\?\) y «xyz»"):
        made = READER.sample(2, text="uno doss, xyz", **FAST)
    assert torch.equal(made, READER.sample(2, text="uno", **FAST))
    with pytest.raises(ValueError, match="no conoce las palabras «doss»"):
        READER.sample(2, text="doss xyz", **FAST)


# --- Clases ---------------------------------------------------------------------------------------


def test_classes_are_asked_for_by_their_name() -> None:
    by_name = CLASSES.sample(3, class_labels=["perro", "Pez espada", "9"], **FAST)
    assert torch.equal(by_name, CLASSES.sample(3, class_labels=[1, 2, 9], **FAST))
    assert torch.equal(
        CLASSES.sample(2, class_labels="gato", **FAST), CLASSES.sample(2, class_labels=0, **FAST)
    )


def test_a_number_is_that_class_only_if_no_other_is_called_so() -> None:
    crossed = replace(CLASSES, data={"label_names": ("1", "0", *"23456789")})
    assert crossed.class_number("1") == 0
    assert crossed.class_number("7") == 7
    assert NAMELESS.class_number("7") == 7


@pytest.mark.parametrize("asked", ["gatos", "GATO", "pez espada"])
def test_a_name_that_is_almost_right_is_suggested(asked: str) -> None:
    near = {"gatos": "gato", "GATO": "gato", "pez espada": "Pez espada"}[asked]
    with pytest.raises(ValueError, match=rf"no conoce la clase «{asked}».*¿Querías decir «{near}»"):
        CLASSES.sample(1, class_labels=asked, **FAST)


def test_many_classes_are_not_all_listed() -> None:
    many = replace(NAMELESS, data={"label_names": [f"clase {number}" for number in range(100)]})
    with pytest.raises(ValueError, match="clase 19 y otras 80"):
        many.class_number("lobo")


@pytest.mark.parametrize(
    ("model", "labels", "error", "words"),
    [
        (NAMELESS, "gato", ValueError, "no tienen nombre, y se ha pedido «gato»: .* de 0 a 9"),
        (PLAIN, "gato", ValueError, "no conoce clases"),
        (CLASSES, [0, 1], ValueError, r"forma \(2,\) para 3 muestras: da una, o una por muestra"),
        (CLASSES, torch.zeros(3, 1).long(), ValueError, r"forma \(3, 1\) para 3 muestras"),
        (CLASSES, torch.zeros(3), TypeError, "números enteros"),
        (CLASSES, torch.zeros(3, dtype=torch.complex64), TypeError, "números enteros"),
        (CLASSES, torch.ones(3, dtype=torch.bool), TypeError, "números enteros"),
        (CLASSES, [0, None, 1], TypeError, "números enteros"),
        (CLASSES, [[0], [1, 2]], TypeError, "números enteros"),
        (CLASSES, {"gato"}, TypeError, "números enteros"),
        (CLASSES, 2**70, TypeError, "números enteros"),
        (CLASSES, [0, 1, 10], ValueError, "clases de 0 a 9 y se ha pedido la 10"),
        (CLASSES, -1, ValueError, "clases de 0 a 9 y se ha pedido la -1"),
    ],
)
def test_classes_that_are_not_classes(
    model: Trained, labels: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        model.sample(3, class_labels=labels, **FAST)


def test_classes_of_any_whole_type_will_do() -> None:
    expected = CLASSES.sample(3, class_labels=[1, 2, 9], **FAST)
    for kind in (torch.uint8, torch.int32, torch.int64):
        labels = torch.tensor([1, 2, 9], dtype=kind)
        assert torch.equal(CLASSES.sample(3, class_labels=labels, **FAST), expected)
    assert torch.equal(CLASSES.sample(3, class_labels=np.array([1, 2, 9]), **FAST), expected)


# --- Cuántas y cómo -------------------------------------------------------------------------------


@pytest.mark.parametrize("indices", [2.5, "dos", None, True, [0, 1.5], torch.tensor([0.5])])
def test_how_many_is_a_whole_number(indices: Any) -> None:
    with pytest.raises(TypeError, match="cuántas muestras, un entero, o el índice de cada una"):
        TOY.sample(indices, **FAST)


def test_there_are_not_fewer_than_none() -> None:
    with pytest.raises(ValueError, match="Se piden -3 muestras"):
        TOY.sample(-3, **FAST)
    with pytest.raises(ValueError, match=r"de 0 a 2\*\*32 - 1 y ha llegado -1"):
        TOY.sample([-1], **FAST)
    assert TOY.sample(0, **FAST).shape == (0, 2)


def test_indices_may_come_in_any_box() -> None:
    expected = TOY.sample(8, **FAST)[[7, 2]]
    for indices in ([7, 2], (7, 2), np.array([7, 2]), torch.tensor([7, 2])):
        assert torch.allclose(TOY.sample(indices, **FAST), expected, atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(TOY.sample(torch.tensor([7]), **FAST), expected[:1], atol=1e-6)  # type: ignore[arg-type]
    assert torch.equal(TOY.sample(np.int64(8), **FAST)[[7, 2]], expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("labels", "¿Querías decir «class_labels»"),
        ("guidanse", "¿Querías decir «guidance»"),
        ("known", r"edit=inpaint\(known, mask\), de ddpm_lit\.editing"),
        ("strength", r"edit=redraw\(initial, strength\)"),
        ("w", "Las que hay: sampler, steps.*class_labels, text"),
    ],
)
def test_a_wrong_option_says_which_there_are(option: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"No existe la opción «{option}».*{words}"):
        CLASSES.sample(1, **{option: 1})


# --- Imágenes a otra escala -----------------------------------------------------------------------

SMALL = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (SMALL + 255, r"«image» llega hasta 255 y los datos viven en \[-1, 1\].*127\.5"),
        (SMALL.to(torch.uint8), r"«image» es de tipo torch\.uint8.*127\.5"),
        (SMALL + torch.nan, "«image» tiene valores que no son finitos"),
        (torch.zeros(2, 3, 8, 8), r"espera una de forma \(2, 1, 8, 8\).*\(2, 3, 8, 8\)"),
        (SMALL[:1], "1 filas y se han pedido 2 muestras"),
        (None, "espera una de forma .*y ha llegado ninguna"),
    ],
)
def test_an_image_condition_at_another_scale_is_explained(image: Tensor | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ENLARGER.sample(2, image=image, **FAST)


def test_what_is_not_a_tensor_is_not_an_image() -> None:
    with pytest.raises(TypeError, match="«image» es un ndarray y debe ser un tensor"):
        ENLARGER.sample(2, image=SMALL.numpy(), **FAST)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda x: inpaint(x, torch.ones(8, 8)),
        lambda x: redraw(x, 0.5),
    ],
)
def test_the_scale_is_checked_wherever_an_image_comes_in(make: Callable[[Tensor], object]) -> None:
    with pytest.raises(ValueError, match=r"llega hasta 255.*127\.5"):
        make(SMALL + 255)
    with pytest.raises(ValueError, match=r"torch\.uint8.*127\.5"):
        make((SMALL + 255).to(torch.uint8))
    make(SMALL + 1.2)


def test_a_network_does_not_take_whole_numbers_for_data() -> None:
    t = torch.zeros(2).long()
    for model, x in ((PLAIN.model, SMALL), (TOY.model, torch.zeros(2, 2))):
        with pytest.raises(TypeError, match=r"torch\.uint8 y debe ser de coma flotante"):
            model(x.to(torch.uint8), t)


def test_one_step_leaves_nothing_to_repeat() -> None:
    with pytest.raises(ValueError, match="Con un solo paso no hay ningún tramo que repetir 3"):
        repaint_path(1, 1, 3)
    assert repaint_path(1, 5, 1) == [0]


# --- Media precisión ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("model", [TOY, CLASSES, READER, ENLARGER])
def test_a_network_in_another_precision_samples_almost_the_same(
    model: Trained, kind: torch.dtype
) -> None:
    options: dict[str, Any] = {**FAST, "steps": 3}
    if model is ENLARGER:
        options["image"] = SMALL
    if model is READER:
        options |= {"text": "uno", "guidance": 1.0}
    other = replace(model, model=tiny.shaken(model.recipe).to(kind))
    found = other.sample(2, **options)
    assert found.dtype == torch.float32
    error = (found - model.sample(2, **options)).abs().max()
    assert error < {torch.float16: 0.02, torch.bfloat16: 0.15, torch.float64: 1e-4}[kind]


def test_a_half_network_also_samples_without_a_recipe() -> None:
    process = Diffusion(make_schedule("cosine", 20), "v")
    unet = UNet(
        UNetConfig(
            in_channels=1,
            block_out_channels=(4, 4),
            attention=(False, True),
            layers_per_block=1,
            norm_num_groups=2,
            num_scalars=1,
        )
    )
    mlp = MLP(MLPConfig(dim=2, width=16, depth=1, timesteps=20))
    cases: list[tuple[nn.Module, tuple[int, ...], dict[str, Tensor]]] = [
        (unet, (1, 8, 8), {"scalars": torch.zeros(2, 1)}),
        (mlp, (2,), {}),
    ]
    for model, shape, condition in cases:
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.1)
        half = model.eval().half()
        found = sample(half, process, shape, indices=range(2), steps=3, condition=condition)
        assert found.dtype == torch.float32
        assert found.isfinite().all()


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_of_another_in_another_precision_is_given_its_own(kind: torch.dtype) -> None:
    class Foreign(nn.Linear):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            assert x.dtype == kind
            return super().forward(x)

    process = Diffusion(make_schedule("cosine", 20), "v")
    network = Foreign(2, 2)
    plain = sample(
        lambda x, t: nn.functional.linear(x, network.weight, network.bias),
        process,
        (2,),
        indices=range(3),
    )
    found = sample(network.to(kind), process, (2,), indices=range(3))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain, atol=0.1, rtol=0)


# --- Lo que no es de su tipo ----------------------------------------------------------------------

SCALARS = trained(tiny.conditional("tinta", conditions={"scalars": "ink"}, num_scalars=1))


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        (SCALARS, {"scalars": 0.5}, TypeError, "«scalars» es un float y debe ser un tensor"),
        (SCALARS, {"scalars": [0.1, 0.2]}, TypeError, "«scalars» es un list"),
        (SCALARS, {"scalars": torch.zeros(2, 1).long()}, ValueError, "debe ser de coma flotante"),
        (SCALARS, {"scalars": torch.full((2, 1), torch.inf)}, ValueError, "no son finitos"),
        (SCALARS, {"scalars": torch.full((2, 1), 255.0)}, ValueError, "llega hasta 255"),
        (TOY, {"scalars": torch.zeros(2, 1)}, ValueError, "no lleva «scalars».*nada"),
        (CLASSES, {"image": SMALL}, ValueError, "no lleva «image».*Lo que lleva: class_labels"),
        (READER, {"text": 3}, TypeError, "texto entre comillas, y ha llegado 3"),
        (READER, {"text": b"uno"}, TypeError, "texto entre comillas, y ha llegado b'uno'"),
        (TOY, {"batch_size": 1.5}, TypeError, r"«batch_size» debe ser un número entero.*1\.5"),
        (TOY, {"steps": 2.5}, ValueError, r"«sampling\.steps» .*2\.5.*positivo y entero"),
        (TOY, {"steps": "2"}, ValueError, "«sampling.steps» .*positivo y entero"),
        (TOY, {"sampler": "ddim", "eta": "x"}, TypeError, "«eta» debe ser un número y ha llegado"),
        (CLASSES, {"guidance": "x"}, TypeError, "«guidance» debe ser un número"),
        (CLASSES, {"guidance": None}, TypeError, "«guidance» debe ser un número.*None"),
        (CLASSES, {"guidance": torch.ones(2)}, TypeError, "«guidance» debe ser un número"),
        (TOY, {"sampler": 3}, TypeError, "sampler es 3, y debe ser un nombre .ddpm, ddim"),
        (TOY, {"edit": "hueco"}, TypeError, "edit es 'hueco', y debe salir de ddpm_lit.editing"),
    ],
)
def test_what_is_of_another_kind_is_explained(
    model: Trained, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        model.sample(2, **FAST | options)


def test_a_number_that_is_not_known_is_nan() -> None:
    unknown = SCALARS.sample(2, scalars=torch.full((2, 1), torch.nan), **FAST)
    assert torch.equal(unknown, SCALARS.sample(2, **FAST))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"recipe": "swiss-roll"}, r"«recipe» es un str y debe ser un Recipe.*load_recipe"),
        ({"dataset": torch.zeros(4, 2)}, "«dataset» es un Tensor y debe ser un Dataset"),
        ({"weights": "a.safetensors"}, "«weights» es un str y debe ser un Trained.*load_model"),
        ({"every": 5}, r"«every» es un int y debe ser un Every: por ejemplo, Every\(log=5\)"),
    ],
)
def test_training_wants_things_and_not_their_names(
    arguments: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(TypeError, match=words):
        train(**{"recipe": tiny.toy(), "run_dir": tmp_path / "run", "progress": False} | arguments)
    assert not (tmp_path / "run").exists()


def test_a_file_only_says_what_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(TypeError, match=r"no se puede escribir en JSON.*usa números, textos"):
        save_model(path, TOY.model, TOY.recipe, TOY.shape, {"loss": torch.zeros(1)})
    assert not path.exists()
    save_model(path, TOY.model, TOY.recipe, TOY.shape, {"loss": 0.1})
    with pytest.raises(ValueError, match="«tpu» no es un dispositivo"):
        load_model(path, "tpu")
