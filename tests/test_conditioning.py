"""Las condiciones: cómo se escriben, cómo se anulan y cómo entran en la red."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from ddpm_lit.conditioning import (
    PADDING,
    START,
    TextEncoder,
    build_vocabulary,
    drop_condition,
    null_condition,
    tokenize,
    words,
)
from ddpm_lit.data import Dataset
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.models.storage import load_model
from ddpm_lit.noise import TrainingDraws, condition_draws
from ddpm_lit.recipes.data import training_data, with_text
from ddpm_lit.recipes.reading import load_recipe, recipe_from_dict
from ddpm_lit.runs.train import WORDS, train
from ddpm_lit.scheduler import make_schedule
from ddpm_lit.training import ConditionDropout, algorithm1, gradient_step
from ddpm_lit.unet import CrossAttention, ResidualBlock, UNet, UNetConfig, describe

VOCABULARY = ("azul", "corazon", "rojo")


def text_config(**options):
    base = {
        "in_channels": 1,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "attention": (False, True),
        "norm_num_groups": 4,
        "vocabulary": VOCABULARY,
        "text_dim": 8,
        "text_length": 5,
    }
    return UNetConfig(**base | options)


def randomised(config, seed=0):
    torch.manual_seed(seed)
    model = UNet(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


# --- Las palabras ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Corazón Añil, con 2 lazos", ["corazon", "añil", "con", "2", "lazos"]),
        ("PIÑATA", ["piñata"]),
        ("n\u0303u u\u0308", ["ñu", "u"]),
        ("bandera: España", ["bandera", "españa"]),
        ("  ", []),
    ],
)
def test_words_lose_their_accents_but_keep_the_enye(text, expected):
    assert words(text) == expected


def test_tokens_open_with_start_and_end_with_padding():
    tokens = tokenize(["corazón rojo", "azul", ""], VOCABULARY, 4)
    assert tokens.tolist() == [
        [START, 3, 4, PADDING],
        [START, 2, PADDING, PADDING],
        [START, PADDING, PADDING, PADDING],
    ]


def test_the_vocabulary_is_every_word_once():
    assert build_vocabulary(["corazón rojo", "Corazón azul"]) == VOCABULARY


def test_an_unknown_word_is_named_and_a_close_one_suggested():
    with pytest.raises(ValueError, match=r"no conoce la palabra «corason».*«corazon»"):
        tokenize(["corasón rojo"], VOCABULARY, 5)


def test_a_phrase_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="tiene 3 palabras y la red lee como mucho 2"):
        tokenize(["rojo rojo rojo"], VOCABULARY, 3)


# --- La condición nula ----------------------------------------------------------------------------


def test_each_condition_has_its_null_and_the_image_stays():
    image = torch.randn(2, 1, 4, 4)
    null = null_condition(
        {
            "class_labels": torch.tensor([3, 5]),
            "tokens": torch.tensor([[1, 4, 2], [1, 3, 0]]),
            "scalars": torch.tensor([[0.5], [0.1]]),
            "image": image,
        },
        num_classes=10,
    )
    assert null["class_labels"].tolist() == [10, 10]
    assert null["tokens"].tolist() == [[START, 0, 0], [START, 0, 0]]
    assert null["scalars"].isnan().all()
    assert null["image"] is image


def test_a_condition_that_is_not_known_has_no_null():
    with pytest.raises(ValueError, match=r"valor nulo de la condición «escalares».*scalars"):
        null_condition({"escalares": torch.ones(2, 1)})


def test_null_classes_need_to_know_how_many_there_are():
    with pytest.raises(ValueError, match="da num_classes"):
        null_condition({"class_labels": torch.tensor([1])})


def test_only_the_marked_examples_lose_their_condition():
    condition = {"class_labels": torch.arange(4), "tokens": torch.full((4, 3), 2)}
    null = null_condition(condition, num_classes=10)
    dropped = torch.tensor([False, True, False, True])
    result = drop_condition(condition, null, dropped)
    assert result["class_labels"].tolist() == [0, 10, 2, 10]
    assert result["tokens"][:, 1].tolist() == [2, 0, 2, 0]


def test_conditions_are_dropped_example_by_example_with_the_given_probability():
    draws = torch.stack([condition_draws(0, step, range(64)) for step in range(100)])
    dropped = draws <= 0.1
    # 6 400 monedas de probabilidad 0,1: cuatro desviaciones típicas son 0,015.
    assert abs(dropped.double().mean() - 0.1) < 0.015
    assert dropped.any(dim=0).float().mean() > 0.9
    assert torch.equal(condition_draws(0, 7, range(4, 8)), draws[7, 4:8])


@pytest.mark.parametrize(("dropout", "expected"), [(0.0, set(range(4))), (1.0, {10})])
def test_algorithm1_feeds_the_dropped_condition_to_the_network(dropout, expected):
    seen = set()
    weight = torch.nn.Parameter(torch.zeros(1))

    def model(x, t, class_labels):
        seen.update(class_labels.tolist())
        return x * weight

    batches = [{"x": torch.zeros(4, 2), "class_labels": torch.arange(4)}] * 3
    descend = gradient_step(torch.optim.SGD([weight], lr=0.1))
    diffusion = Diffusion(make_schedule("cosine", 10))
    turned_off = map(ConditionDropout(dropout, partial(null_condition, num_classes=10)), batches)
    list(algorithm1(model, diffusion, turned_off, TrainingDraws(), descend))
    assert seen == expected


# --- La red ---------------------------------------------------------------------------------------


def test_padding_is_not_read():
    model = randomised(text_config())
    long = randomised(text_config(text_length=9))
    weights = model.state_dict()
    positions = torch.randn(9, 8)
    positions[:5] = weights["text_encoder.positions"]
    long.load_state_dict(weights | {"text_encoder.positions": positions})
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    captions = ["corazón rojo", "azul"]
    short_output = model(x, t, tokens=tokenize(captions, VOCABULARY, 5))
    long_output = long(x, t, tokens=tokenize(captions, VOCABULARY, 9))
    assert torch.allclose(short_output, long_output, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"cross_attention": True}, {"cross_attention": False}, {"scale_shift": True}],
    ids=["atencion", "resumen", "film"],
)
def test_the_text_changes_the_output_and_no_text_is_the_null_phrase(options):
    model = randomised(text_config(**options))
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    red, blue, empty = (
        model(x, t, tokens=tokenize([caption] * 2, VOCABULARY, 5))
        for caption in ("corazón rojo", "corazón azul", "")
    )
    assert (red - blue).abs().max() > 1e-4
    assert torch.allclose(model(x, t), empty, atol=1e-6)


def test_word_order_matters():
    model = randomised(text_config())
    x, t = torch.randn(1, 1, 8, 8), torch.tensor([3])
    one, other = (
        model(x, t, tokens=tokenize([caption], VOCABULARY, 5))
        for caption in ("rojo azul", "azul rojo")
    )
    assert (one - other).abs().max() > 1e-4


def test_cross_attention_is_the_formula_of_the_paper():
    config = text_config(attention_head_dim=4)
    torch.manual_seed(0)
    layer = CrossAttention(16, config)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    text = TextEncoder(3, dim=8, layers=1, length=5).eval()(
        tokenize(["corazón rojo", "azul"], VOCABULARY, 5)
    )
    x = torch.randn(2, 16, 2, 2)
    pixels = layer.group_norm(x).flatten(2).transpose(1, 2)
    out = torch.zeros(2, 4, 16)
    for sample in range(2):
        length = int(text.mask[sample].sum())
        words_read = text.tokens[sample, :length]
        for head in range(4):
            part = slice(4 * head, 4 * head + 4)
            q = layer.to_q(pixels[sample])[:, part]
            k, v = layer.to_k(words_read)[:, part], layer.to_v(words_read)[:, part]
            out[sample, :, part] = torch.softmax(q @ k.T / math.sqrt(4), dim=1) @ v
    expected = x + layer.to_out[0](out).transpose(1, 2).unflatten(2, (2, 2))
    assert torch.allclose(layer(x, text), expected, atol=1e-5)


def test_film_scales_and_shifts_each_channel():
    config = text_config(scale_shift=True)
    torch.manual_seed(0)
    block = ResidualBlock(8, 8, 32, config).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, emb = torch.randn(2, 8, 4, 4), torch.randn(2, 32)
    silu = torch.nn.functional.silu
    gamma, beta = block.time_emb_proj(silu(emb))[:, :, None, None].split(8, dim=1)
    h = block.norm2(block.conv1(silu(block.norm1(x)))) * (1 + gamma) + beta
    assert torch.allclose(block(x, emb), x + block.conv2(silu(h)), atol=1e-5)


def test_scalars_change_the_output_and_nan_is_no_scalar():
    model = randomised(text_config(vocabulary=(), num_scalars=2))
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    values = torch.tensor([[0.2, -0.4], [0.9, 0.0]])
    assert (model(x, t, scalars=values) - model(x, t, scalars=-values)).abs().max() > 1e-3
    assert torch.equal(model(x, t, scalars=torch.full((2, 2), torch.nan)), model(x, t))
    half_known = torch.tensor([[0.2, torch.nan], [0.9, 0.0]])
    assert model(x, t, scalars=half_known).isfinite().all()


def test_the_image_is_read_beside_x_t():
    config = text_config(vocabulary=(), condition_channels=2)
    model = randomised(config)
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    image = torch.randn(2, 2, 8, 8)
    joined = randomised(text_config(vocabulary=(), in_channels=3, out_channels=1))
    joined.load_state_dict(model.state_dict())
    assert torch.equal(model(x, t, image=image), joined(torch.cat([x, image], dim=1), t))


@pytest.mark.parametrize(
    ("options", "condition", "message"),
    [
        ({"vocabulary": ()}, {"tokens": torch.ones(2, 5).long()}, "no lee texto"),
        ({}, {"tokens": torch.ones(3, 5).long()}, "3 frases para 2 muestras"),
        ({}, {"tokens": torch.ones(2, 6).long()}, "se esperaba .B, 5."),
        ({}, {"scalars": torch.ones(2, 1)}, "no lleva escalares"),
        ({"num_scalars": 2}, {"scalars": torch.ones(2, 1)}, r"se esperaba \(2, 2\)"),
        ({}, {"image": torch.ones(2, 1, 8, 8)}, "espera ninguna"),
        ({"condition_channels": 3}, {}, "ha llegado ninguna"),
        ({"condition_channels": 3}, {"image": torch.ones(2, 1, 8, 8)}, r"\(2, 3, 8, 8\)"),
    ],
)
def test_a_condition_that_does_not_fit_is_refused(options, condition, message):
    model = UNet(text_config(**options))
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 1, 8, 8), torch.zeros(2).long(), **condition)


def test_describe_counts_every_parameter_of_a_conditional_network():
    config = text_config(num_scalars=1, condition_channels=1, num_classes=3)
    top_level = {row.block: row.parameters for row in describe(config, 8) if "." not in row.block}
    assert top_level["text_encoder"] == sum(
        parameter.numel() for parameter in UNet(config).text_encoder.parameters()
    )


# --- El entrenamiento -----------------------------------------------------------------------------


def captioned(n=8):
    torch.manual_seed(1)
    captions = ("corazón rojo", "corazón azul", "rojo", "azul") * (n // 4)
    return Dataset(torch.rand(n, 1, 8, 8) * 2 - 1, captions=captions)


def text_recipe(**overrides):
    table = {
        "name": "frases",
        "description": "Prueba.",
        "data": {"name": "openmoji", "conditions": {"text": True}},
        "model": {
            "kind": "unet",
            "options": {
                "in_channels": 1,
                "block_out_channels": [8, 8],
                "layers_per_block": 1,
                "attention": [False, True],
                "norm_num_groups": 4,
                "text_dim": 8,
                "text_length": 5,
            },
        },
        "diffusion": {"schedule": "cosine", "timesteps": 20, "prediction": "v"},
        "training": {"steps": 2, "batch_size": 4, "condition_dropout": 0.5, "ema_decay": 0.5},
    }
    return replace(recipe_from_dict(table), **overrides)


def test_the_vocabulary_travels_with_the_weights(tmp_path):
    train(text_recipe(), tmp_path, dataset=captioned(), progress=False, device="cpu")
    trained = load_model(tmp_path / "model.safetensors")
    assert trained.recipe.network_config().vocabulary == VOCABULARY
    red = trained.sample(2, text="corazón rojo", steps=3)
    assert torch.equal(red, trained.sample(2, text=["corazón rojo"] * 2, steps=3))
    guided = trained.sample(2, text="corazón rojo", guidance=2.0, sampler="ddim", steps=3)
    assert not torch.equal(red, guided)
    with pytest.raises(ValueError, match="no conoce la palabra «verde»"):
        trained.sample(1, text="verde")
    with pytest.raises(ValueError, match="Hay 3 frases para 2 muestras"):
        trained.sample(2, text=["rojo"] * 3)


def test_training_goes_on_from_given_weights_and_says_so(tmp_path):
    first = train(text_recipe(), tmp_path / "a", dataset=captioned(), progress=False, device="cpu")
    still = replace(text_recipe().training, steps=1, learning_rate=1e-12)
    second = train(
        text_recipe(training=still),
        tmp_path / "b",
        dataset=captioned(),
        weights=first,
        progress=False,
        device="cpu",
    )
    for name, value in first.model.state_dict().items():
        assert torch.allclose(second.model.state_dict()[name], value, atol=1e-6), name
    assert second.provenance["continues"]["steps"] == 2
    assert first.provenance["continues"] is None


def test_a_network_goes_on_with_more_words(tmp_path):
    """Las palabras que ya conocía conservan su vector, estén en la fila que estén."""
    first = train(text_recipe(), tmp_path / "a", dataset=captioned(), progress=False, device="cpu")
    more = replace(captioned(), captions=("azul añil", "corazón rojo", "cielo", "azul") * 2)
    still = replace(text_recipe().training, steps=1, learning_rate=1e-12)
    second = train(
        text_recipe(training=still),
        tmp_path / "b",
        dataset=more,
        weights=first,
        progress=False,
        device="cpu",
    )
    vocabulary = second.recipe.network_config().vocabulary
    assert vocabulary == ("azul", "añil", "cielo", "corazon", "rojo")
    old, new = (each.model.state_dict() for each in (first, second))
    for name, value in old.items():
        if name != WORDS:
            assert torch.allclose(new[name], value, atol=1e-6), name
    assert torch.allclose(new[WORDS][:2], old[WORDS][:2], atol=1e-6)
    for word in VOCABULARY:
        mine = new[WORDS][2 + vocabulary.index(word)]
        assert torch.allclose(mine, old[WORDS][2 + VOCABULARY.index(word)], atol=1e-6)
    for word in ("añil", "cielo"):
        mine = new[WORDS][2 + vocabulary.index(word)]
        assert float((old[WORDS] - mine).abs().sum(1).min()) > 0.1


def test_a_network_that_does_not_read_does_not_learn_to_by_going_on(tmp_path):
    first = train(text_recipe(), tmp_path / "a", dataset=captioned(), progress=False, device="cpu")
    mute = text_recipe()
    mute = replace(mute, data=replace(mute.data, conditions={}))
    with pytest.raises(ValueError, match="solo se puede seguir desde una red igual"):
        train(mute, tmp_path / "b", dataset=captioned(), weights=first, progress=False)


def test_weights_of_another_network_are_refused(tmp_path):
    first = train(text_recipe(), tmp_path / "a", dataset=captioned(), progress=False, device="cpu")
    other = text_recipe()
    options = other.model.options | {"text_dim": 16}
    other = replace(other, model=replace(other.model, options=options))
    with pytest.raises(ValueError, match="solo se puede seguir desde una red igual"):
        train(other, tmp_path / "b", dataset=captioned(), weights=first, progress=False)


def test_a_model_that_never_lost_its_condition_cannot_be_guided(tmp_path):
    recipe = text_recipe()
    recipe = replace(recipe, training=replace(recipe.training, condition_dropout=0.0))
    trained = train(recipe, tmp_path, dataset=captioned(), progress=False, device="cpu")
    with pytest.raises(ValueError, match="no se puede guiar"):
        trained.sample(1, text="rojo", guidance=1.0)


def test_text_needs_captions():
    bare = replace(captioned(), captions=())
    with pytest.raises(ValueError, match="no tienen descripciones"):
        with_text(text_recipe(), bare)


def test_the_emoji_recipe_keeps_its_held_out_names_away():
    recipe = load_recipe("openmoji-texto")
    data = training_data(recipe)
    held_out = recipe.data.options["exclude"]
    assert len(held_out) == 10
    assert not set(held_out) & set(data.captions)
    known = set(build_vocabulary(data.captions))
    assert all(set(words(name)) <= known for name in held_out)
