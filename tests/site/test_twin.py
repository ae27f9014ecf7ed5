"""Las matemáticas del navegador, frente a las del paquete: las mismas cuentas, en Chromium.

`frontend/ddpm_lit/` es el gemelo en TypeScript de los módulos que llevan el mismo nombre. Aquí se
empaqueta, se carga en un navegador y se le piden las mismas cosas que al paquete, con números al
azar que cambian cada día.
"""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from scripts.site import assets, frontend
from torch import Tensor

pytest.importorskip("playwright")

from playwright.sync_api import Browser, Page

from ddpm_lit.backward import p_mean_variance
from ddpm_lit.conditioning import null_condition, tokenize, words
from ddpm_lit.data.conditions import greyscale, low_resolution
from ddpm_lit.ddim import slerp
from ddpm_lit.diffusion import Diffusion
from ddpm_lit.editing import inpaint, redraw, repaint_path
from ddpm_lit.forward import diffuse, q_sample, q_step
from ddpm_lit.guidance import classifier_free
from ddpm_lit.ideal import ideal_model, ideal_x_start
from ddpm_lit.networks.ema import EMA
from ddpm_lit.networks.mlp import MLP, MLPConfig
from ddpm_lit.noise import Stream, TrainingDraws, normals, philox
from ddpm_lit.parametrisation import PARAMETRISATIONS
from ddpm_lit.posterior import q_posterior
from ddpm_lit.sampling import make_sampler, sample
from ddpm_lit.scheduler import (
    SPACINGS,
    Schedule,
    make_schedule,
    spaced_indices,
)
from ddpm_lit.training import algorithm1, gradient_step
from ddpm_lit.variance import VARIANCES

TWIN = frontend.SOURCES / "ddpm_lit"
MODULES = {
    path.stem: path.relative_to(TWIN).with_suffix("").as_posix()
    for path in sorted(TWIN.rglob("*.ts"))
}
"""Los módulos del gemelo y dónde están, que es donde están en el paquete."""
TODAY = datetime.now(UTC).strftime("%Y-%m-%d")
FORMULA, TRAJECTORY = 1e-6, 1e-3
# Lo que el navegador recibe y devuelve son números: las listas se hacen tablas allí.
PRELUDE = """
const f32 = (list) => Float32Array.from(list);
const diffusionOf = ([name, timesteps, options, rows]) =>
  twin.diffusion.makeDiffusion(twin.scheduler.makeSchedule(name, timesteps, options), rows);
"""

Ask = Callable[..., Any]


def packed(folder: Path = frontend.SOURCES, extra: Sequence[str] = ()) -> str:
    """El gemelo entero, en un guion que lo deja en `twin`, y los módulos de fuera que se digan."""
    places = {name: folder / "ddpm_lit" / path for name, path in MODULES.items()}
    places |= {Path(name).name: folder / name for name in extra}
    with TemporaryDirectory() as scratch:
        entry = Path(scratch) / "twin.ts"
        exports = [f'export * as {name} from "{path}";' for name, path in places.items()]
        entry.write_text("\n".join(exports), encoding="utf-8")
        return frontend.esbuild(str(entry), "--format=iife", "--global-name=twin")


def asking(page: Page) -> Ask:
    """Pregunta algo al gemelo: una expresión de JavaScript y lo que usa, por su nombre."""

    def ask(expression: str, **given: Any) -> Any:
        plain = {name: _plain(value) for name, value in given.items()}
        body = f"async ({{{', '.join(plain)}}}) => {{ {PRELUDE} return ({expression}); }}"
        return page.evaluate(
            f"async (given) => {{ const found = await ({body})(given);"
            " return ArrayBuffer.isView(found) ? Array.from(found) : found; }",
            plain,
        )

    return ask


def _plain(value: Any) -> Any:
    return value.flatten().tolist() if isinstance(value, Tensor) else value


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    assets.ensure_node_modules()
    page = browser.new_page()
    page.add_script_tag(content=packed())
    yield page
    page.close()


@pytest.fixture
def ask(page: Page) -> Ask:
    return asking(page)


