"""Un modelo entrenado: cómo se genera con él si no se dice nada, y qué cambia lo que se pide."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import tiny
from ddpm_lit.models.storage import load_model, save_model
from ddpm_lit.models.trained import FEW_STEPS, Trained
from ddpm_lit.recipes.recipe import Recipe, SamplingConfig
from ddpm_lit.sampling import ancestral, make_sampler, sample

OWN = SamplingConfig(sampler="ddim", steps=7, eta=0.5, spacing="trailing")


def trained(recipe: Recipe, shape: tuple[int, ...] = (1, 8, 8), **own: Any) -> Trained:
    """Un modelo sin entrenar que dice cómo se genera con él."""
    recipe = replace(recipe, sampling=SamplingConfig(**own))
    return Trained(tiny.shaken(recipe), recipe, shape, {})


def long_toy(**own: Any) -> Trained:
    """Puntos del plano y un proceso de 80 pasos."""
    recipe = tiny.toy(condition_dropout=0.1)
    recipe = replace(recipe, diffusion=replace(recipe.diffusion, timesteps=80))
    return trained(recipe, (2,), **own)


# --- Las reglas -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "steps"), [("ddpm", 80), ("ddim", 50), ("dpm++2m", 50), ("heun", 50)]
)
def test_if_nothing_is_said_ddpm_takes_every_step_and_the_others_fifty(
    sampler: str, steps: int
) -> None:
    assert FEW_STEPS == 50
    assert long_toy().sampling(sampler=sampler) == SamplingConfig(sampler, steps)
    assert long_toy(sampler=sampler).sampling() == SamplingConfig(sampler, steps)
    short = trained(tiny.toy(), (2,))
    assert short.sampling(sampler=sampler).steps == 20


def test_it_is_the_one_of_the_model_with_the_changes_that_are_asked() -> None:
    model = long_toy(**vars(OWN))
    assert model.sampling() == OWN
    assert model.sampling(steps=9) == replace(OWN, steps=9)
    assert model.sampling(eta=0.0) == replace(OWN, eta=0.0)
    assert model.sampling(sampler="ddim") == OWN
    assert model.sampling(steps=None) == replace(OWN, steps=50)


def test_another_sampler_forgets_the_steps_and_the_eta_and_nothing_else() -> None:
    model = long_toy(**vars(OWN) | {"guidance": 1.5, "rescale": 0.3, "interval": (2, 60)})
    kept = {"spacing": "trailing", "guidance": 1.5, "rescale": 0.3, "interval": (2, 60)}
    assert model.sampling(sampler="ddpm") == SamplingConfig("ddpm", 80, **kept)
    assert model.sampling(sampler="heun") == SamplingConfig("heun", 50, **kept)
    assert model.sampling(sampler="heun", steps=4) == SamplingConfig("heun", 4, **kept)


def test_what_does_not_exist_or_makes_no_sense_is_refused() -> None:
    model = long_toy(**vars(OWN))
    with pytest.raises(ValueError, match=r"No existe la opción «pasos».*sampler, steps, spacing"):
        model.sampling(pasos=3)
    with pytest.raises(ValueError, match=r"No existe la opción «known»"):
        model.sample(2, known=torch.zeros(2))
    with pytest.raises(ValueError, match="«heun» no admite «eta»"):
        model.sampling(sampler="heun", eta=0.5)
    with pytest.raises(ValueError, match=r"«sampling\.steps».*un número positivo"):
        model.sampling(steps=-1)
    with pytest.raises(ValueError, match="ningún sampler «euler»"):
        model.sample(2, sampler="euler")


# --- Y las muestras -------------------------------------------------------------------------------


def test_a_model_samples_as_it_says() -> None:
    model = long_toy(**vars(OWN))

    def wanted(**options: Any) -> torch.Tensor:
        return sample(model.model, model.diffusion, (2,), indices=range(3), seed=4, **options)

    own = model.sample(3, seed=4, device="cpu")
    expected = wanted(steps=7, spacing="trailing", sampler=make_sampler("ddim", eta=0.5))
    assert torch.equal(own, expected)
    assert torch.equal(
        model.sample(3, seed=4, device="cpu", sampler="ddpm"), wanted(spacing="trailing")
    )
    # Una función trae su azar y da todos los pasos que no se le quiten.
    assert torch.equal(
        model.sample(3, seed=4, device="cpu", sampler=ancestral), wanted(spacing="trailing")
    )
    assert torch.equal(
        model.sample(3, seed=4, device="cpu", sampler=ancestral, steps=6),
        wanted(steps=6, spacing="trailing"),
    )


def test_a_saved_model_remembers_how_it_is_sampled(tmp_path: Any) -> None:
    model = long_toy(**vars(OWN) | {"interval": (2, 60)})
    save_model(tmp_path / "m.safetensors", model.model, model.recipe, (2,))
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.sampling() == replace(OWN, interval=(2, 60))
    assert torch.equal(loaded.sample(2, device="cpu"), model.sample(2, device="cpu"))


def test_a_model_guides_by_default_only_towards_something() -> None:
    reader = trained(tiny.reader(), steps=3, guidance=2.0)
    plain = trained(tiny.reader(), steps=3)
    options: dict[str, Any] = {"device": "cpu"}
    guided = reader.sample(2, text="tres", **options)
    assert torch.equal(guided, plain.sample(2, text="tres", guidance=2.0, **options))
    assert not torch.allclose(guided, plain.sample(2, text="tres", **options), atol=1e-3)
    assert torch.equal(
        reader.sample(2, text="tres", guidance=0.0, **options),
        plain.sample(2, text="tres", **options),
    )

    calls: list[int] = []
    handle = reader.model.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    speechless = reader.sample(2, **options)
    handle.remove()
    assert calls == [2, 2, 2], "sin frase, una evaluación por paso"
    assert torch.equal(speechless, plain.sample(2, **options))

    classes = trained(tiny.conditional(num_classes=10), steps=3, guidance=2.0)
    calls.clear()
    classes.model.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    classes.sample(2, **options)
    assert sum(calls) == 12, "las clases se recorren, y hacia ellas se guía"


def test_bfloat16_is_only_of_the_network_and_only_if_asked() -> None:
    model = trained(tiny.conditional(num_classes=10), steps=3, sampler="ddim", guidance=2.0)
    options: dict[str, Any] = {"class_labels": 4, "device": "cpu"}
    seen: list[torch.dtype] = []
    handle = model.model.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    fine, rough = model.sample(2, **options), model.sample(2, precision="bfloat16", **options)
    handle.remove()
    assert seen == [torch.float32] * 3 + [torch.bfloat16] * 3
    # La red pierde cifras; la guía y los pasos, no.
    plain = Trained(_Rounded(model.model), model.recipe, model.shape, {})
    assert rough.dtype == torch.float32
    assert torch.equal(rough, plain.sample(2, **options))
    assert not torch.equal(rough, fine)
    assert (rough - fine).abs().max() < 0.05 * fine.abs().max()
    # El modelo puede llevarla, y float32 la quita.
    own = replace(
        model, recipe=replace(model.recipe, sampling=model.sampling(precision="bfloat16"))
    )
    assert torch.equal(own.sample(2, **options), rough)
    assert torch.equal(own.sample(2, precision="float32", **options), fine)
    with pytest.raises(ValueError, match=r"«sampling\.precision».*float32, bfloat16"):
        model.sample(2, precision="float16", **options)


class _Rounded(nn.Module):
    """La red en precisión mixta, con lo que devuelve otra vez en float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor, **condition: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output: torch.Tensor = self.model(*inputs, **condition)
        return output.to(torch.float32)


# --- Las clases -----------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [3.7, 3.0, [1, 2.5], torch.tensor([1.0, 2.0]), True])
def test_classes_are_whole_numbers(labels: Any) -> None:
    model = trained(tiny.conditional(num_classes=10), steps=2)
    with pytest.raises(TypeError, match="Las clases son números enteros y ha llegado"):
        model.sample(2, class_labels=labels)


def test_classes_of_any_integer_type_are_the_same() -> None:
    model = trained(tiny.conditional(num_classes=10), steps=2)
    expected = model.sample(2, class_labels=[4, 4], device="cpu")
    for labels in (4, torch.tensor(4), torch.tensor([4, 4], dtype=torch.uint8)):
        assert torch.equal(model.sample(2, class_labels=labels, device="cpu"), expected)


def test_the_names_of_the_classes_travel_with_the_weights(tmp_path: Any) -> None:
    recipe = tiny.conditional(num_classes=2)
    names = ["gato", "perro"]
    path = tmp_path / "m.safetensors"
    save_model(path, tiny.shaken(recipe), recipe, (1, 8, 8), data={"label_names": names})
    assert load_model(path).class_names == ("gato", "perro")
    assert trained(recipe).class_names == ()