@pytest.fixture(params=range(4))
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Números al azar, otros cada día; el test dice cuáles."""
    return random.Random(f"{TODAY} {request.param}")


def assert_close(found: Any, expected: Tensor, tolerance: float) -> None:
    values = torch.tensor(found, dtype=torch.float64)
    wanted = expected.detach().double().flatten()
    error = (values - wanted).abs() / wanted.abs().clamp(min=1)
    assert values.shape == wanted.shape
    assert error.max() < tolerance, f"difieren en {error.max():.2g}"


# --- El ruido -------------------------------------------------------------------------------------

RANDOM123 = (
    (
        [0, 0, 0, 0],
        [0, 0],
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
    ),
    (
        [0xFFFFFFFF] * 4,
        [0xFFFFFFFF] * 2,
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
)
"""Los vectores de prueba que publica Random123 para Philox 4×32-10."""


@pytest.mark.parametrize(("counter", "key", "words"), RANDOM123)
def test_the_words_are_those_of_random123(
    ask: Ask, counter: list[int], key: list[int], words: list[int]
) -> None:
    assert ask("twin.noise.philox(counter, key)", counter=counter, key=key) == words


def test_the_words_are_those_of_the_package(ask: Ask, chance: random.Random) -> None:
    counters = [[chance.getrandbits(32) for _ in range(4)] for _ in range(500)]
    key = [chance.getrandbits(32) for _ in range(2)]
    columns = torch.tensor(counters).T
    expected = torch.stack(philox(tuple(columns), tuple(key)), dim=1)  # type: ignore[arg-type]
    found = ask("counters.map((each) => twin.noise.philox(each, key))", counters=counters, key=key)
    assert found == expected.tolist()


def test_the_normals_are_those_of_the_package(ask: Ask, chance: random.Random) -> None:
    seed, number = chance.getrandbits(64), chance.getrandbits(20)
    indices, size = [chance.getrandbits(24) for _ in range(7)], chance.randint(1, 900)
    expected = normals(seed, Stream.SAMPLING, number, torch.tensor(indices), (size,))
    found = ask(
        "twin.noise.normals(BigInt(seed), twin.noise.Stream.SAMPLING, number, indices, size)",
        **{"seed": str(seed), "number": number, "indices": indices, "size": size},
    )
    assert_close(found, expected, 2e-6)


# --- Las fórmulas ---------------------------------------------------------------------------------


def a_schedule(chance: random.Random) -> tuple[list[Any], Schedule]:
    """Un schedule al azar: cómo se le pide al gemelo, y el del paquete."""
    name = chance.choice(["linear", "scaled_linear", "quadratic", "constant", "cosine", "sigmoid"])
    timesteps = chance.randint(40, 1000)
    options: dict[str, Any] = {}
    if name == "cosine":
        options = {"s": chance.uniform(0.001, 0.1)}
    elif name == "linear":
        options = {"beta_end": chance.uniform(0.005, 0.03)}
    elif name == "sigmoid":
        options = {"tau": chance.uniform(0.3, 1.5)}
    if chance.random() < 0.3:
        options["zero_terminal_snr"] = True
    camel = {re.sub(r"_(\w)", lambda m: m[1].upper(), key): v for key, v in options.items()}
    return [name, timesteps, camel], make_schedule(name, timesteps, **options)


TABLES = {
    "betas": "betas",
    "alphas": "alphas",
    "alphasCumprod": "alphas_cumprod",
    "alphasCumprodPrev": "alphas_cumprod_prev",
    "posteriorVariance": "posterior_variance",
    "posteriorLogVarianceClipped": "posterior_log_variance_clipped",
    "posteriorMeanCoef1": "posterior_mean_coef1",
    "posteriorMeanCoef2": "posterior_mean_coef2",
}


def test_the_schedules_are_those_of_the_package(ask: Ask, chance: random.Random) -> None:
    for _ in range(6):
        asked, schedule = a_schedule(chance)
        for theirs, ours in TABLES.items():
            found = ask(f"twin.scheduler.makeSchedule(...asked).{theirs}", asked=asked)
            assert_close(found, getattr(schedule, ours), 1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_the_spacings_are_those_of_the_package(
    ask: Ask, chance: random.Random, spacing: str
) -> None:
    pairs = [(total := chance.randint(1, 1000), chance.randint(1, total)) for _ in range(60)]
    found = ask(
        "pairs.map(([total, steps]) => twin.scheduler.spacedIndices(total, steps, spacing))",
        pairs=pairs,
        spacing=spacing,
    )
    assert found == [spaced_indices(*pair, spacing).tolist() for pair in pairs]


def test_the_forward_process_and_the_posterior(ask: Ask, chance: random.Random) -> None:
    asked, schedule = a_schedule(chance)
    index = chance.randrange(len(schedule))
    a, b = torch.rand(1, 50) * 2 - 1, torch.randn(1, 50)
    t = torch.tensor([index])
    given = {"asked": asked, "a": a, "b": b, "index": index}
    schedule_of = "twin.scheduler.makeSchedule(...asked)"
    for name, expected in (
        ("forward.qStep", q_step(schedule, a, t, b)),
        ("forward.qSample", q_sample(schedule, a, t, b)),
    ):
        found = ask(f"twin.{name}({schedule_of}, f32(a), index, f32(b))", **given)
        assert_close(found, expected, FORMULA)
    source = chance.randint(-1, index - 1) if index else -1
    found = ask(
        f"twin.forward.diffuse({schedule_of}, f32(a), source, index, f32(b))",
        source=source,
        **given,
    )
    assert_close(found, diffuse(schedule, a, source, index, b), FORMULA)
    ours = q_posterior(schedule, a, b, t)
    found = ask(f"twin.posterior.qPosterior({schedule_of}, f32(a), f32(b), index).mean", **given)
    assert_close(found, ours.mean, FORMULA)


@pytest.mark.parametrize("prediction", sorted(PARAMETRISATIONS))
@pytest.mark.parametrize("variance", sorted(VARIANCES))
@pytest.mark.parametrize("clip", [True, False])
def test_the_reverse_step(ask: Ask, prediction: str, variance: str, clip: bool) -> None:
    chance = random.Random(f"{TODAY} {prediction} {variance} {clip}")
    torch.manual_seed(chance.getrandbits(32))
    name, timesteps = chance.choice(["linear", "cosine"]), chance.randint(50, 400)
    schedule = make_schedule(name, timesteps)
    diffusion = Diffusion(schedule, prediction, variance, clip)
    index = chance.randrange(len(schedule) * 4 // 5)
    x_t = torch.randn(3, 2, 4)
    channels = 4 if diffusion.variance.learned else 2
    output = torch.randn(3, channels, 4) * 0.3
    step = p_mean_variance(diffusion, output, x_t, torch.full((3,), index))
    rows = {"prediction": prediction, "variance": variance, "clip": clip}
    found = ask(
        "(() => { const step = twin.backward.pMeanVariance(diffusionOf(asked), f32(output),"
        " f32(x), index, 8); return { ...step, mean: [...step.mean], xStart: [...step.xStart],"
        " epsilon: [...step.epsilon], variance: x.map((_, k) => step.variance(k)) }; })()",
        asked=[name, timesteps, {}, rows],
        output=output,
        x=x_t,
        index=index,
    )
    scale = max(1.0, float(step.x_start.abs().max()), float(step.epsilon.abs().max()))
    assert_close(found["mean"], step.mean, FORMULA * scale)
    assert_close(found["xStart"], step.x_start, FORMULA * scale)
    assert_close(found["epsilon"], step.epsilon, FORMULA * scale * 10)
    assert_close(found["variance"], step.variance.expand_as(x_t), FORMULA)


@pytest.mark.parametrize("prediction", sorted(PARAMETRISATIONS))
def test_the_targets(ask: Ask, chance: random.Random, prediction: str) -> None:
    schedule = make_schedule("cosine", 100)
    index = chance.randrange(100)
    x_0, noise = torch.rand(1, 40) * 2 - 1, torch.randn(1, 40)
    expected = PARAMETRISATIONS[prediction].target(schedule, x_0, noise, torch.tensor([index]))
    found = ask(
        "twin.parametrisation.PARAMETRISATIONS[prediction]"
        '.target(twin.scheduler.makeSchedule("cosine", 100), f32(x), f32(noise), index)',
        prediction=prediction,
        x=x_0,
        noise=noise,
        index=index,
    )
    assert_close(found, expected, FORMULA)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_guidance(ask: Ask, chance: random.Random, rescale: float) -> None:
    torch.manual_seed(chance.getrandbits(32))
    with_c, without_c = torch.randn(2, 3, 3, 5)
    w = chance.uniform(-1, 6)

    def model(x_t: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        return torch.cat([with_c, without_c])

    guided = classifier_free(
        model, w, rescale=rescale, null=lambda c: {k: -v for k, v in c.items()}
    )
    expected = guided(torch.zeros(3, 3, 5), torch.zeros(3), y=torch.ones(3))
    found = ask(
        "twin.guidance.classifierFree(f32(c), f32(u), { w, rescale }, 15)",
        c=with_c,
        u=without_c,
        w=w,
        rescale=rescale,
    )
    assert_close(found, expected, FORMULA * (2 + abs(w)))


def test_slerp(ask: Ask, chance: random.Random) -> None:
    a, b, fraction = torch.randn(1, 30), torch.randn(1, 30), chance.random()
    found = ask("twin.ddim.slerp(f32(a), f32(b), fraction)", a=a, b=b, fraction=fraction)
    assert_close(found, slerp(a, b, fraction), FORMULA)


def test_what_is_seen_of_a_picture(ask: Ask, chance: random.Random) -> None:
    torch.manual_seed(chance.getrandbits(32))
    x, factor = torch.rand(1, 3, 8, 12) * 2 - 1, chance.choice([1, 2, 4])
    found = ask("twin.conditions.lowResolution(f32(x), [3, 8, 12], factor)", x=x, factor=factor)
    assert_close(found, low_resolution(x, factor), FORMULA)
    assert_close(ask("twin.conditions.greyscale(f32(x))", x=x), greyscale(x), FORMULA)


def test_the_ideal_network(ask: Ask, chance: random.Random) -> None:
    torch.manual_seed(chance.getrandbits(32))
    asked, schedule = a_schedule(chance)
    data, x_t = torch.rand(40, 2) * 2 - 1, torch.randn(30, 2)
    index, bandwidth = chance.randrange(len(schedule)), chance.choice([0.0, 0.05, 0.3])
    expected = ideal_x_start(
        schedule, data.double(), x_t.double(), torch.full((30,), index), bandwidth=bandwidth
    )
    found = ask(
        "twin.ideal.idealXStart(twin.scheduler.makeSchedule(...asked), f32(data), f32(x), index,"
        " 2, bandwidth)",
        asked=asked,
        data=data,
        x=x_t,
        index=index,
        bandwidth=bandwidth,
    )
    assert_close(found, expected, FORMULA)


def test_the_path_of_repaint(ask: Ask, chance: random.Random) -> None:
    for _ in range(30):
        steps = chance.randint(2, 120)
        options = [steps, chance.randint(1, steps - 1), chance.randint(1, 6)]
        found = ask("twin.editing.repaintPath(...options)", options=options)
        assert found == repaint_path(*options)


PHRASES = (
    "Corazón Añil, con 2 lazos",
    "ÁRBOL   verde",
    "niño_azul;pingüino!",
    "mañana Mañana",
    "¿dos gatos?",
    "",
    "o\u0303so n\u0303u c\u0327a",
    "2⃣ cafés 日本",
)


def test_the_words_of_a_phrase(ask: Ask) -> None:
    found = ask("phrases.map(twin.conditioning.words)", phrases=list(PHRASES))
    assert found == [words(phrase) for phrase in PHRASES]


def test_the_tokens_of_a_phrase(ask: Ask, chance: random.Random) -> None:
    vocabulary = ("añil", "azul", "con", "corazon", "dos", "gatos", "lazos", "verde")
    for _ in range(10):
        phrase = " ".join(chance.choices(vocabulary, k=chance.randint(0, 6)))
        found = ask(
            "twin.conditioning.tokenize(phrase, vocabulary, 8)",
            phrase=phrase,
            vocabulary=list(vocabulary),
        )
        assert found == {"tokens": tokenize([phrase], vocabulary, 8)[0].tolist(), "unknown": []}
    read = ask(
        "twin.conditioning.tokenize('perro Azul', vocabulary, 8)", vocabulary=list(vocabulary)
    )
    assert read["unknown"] == ["perro"]
    assert read["tokens"] == tokenize(["azul"], vocabulary, 8)[0].tolist()
    nothing = ask("twin.conditioning.nullTokens(8)")
    empty = torch.zeros(1, 8, dtype=torch.int64)
    assert nothing == null_condition({"tokens": empty})["tokens"][0].tolist()


# --- La red de los puntos y su entrenamiento ------------------------------------------------------


def a_network(chance: random.Random) -> tuple[dict[str, int], MLP, dict[str, list[float]]]:
    """Una red al azar: su forma y sus pesos para el gemelo, y la del paquete."""
    torch.manual_seed(chance.getrandbits(32))
    config = {
        "dim": 2,
        "width": chance.choice([8, 16, 24]),
        "depth": chance.randint(1, 3),
        "timesteps": chance.randint(50, 1000),
        "frequencies": chance.choice([0, 1, 4]),
    }
    model = MLP(MLPConfig(**config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
    return config, model, {name: _plain(each) for name, each in model.named_parameters()}


WEIGHTS = (
    "const held = Object.fromEntries(Object.entries(weights).map(([name, list]) => "
    "[name, f32(list)]));"
)
LISTED = (
    "Object.fromEntries(Object.entries({0}).map(([name, values]) => [name, Array.from(values)]))"
)


def test_the_network_of_points(ask: Ask, chance: random.Random) -> None:
    config, model, weights = a_network(chance)
    rows = chance.randint(1, 9)
    x, slope = torch.randn(rows, 2), torch.randn(rows, 2)
    times = [chance.randrange(config["timesteps"]) for _ in range(rows)]
    output = model(x, torch.tensor(times))
    torch.autograd.backward(output, slope)
    given = {"config": config, "weights": weights, "x": x, "times": times, "slope": slope}
    found = ask(
        f"(() => {{ {WEIGHTS} const [output, back] = twin.mlp.mlp(config, held, f32(x), times);"
        " const slopes = back(f32(slope));"
        f" return {{ output: [...output], slopes: {LISTED.format('slopes')} }}; }})()",
        **given,
    )
    assert_close(found["output"], output, 1e-4)
    assert found["slopes"].keys() == weights.keys()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert_close(found["slopes"][name], parameter.grad, 1e-4 * (1 + len(times)))
    # Con un instante para todas, lo mismo que repetido.
    once = ask(
        f"(() => {{ {WEIGHTS} return twin.mlp.mlp(config, held, f32(x), times)[0]; }})()",
        **given | {"times": times[:1]},
    )
    assert_close(once, model(x, torch.full((rows,), times[0])), 1e-4)


def test_algorithm_1(ask: Ask, chance: random.Random) -> None:
    """Veinte pasos del Algoritmo 1: la misma pérdida en cada uno y los mismos pesos al final."""
    config, model, weights = a_network(chance)
    prediction = chance.choice(["epsilon", "v", "x_start"])
    rows = {"prediction": prediction, "clip": False}
    diffusion = Diffusion(
        make_schedule("linear", config["timesteps"]), prediction, "fixed_small", clip=False
    )
    seed, batches = chance.getrandbits(30), torch.randn(20, 6, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    average = EMA(model, 0.95)
    losses = []
    for step in algorithm1(
        model,
        diffusion,
        ({"x": x} for x in batches),
        TrainingDraws(seed),
        gradient_step(optimizer, clip=1.0),
    ):
        losses.append(float(step.loss))
        average.update(model)
    found = ask(
        f"(() => {{ {WEIGHTS} const average = new twin.ema.EMA(held, 0.95), losses = [];"
        " const steps = twin.training.algorithm1("
        "   (x, times) => twin.mlp.mlp(config, held, x, times), diffusionOf(asked),"
        "   batches.map(f32), twin.training.trainingDraws(seed, 2),"
        "   twin.training.gradientStep(held, () => 1e-3), 2);"
        " for (const loss of steps) { losses.push(loss); average.update(held); }"
        f" return {{ losses, weights: {LISTED.format('held')},"
        f" average: {LISTED.format('average.weights')} }}; }})()",
        config=config,
        weights=weights,
        asked=["linear", config["timesteps"], {}, rows],
        batches=[_plain(x) for x in batches],
        seed=seed,
    )
    assert_close(found["losses"], torch.tensor(losses), TRAJECTORY)
    for told, network in (("weights", model), ("average", average.model)):
        for name, parameter in network.named_parameters():
            assert_close(found[told][name], parameter, TRAJECTORY)


# --- Los caminos enteros --------------------------------------------------------------------------

DATA = torch.tensor([[-0.8, 0.1], [0.5, 0.6], [0.4, -0.7], [0.0, 0.0]])
LAST = """(async (states) => {
  let last;
  for await (const step of states) last = step.xT;
  return last;
})"""


def a_process(chance: random.Random) -> tuple[list[Any], Diffusion]:
    """Un proceso al azar, de los que terminan cerca de los datos."""
    name, timesteps = chance.choice(["linear", "cosine"]), chance.randint(100, 500)
    rows = {
        "prediction": chance.choice(["epsilon", "v", "x_start"]),
        "variance": chance.choice(["fixed_small", "fixed_large"]),
        "clip": chance.random() < 0.5,
    }
    return [name, timesteps, {}, rows], Diffusion(make_schedule(name, timesteps), **rows)


@pytest.mark.parametrize(
    ("sampler", "eta"), [("ddpm", 0.0), ("ddim", 0.0), ("ddim", 0.6), ("dpm++2m", 0.0), ("heun", 0)]
)
def test_fifty_steps_of_every_sampler(
    ask: Ask, chance: random.Random, sampler: str, eta: float
) -> None:
    asked, diffusion = a_process(chance)
    seed = chance.getrandbits(40)
    step = make_sampler(sampler, **({"eta": eta} if sampler == "ddim" else {}))
    model = ideal_model(diffusion, DATA, bandwidth=0.3)
    expected = sample(model, diffusion, (2,), indices=range(20), seed=seed, steps=50, sampler=step)
    found = ask(
        "(() => { const whole = diffusionOf(asked);"
        " const model = twin.ideal.idealModel(whole, f32(data), 2, 0.3);"
        " const denoise = twin.backward.makeDenoiser(model, twin.diffusion.respaced(whole, 50), 2);"
        " const noises = twin.noise.samplingNoise(seed, [...Array(20).keys()], 2);"
        f" return {LAST}(twin.sampling.algorithm2(denoise, noises.next().value, noises,"
        " twin.sampling.SAMPLERS[sampler](eta))); })()",
        asked=asked,
        data=DATA,
        seed=seed,
        sampler=sampler,
        eta=eta,
    )
    assert_close(found, expected, TRAJECTORY)


def test_repaint_and_sdedit(ask: Ask, chance: random.Random) -> None:
    asked, diffusion = a_process(chance)
    seed, known = chance.getrandbits(40), torch.tensor([0.5, 0.6])
    mask, strength = torch.tensor([1.0, 0.0]), chance.uniform(0.3, 1)
    model = ideal_model(diffusion, DATA, bandwidth=0.3)
    run = partial(sample, model, diffusion, (2,), indices=range(12), seed=seed, steps=30)
    filled = run(edit=inpaint(known, mask, jump=5, resamplings=3))
    redrawn = run(edit=redraw(known, strength))
    setup = (
        "(() => { const whole = diffusionOf(asked), all = [...Array(12).keys()];"
        " const model = twin.ideal.idealModel(whole, f32(data), 2, 0.3);"
        " const short = twin.diffusion.respaced(whole, 30);"
        " const noises = twin.noise.samplingNoise(seed, all, 2), first = noises.next().value;"
        " const repeated = (list) => f32(all.flatMap(() => list));"
    )
    given = {"asked": asked, "data": DATA, "seed": seed, "known": known}
    found = ask(
        f"{setup} return {LAST}(twin.editing.repaint(twin.backward.makeDenoiser(model, short, 2),"
        " first, noises, twin.sampling.ancestral,"
        " { known: repeated(known), mask: repeated(mask), jump: 5, resamplings: 3 })); })()",
        mask=mask,
        **given,
    )
    assert_close(found, filled, TRAJECTORY)
    found = ask(
        f"{setup} return {LAST}(twin.editing.sdedit(model, short, 2, first, noises,"
        " twin.sampling.ancestral, { initial: repeated(known), strength })); })()",
        strength=strength,
        **given,
    )
    assert_close(found, redrawn, TRAJECTORY)


# --- Los errores se notan -------------------------------------------------------------------------

SLIPS = {
    "conditions": ("left + (k % factor)", "left + 0 * (k % factor)"),
    "conditioning": ("number + START + 1", "number + START"),
    "noise": ("Math.cos(angle)", "Math.sin(angle)"),
    "scheduler": ("((1 - before) / (1 - bar)) * beta", "((1 + before) / (1 - bar)) * beta"),
    "forward": ("signal * x + std * epsilon", "signal * x - std * epsilon"),
    "posterior": ("coef1 * x0 + coef2 * x", "coef1 * x0 - coef2 * x"),
    "parametrisation": ("scale * x - rest * e", "scale * x + rest * e"),
    "variance": ("v * largest + (1 - v)", "v * largest + (1 + v)"),
    "diffusion": ("Math.max(-1, Math.min(1, x))", "Math.max(-1, Math.min(2, x))"),
    "ddim": ("1 - before - sigma ** 2", "1 - before + sigma ** 2"),
    "solvers": ("(1 + halfSlope) * x - halfSlope", "(1 - halfSlope) * x - halfSlope"),
    "sampling": ("mean + Math.sqrt", "mean - Math.sqrt"),
    "guidance": ("(1 + w) * c - w * u", "(1 + w) * c + w * u"),
    "editing": ("(1 - mask[k]!) * made", "(1 + mask[k]!) * made"),
    "ideal": ("-distance / (2 * variance)", "-distance / variance"),
    "embeddings": ("(half - 1)", "half"),
    "mlp": ("gate[k]! + value[k]! * (1 - gate[k]!)", "gate[k]! - value[k]! * (1 - gate[k]!)"),
    "ema": ("(1 - decay) *", "decay *"),
    "training": ("value - target[k]!", "value + target[k]!"),
    "backward": ("half * size + (k % size)", "(1 - half) * size + (k % size)"),
}
"""Un error en cada módulo: lo que pone y lo que se pone."""

WATCHERS: dict[str, Callable[[Ask], None]] = {
    "conditioning": lambda ask: test_the_tokens_of_a_phrase(ask, random.Random(0)),
    "conditions": lambda ask: test_what_is_seen_of_a_picture(ask, random.Random(0)),
    "noise": lambda ask: test_the_normals_are_those_of_the_package(ask, random.Random(0)),
    "scheduler": lambda ask: test_the_schedules_are_those_of_the_package(ask, random.Random(0)),
    "forward": lambda ask: test_the_forward_process_and_the_posterior(ask, random.Random(0)),
    "posterior": lambda ask: test_the_forward_process_and_the_posterior(ask, random.Random(0)),
    "parametrisation": lambda ask: test_the_reverse_step(ask, "epsilon", "fixed_small", False),
    "variance": lambda ask: test_the_reverse_step(ask, "v", "learned_range", False),
    "diffusion": lambda ask: [  # type: ignore[dict-item, return-value]
        test_the_reverse_step(ask, each, "fixed_small", True) for each in ("epsilon", "v")
    ],
    "ddim": lambda ask: test_fifty_steps_of_every_sampler(ask, random.Random(0), "ddim", 0.6),
    "solvers": lambda ask: test_fifty_steps_of_every_sampler(ask, random.Random(0), "dpm++2m", 0),
    "sampling": lambda ask: test_fifty_steps_of_every_sampler(ask, random.Random(0), "ddpm", 0),
    "guidance": lambda ask: test_guidance(ask, random.Random(0), 0.0),
    "editing": lambda ask: test_repaint_and_sdedit(ask, random.Random(0)),
    "ideal": lambda ask: test_the_ideal_network(ask, random.Random(0)),
    "embeddings": lambda ask: test_the_network_of_points(ask, random.Random(0)),
    "mlp": lambda ask: test_the_network_of_points(ask, random.Random(0)),
    "ema": lambda ask: test_algorithm_1(ask, random.Random(0)),
    "training": lambda ask: test_algorithm_1(ask, random.Random(0)),
    "backward": lambda ask: test_the_reverse_step(ask, "v", "learned_range", False),
}


def test_every_module_has_its_twin_and_its_slip() -> None:
    package = frontend.ROOT / "src" / "ddpm_lit"
    assert set(MODULES) == SLIPS.keys() == WATCHERS.keys()
    assert all((package / f"{path}.py").is_file() for path in MODULES.values())


@pytest.mark.parametrize("module", MODULES)
def test_a_slip_turns_a_test_red(browser: Browser, tmp_path: Path, module: str) -> None:
    copied = tmp_path / "frontend"
    shutil.copytree(frontend.SOURCES, copied)
    path, (right, wrong) = copied / "ddpm_lit" / f"{MODULES[module]}.ts", SLIPS[module]
    text = path.read_text(encoding="utf-8")
    assert text.count(right) >= 1, f"ya no pone «{right}»"
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    page = browser.new_page()
    page.add_script_tag(content=packed(copied))
    with pytest.raises(AssertionError):
        WATCHERS[module](asking(page))
    page.close()


def test_the_answers_are_plain() -> None:
    """Lo que se manda al navegador se puede escribir en JSON."""
    assert json.loads(json.dumps(_plain(DATA))) == DATA.flatten().tolist()
