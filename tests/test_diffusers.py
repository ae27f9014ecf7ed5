"""Los modelos de diffusers, contra el propio diffusers: salidas, trayectorias e ida y vuelta."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

import peers
import tiny
from ddpm_lit.backward import Denoiser
from ddpm_lit.formats.diffusers import configs_of, recipe_from
from ddpm_lit.formats.settings import Settings
from ddpm_lit.models.export import export_diffusers
from ddpm_lit.models.storage import load_model, read_header
from ddpm_lit.models.trained import Trained
from ddpm_lit.recipes.reading import load_recipe, recipe_from_dict
from ddpm_lit.recipes.recipe import Recipe
from ddpm_lit.runs.train import train
from ddpm_lit.sampling import algorithm2, make_sampler
from terminal import Run, invoker


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    return invoker(capfd)


def unconditional(**diffusion: Any) -> Recipe:
    """La U-Net de `tiny.digits` sin clases, con otro proceso."""
    table = tiny.conditional("sola", dropout=0.0).to_dict()
    table["data"] |= {"held_out": 0.9}
    table["diffusion"] |= diffusion
    if diffusion.get("variance") == "learned_range":
        table["model"]["options"]["out_channels"] = 2
        table["diffusion"]["loss"] = "hybrid"
    return recipe_from_dict(table)


def shaken(recipe: Recipe) -> Trained:
    return Trained(
        tiny.randomised(recipe.build_model()), recipe, (1, 8, 8), {"steps": 3}, {"count": 5}
    )


# --- Las salidas son las de UNet2DModel -----------------------------------------------------------


@pytest.mark.parametrize("name", peers.NETWORKS)
def test_outputs_are_those_of_diffusers(name: str, tmp_path: Path) -> None:
    network = peers.peer(name)
    trained = load_model(peers.saved(network, tmp_path))
    count = sum(parameter.numel() for parameter in network.parameters())
    if name == "cifar10":
        assert count == 35_746_307
    if network.config.num_class_embeds is None:
        assert sum(each.numel() for each in trained.model.parameters()) == count
    x, t, labels = peers.inputs(network)
    assert trained.shape == tuple(x.shape[1:])
    with torch.no_grad():
        expected = network(x, t, labels).sample
        found = trained.model(x, t, labels)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_published_configuration_is_the_network_of_the_paper(tmp_path: Path) -> None:
    """La de google/ddpm-cifar10-32 y su scheduler, tal como están publicados, y en plano."""
    from ddpm_lit.unet import CIFAR10_CONFIG

    scheduler = {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": "0.1.1",
        "beta_end": 0.02,
        "beta_schedule": "linear",
        "beta_start": 0.0001,
        "clip_sample": True,
        "num_train_timesteps": 1000,
        "timestep_values": None,
        "trained_betas": None,
        "variance_type": "fixed_large",
    }
    unet = Settings(peers.GOOGLE, "config.json")
    recipe, shape = recipe_from("cifar", unet, Settings(scheduler, "scheduler_config.json"))
    assert shape == (3, 32, 32)
    assert replace(recipe.network_config(), dropout=0.1) == CIFAR10_CONFIG
    assert recipe.diffusion.variance == "fixed_large"
    peer = DDPMScheduler.from_config(scheduler)
    betas = recipe.schedule().betas
    torch.testing.assert_close(betas.float(), peer.betas, atol=1e-8, rtol=0)


def test_the_celebahq_recipe_has_the_parameters_of_diffusers() -> None:
    """Sus nombres y sus formas, uno a uno, sin gastar memoria."""
    recipe = load_recipe("celebahq-256")
    with torch.device("meta"):
        theirs, ours = UNet2DModel(**peers.CELEBAHQ), recipe.build_model()
    shapes = {name: value.shape for name, value in theirs.named_parameters()}
    assert {name: value.shape for name, value in ours.named_parameters()} == shapes
    assert sum(shape.numel() for shape in shapes.values()) == 113_673_219


def test_a_class_embedding_gains_the_row_that_says_nothing(tmp_path: Path) -> None:
    network = peers.peer("clases")
    trained = load_model(peers.saved(network, tmp_path))
    assert trained.num_classes == 7
    table = trained.model.state_dict()["class_embedding.weight"]
    assert torch.equal(table[:7], network.class_embedding.weight)
    assert not table[7].any()
    with pytest.raises(ValueError, match="no se puede guiar"):
        trained.sample(1, guidance=1.0)


# --- Las carpetas y los pesos, de todas las maneras -----------------------------------------------


OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def with_old_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        re.sub(r"\.(to_q|to_k|to_v|to_out\.0)\.", lambda m: f".{OLD[m[1]]}.", name): value
        for name, value in state.items()
    }


def rewritten(folder: Path, kind: str) -> None:
    """Cambia los pesos de una carpeta de sitio, de formato o de nombres."""
    path = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    if "viejos" in kind:
        state = with_old_names(state)
        assert any(".proj_attn." in name for name in state)
    path.unlink()
    if "bin" in kind:
        torch.save(state, folder / "diffusion_pytorch_model.bin")
    elif "fp16" in kind:
        save_file(state, folder / "diffusion_pytorch_model.fp16.safetensors")
    else:
        save_file(state, path)


@pytest.mark.parametrize(
    "kind", ["safetensors, viejos", "bin, nuevos", "bin, viejos", "fp16, nuevos"]
)
def test_old_and_new_names_in_both_formats(kind: str, tmp_path: Path) -> None:
    network = peers.peer("cabezas")
    rewritten(peers.saved(network, tmp_path), kind)
    ours = load_model(tmp_path).model.state_dict()
    theirs = network.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    if "fp16" not in kind:  # lo mismo que entiende diffusers
        again = UNet2DModel.from_pretrained(tmp_path).state_dict()
        assert all(torch.equal(again[name], value) for name, value in theirs.items())


@pytest.mark.parametrize("safe", [True, False])
def test_weights_split_in_several_files(safe: bool, tmp_path: Path) -> None:
    network = peers.peer("cabezas")
    peers.saved(network, tmp_path, max_shard_size="100KB", safe_serialization=safe)
    assert len(list(tmp_path.glob("*-of-*"))) > 1
    ours = load_model(tmp_path).model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_read_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    network = peers.peer("cabezas").to(dtype)
    ours = load_model(peers.saved(network, tmp_path)).model.state_dict()
    for name, value in network.state_dict().items():
        assert ours[name].dtype == torch.float32
        assert torch.equal(ours[name], value.float())


def test_nested_and_flat_folders_say_the_same(tmp_path: Path) -> None:
    network = peers.peer("cabezas")
    scheduler = DDPMScheduler(200, beta_schedule="squaredcos_cap_v2", prediction_type="sample")
    nested, flat = tmp_path / "modelo", tmp_path / "plana" / "modelo"
    DDPMPipeline(network, scheduler).save_pretrained(nested)
    flat.mkdir(parents=True)
    for file in nested.rglob("*.*"):
        shutil.copy(file, flat)
    one, other = load_model(nested), load_model(flat)
    assert one.recipe == other.recipe
    assert one.recipe.diffusion.prediction == "x_start"
    assert (one.recipe.diffusion.schedule, len(one.schedule)) == ("cosine", 200)
    assert one.provenance["scheduler"] == "DDPMScheduler"
    states = (each.model.state_dict() for each in (one, other))
    first, second = states
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_folder_without_scheduler_says_what_is_supposed(tmp_path: Path) -> None:
    trained = load_model(peers.saved(peers.peer("cabezas"), tmp_path))
    assert trained.provenance["scheduler"].startswith("ninguno")
    peer = DDPMScheduler()
    torch.testing.assert_close(trained.schedule.betas.float(), peer.betas, atol=1e-8, rtol=0)


# --- Las trayectorias -----------------------------------------------------------------------------


def peer_trajectory(
    network: UNet2DModel, scheduler: Any, steps: int, shape: tuple[int, ...], **options: Any
) -> Tensor:
    """El bucle de diffusers: todos los estados, con el ruido de la semilla 0."""
    generator = torch.Generator().manual_seed(0)
    scheduler.set_timesteps(steps)
    x = torch.randn(shape, generator=generator)
    states = [x]
    for t in scheduler.timesteps:
        with torch.no_grad():
            output = network(x, t).sample
        x = scheduler.step(output, t, x, generator=generator, **options).prev_sample
        states.append(x)
    return torch.stack(states)


def our_trajectory(
    trained: Trained, steps: int, batch: int, sampler: str, **options: Any
) -> Tensor:
    def noises() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.randn(batch, *trained.shape, generator=generator)

    draws = noises()
    process = trained.diffusion.respaced(steps, trained.recipe.sampling.spacing)
    denoise = Denoiser(trained.model, process)
    x = next(draws)
    states = list(algorithm2(denoise, x, draws, make_sampler(sampler, **options)))
    return torch.stack([x, *(each.x_t for each in states)])


def pipeline_folder(network: UNet2DModel, scheduler: Any, folder: Path) -> Path:
    DDPMPipeline(network, scheduler).save_pretrained(folder)
    return folder


HUNDRED = {"num_train_timesteps": 100, "beta_start": 0.001, "beta_end": 0.2}
PROCESSES: dict[str, dict[str, Any]] = {
    "los mil pasos del artículo": {"variance_type": "fixed_large"},
    "ε": HUNDRED,
    "ε, coseno": HUNDRED | {"beta_schedule": "squaredcos_cap_v2"},
    "x_0": HUNDRED | {"prediction_type": "sample", "variance_type": "fixed_small_log"},
    "v": HUNDRED | {"prediction_type": "v_prediction", "beta_schedule": "scaled_linear"},
    "v sin recorte": HUNDRED | {"prediction_type": "v_prediction", "clip_sample": False},
    "v con señal final nula": HUNDRED
    | {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
    "varianza aprendida": HUNDRED | {"variance_type": "learned_range"},
    "pasos con los dos extremos": HUNDRED | {"timestep_spacing": "linspace"},
}


@pytest.mark.parametrize("steps", [20, 100])
@pytest.mark.parametrize("process", PROCESSES)
def test_ddpm_trajectories_are_those_of_diffusers(process: str, steps: int, tmp_path: Path) -> None:
    options = PROCESSES[process]
    learned = options.get("variance_type") == "learned_range"
    network = peers.peer("pequeña", **({"out_channels": 2} if learned else {}))
    scheduler = DDPMScheduler(**options)
    trained = load_model(pipeline_folder(network, scheduler, tmp_path))
    assert trained.recipe.sampling.sampler == "ddpm"
    expected = peer_trajectory(network, scheduler, steps, (2, 1, 8, 8))
    found = our_trajectory(trained, steps, 2, "ddpm")
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("options", [{}, {"prediction_type": "v_prediction", "clip_sample": False}])
def test_ddim_trajectories_are_those_of_diffusers(
    eta: float, options: dict[str, Any], tmp_path: Path
) -> None:
    network = peers.peer("pequeña")
    scheduler = DDIMScheduler(1000, **options)
    trained = load_model(pipeline_folder(network, scheduler, tmp_path))
    assert trained.recipe.sampling.sampler == "ddim"
    expected = peer_trajectory(
        network, scheduler, 50, (2, 1, 8, 8), eta=eta, use_clipped_model_output=True
    )
    found = our_trajectory(trained, 50, 2, "ddim", eta=eta)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_solver_brings_its_sampler_and_its_process(tmp_path: Path) -> None:
    scheduler = DPMSolverMultistepScheduler(1000, prediction_type="v_prediction")
    folder = peers.saved(peers.peer("cabezas"), tmp_path)
    scheduler.save_pretrained(folder)
    trained = load_model(folder)
    sampling = trained.recipe.sampling
    assert (sampling.sampler, sampling.spacing) == ("dpm++2m", "linspace")
    assert trained.recipe.diffusion.clip is False
    torch.testing.assert_close(trained.schedule.betas.float(), scheduler.betas, atol=1e-8, rtol=0)
    assert trained.sample(2, device="cpu", steps=4).isfinite().all()


# --- De aquí a diffusers --------------------------------------------------------------------------


EXPORTED: list[dict[str, Any]] = [
    {"schedule": "cosine", "prediction": "v"},
    {"schedule": "cosine", "prediction": "epsilon", "options": {"s": 0.02}},
    {"schedule": "linear", "prediction": "epsilon", "variance": "fixed_large", "timesteps": 40},
    {"schedule": "quadratic", "prediction": "x_start", "timesteps": 40},
    {"schedule": "constant", "prediction": "x_start", "timesteps": 40, "clip": False},
    {"schedule": "sigmoid", "prediction": "v", "options": {"zero_terminal_snr": True}},
    {"schedule": "cosine", "prediction": "epsilon", "variance": "learned_range"},
    {"schedule": "cosine", "prediction": "v", "variance": "learned_range"},
]


@pytest.mark.parametrize("diffusion", EXPORTED, ids=json.dumps)
def test_the_pipeline_gives_the_same_images(diffusion: dict[str, Any], tmp_path: Path) -> None:
    trained = shaken(unconditional(**diffusion))
    folder = tmp_path / "exportado"
    export_diffusers(trained, folder)
    pipe = DDPMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    steps = len(trained.schedule)
    images = pipe(
        batch_size=3,
        generator=torch.Generator().manual_seed(0),
        num_inference_steps=steps,
        output_type="np",
    ).images
    found = our_trajectory(trained, steps, 3, "ddpm")[-1]
    expected = torch.from_numpy(images).permute(0, 3, 1, 2)
    assert expected.std() > 0.1
    torch.testing.assert_close((found / 2 + 0.5).clamp(0, 1), expected, atol=1e-4, rtol=0)


def test_a_model_trained_here_opens_in_the_pipeline(tmp_path: Path, run: Run) -> None:
    trained = train(unconditional(), tmp_path / "runs", device="cpu", progress=False)
    done = run("export", "runs", "--format", "diffusers", "--out", "fuera")
    assert done.code == 0, done.err
    assert re.search(r"fuera: 4 ficheros, 0\.\d MB\.", done.out)
    pipe = DDPMPipeline.from_pretrained(tmp_path / "fuera")
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    images = pipe(2, generator=generator, num_inference_steps=20, output_type="np").images
    found = (our_trajectory(trained, 20, 2, "ddpm")[-1] / 2 + 0.5).clamp(0, 1)
    expected = torch.from_numpy(images).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_classes_survive_the_way_there(tmp_path: Path) -> None:
    recipe = tiny.digits(condition_dropout=0.1)
    trained = Trained(tiny.randomised(recipe.build_model()), recipe, (1, 8, 8), {})
    export_diffusers(trained, tmp_path / "a")
    peer = UNet2DModel.from_pretrained(tmp_path / "a", subfolder="unet")
    x, t = torch.randn(3, 1, 8, 8), torch.tensor([0, 7, 19])
    labels = torch.tensor([0, 9, 10])
    with torch.no_grad():
        torch.testing.assert_close(
            trained.model(x, t, labels), peer(x, t, labels).sample, atol=1e-5, rtol=0
        )


# --- Ida y vuelta ---------------------------------------------------------------------------------


def same_state(one: Any, other: Any) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_from_here_there_and_back_nothing_is_lost(tmp_path: Path) -> None:
    recipe = tiny.digits(condition_dropout=0.1)
    names = {"label_names": [f"cifra {number}" for number in range(10)]}
    trained = Trained(tiny.randomised(recipe.build_model()), recipe, (1, 8, 8), {"steps": 7}, names)
    export_diffusers(trained, tmp_path / "a")
    back = load_model(tmp_path / "a")
    assert back.recipe == recipe
    assert (back.shape, back.provenance, back.data) == (trained.shape, {"steps": 7}, names)
    same_state(back.model, trained.model)
    assert read_header(tmp_path / "a").recipe == recipe
    guided = {"class_labels": "cifra 3", "guidance": 1.0, "device": "cpu", "steps": 3}
    # Lo que se carga guarda sus pesos en otro orden en la memoria, y redondea distinto.
    torch.testing.assert_close(
        back.sample(2, **guided), trained.sample(2, **guided), atol=1e-5, rtol=0
    )


def test_what_is_changed_there_is_what_counts(tmp_path: Path) -> None:
    """Con otro scheduler, o guardado otra vez por diffusers, mandan las configuraciones."""
    trained = shaken(unconditional(schedule="linear", timesteps=40))
    export_diffusers(trained, tmp_path / "a")
    assert load_model(tmp_path / "a").data == {"count": 5}
    path = tmp_path / "a" / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text()) | {"beta_end": 0.4}
    path.write_text(json.dumps(config))
    changed = load_model(tmp_path / "a")
    assert changed.schedule.betas[-1] == pytest.approx(0.4)
    assert changed.data == {}
    same_state(changed.model, trained.model)
    DDPMPipeline.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    again = load_model(tmp_path / "b")
    assert again.schedule.betas[-1] == pytest.approx(0.4)
    same_state(again.model, trained.model)


@pytest.mark.parametrize("name", ["cabezas", "clases", "escala", "honda"])
def test_from_there_here_and_back_the_network_is_the_same(name: str, tmp_path: Path) -> None:
    network = peers.peer(name)
    scheduler = DDPMScheduler(300, variance_type="fixed_large", prediction_type="v_prediction")
    trained = load_model(pipeline_folder(network, scheduler, tmp_path / "a"))
    export_diffusers(trained, tmp_path / "b")
    again = UNet2DModel.from_pretrained(tmp_path / "b", subfolder="unet")
    x, t, labels = peers.inputs(network)
    with torch.no_grad():
        found, expected = again(x, t, labels).sample, network(x, t, labels).sample
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    back = DDPMScheduler.from_pretrained(tmp_path / "b", subfolder="scheduler")
    torch.testing.assert_close(back.betas, scheduler.betas, atol=1e-8, rtol=0)
    for field in ("variance_type", "prediction_type", "clip_sample", "num_train_timesteps"):
        assert back.config[field] == scheduler.config[field]


def test_half_precision_takes_half_the_space(tmp_path: Path) -> None:
    trained = shaken(unconditional())
    sizes = []
    for half in (False, True):
        folder = tmp_path / str(half)
        export_diffusers(trained, folder, half=half)
        state = load_model(folder).model.state_dict()
        for name, value in trained.model.state_dict().items():
            expected = value.half().float() if half else value
            assert torch.equal(state[name], expected)
        file = folder / "unet" / "diffusion_pytorch_model.safetensors"
        sizes.append(sum(each.numel() * each.element_size() for each in load_file(file).values()))
    assert sizes[0] == 2 * sizes[1]


# --- Lo que no se puede representar ---------------------------------------------------------------


REFUSED_UNET: list[tuple[str, Any, str]] = [
    ("_class_name", "UNet2DConditionModel", "UNet2DModel"),
    ("center_input_sample", True, "false"),
    ("time_embedding_type", "fourier", "positional"),
    ("time_embedding_dim", 17, "64"),
    ("mid_block_scale_factor", 1.5, "1"),
    ("mid_block_scale_factor", True, "1"),
    ("downsample_type", "resnet", "conv"),
    ("upsample_type", "resnet", "conv"),
    ("act_fn", "gelu", "silu"),
    ("add_attention", False, "true"),
    ("attn_norm_num_groups", 4, "8"),
    ("class_embed_type", "timestep", "null"),
    ("resnet_time_scale_shift", "spatial", "scale_shift"),
    ("down_block_types", ["DownBlock2D", "SkipDownBlock2D"], "AttnDownBlock2D"),
    ("down_block_types", ["DownBlock2D"], "un bloque por nivel de block_out_channels: 2"),
    ("up_block_types", ["UpBlock2D", "AttnUpBlock2D"], "los mismos niveles"),
    ("downsample_padding", 2, "de 0 a 1"),
    ("freq_shift", 2, "de 0 a 1"),
    ("out_channels", 2, "los canales que recibe"),
    ("sample_size", 7, "múltiplos de 2"),
    ("sample_size", None, "el lado de la imagen"),
    ("attention_head_dim", 5, "no se reparten en cabezas"),
    ("norm_num_groups", 7, "attn_norm_num_groups|no se reparten"),
    ("skip_time_act", True, "no se sabe qué significa"),
]


def small_settings(**changes: Any) -> Settings:
    small = {k: list(v) if isinstance(v, tuple) else v for k, v in peers.SMALL.items()}
    return Settings(small | changes, "unet/config.json")


@pytest.mark.parametrize(("field", "value", "admitted"), REFUSED_UNET)
def test_a_network_that_cannot_be_is_refused_by_the_name_of_the_field(
    field: str, value: Any, admitted: str
) -> None:
    scheduler = Settings({}, "scheduler_config.json")
    recipe_from("bien", small_settings(), scheduler)
    with pytest.raises(ValueError, match=admitted) as caught:
        recipe_from("mal", small_settings(**{field: value}), scheduler)
    message = str(caught.value)
    assert field in message and "unet/config.json" in message
    if not isinstance(value, list):
        assert json.dumps(value) in message


REFUSED_SCHEDULER: list[tuple[str, Any, str]] = [
    ("_class_name", "PNDMScheduler", "DDIMScheduler"),
    ("beta_schedule", "sigmoid", "squaredcos_cap_v2"),
    ("trained_betas", [0.1, 0.2], "null"),
    ("prediction_type", "flow_prediction", "v_prediction"),
    ("variance_type", "learned", "learned_range"),
    ("thresholding", True, "false"),
    ("clip_sample_range", 2.0, "1"),
    ("set_alpha_to_one", False, "true"),
    ("steps_offset", 1, "0"),
    ("timestep_spacing", "karras", "linspace"),
    ("skip_prk_steps", True, "no se sabe qué significa"),
    ("rescale_betas_zero_snr", True, "ε|epsilon"),
]
REFUSED_SOLVER: list[tuple[str, Any, str]] = [
    ("algorithm_type", "sde-dpmsolver++", "dpmsolver\\+\\+"),
    ("solver_order", 3, "2"),
    ("solver_type", "heun", "midpoint"),
    ("use_karras_sigmas", True, "false"),
    ("final_sigmas_type", "sigma_min", "zero"),
    ("lambda_min_clipped", -5.1, "-Infinity"),
]


@pytest.mark.parametrize(
    ("kind", "field", "value", "admitted"),
    [("DDPMScheduler", *each) for each in REFUSED_SCHEDULER]
    + [("DPMSolverMultistepScheduler", *each) for each in REFUSED_SOLVER],
)
def test_a_process_that_cannot_be_is_refused_by_the_name_of_the_field(
    kind: str, field: str, value: Any, admitted: str
) -> None:
    whole = {"_class_name": kind}
    recipe_from("bien", small_settings(), Settings(whole, "scheduler_config.json"))
    scheduler = Settings(whole | {field: value}, "scheduler_config.json")
    with pytest.raises(ValueError, match=admitted) as caught:
        recipe_from("mal", small_settings(), scheduler)
    assert field in str(caught.value) or field == "rescale_betas_zero_snr"


def test_steps_offset_counts_only_where_it_is_used() -> None:
    values = {"steps_offset": 1, "timestep_spacing": "trailing"}
    recipe, _ = recipe_from("a", small_settings(), Settings(values, "scheduler_config.json"))
    assert recipe.sampling.spacing == "trailing"


def test_an_old_scheduler_chooses_what_is_predicted_with_another_field() -> None:
    values = {"predict_epsilon": False, "tensor_format": "pt"}
    recipe, _ = recipe_from("a", small_settings(), Settings(values, "scheduler_config.json"))
    assert recipe.diffusion.prediction == "x_start"


UNREPRESENTABLE: dict[str, tuple[Callable[[], Recipe], str]] = {
    "texto": (tiny.reader, "lee texto.*vocabulary"),
    "imagen": (tiny.enlarger, "imagen.*condition_channels"),
    "puntos": (tiny.toy, "no es una U-Net"),
    "números": (lambda: tiny.conditional(num_scalars=2), "números.*num_scalars"),
    "parches": (lambda: tiny.conditional(patch_size=2), "parches.*patch_size"),
    "varianza": (
        lambda: replaced(variance="learned", loss="vlb"),
        "varianza es «learned»",
    ),
    "media": (lambda: replaced(prediction="posterior_mean"), "predice «posterior_mean»"),
}


def replaced(**diffusion: Any) -> Recipe:
    table = unconditional().to_dict()
    table["diffusion"] |= diffusion
    if diffusion.get("variance") == "learned":
        table["model"]["options"]["out_channels"] = 2
    return recipe_from_dict(table)


@pytest.mark.parametrize("what", UNREPRESENTABLE)
def test_what_diffusers_cannot_hold_is_refused_and_onnx_offered(what: str, tmp_path: Path) -> None:
    make, reason = UNREPRESENTABLE[what]
    recipe = make()
    trained = Trained(recipe.build_model(), recipe, (1, 8, 8), {})
    with pytest.raises(ValueError, match=f"{reason}.*--format onnx"):
        export_diffusers(trained, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_configurations_of_both_sides_are_inverse() -> None:
    recipe = unconditional(schedule="linear", timesteps=40)
    unet, scheduler = configs_of(recipe, (1, 8, 8))
    back, shape = recipe_from("sola", Settings(unet, "u"), Settings(scheduler, "s"))
    assert shape == (1, 8, 8)
    assert configs_of(back, shape) == (unet, scheduler)
    assert back.network_config() == recipe.network_config()


# --- Por toda la terminal -------------------------------------------------------------------------


def test_every_command_takes_a_folder_of_diffusers(tmp_path: Path, run: Run) -> None:
    network = peers.peer("honda")
    pipeline_folder(network, DDPMScheduler(100, beta_end=0.1), tmp_path / "ajeno")
    done = run("info", "ajeno")
    assert done.code == 0, done.err
    for word in ("modelo de diffusers", "(1, 8, 8)", "DDPMScheduler", "T = 100", "downsample"):
        assert word in done.out
    assert "desconocidos" not in done.out and "optimización" not in done.out
    done = run("sample", "ajeno", "-n", "4", "--steps", "5", "--out", "m.png", "--device", "cpu")
    assert done.code == 0 and Path("m.png").is_file()
    done = run("evaluate", "ajeno", "-n", "4", "--steps", "2")
    assert done.code == 1
    assert "no dice con qué datos se entrenó" in done.err and "--data" in done.err
    done = run("export", "ajeno", "--format", "diffusers", "--out", "otra")
    assert done.code == 0 and "DDPMPipeline.from_pretrained" in done.out
    done = run("export", "ajeno", "--format", "diffusers", "--out", "otra")
    assert done.code == 1 and "da otra" in done.err


def test_training_goes_on_from_a_folder_of_diffusers(tmp_path: Path, run: Run) -> None:
    """También con otro dropout, que no tiene pesos."""
    pipeline_folder(peers.peer("honda", dropout=0.3), DDPMScheduler(100), tmp_path / "ajeno")
    options = load_model(tmp_path / "ajeno").recipe.model.options | {"dropout": 0.1}
    shown = ", ".join(
        f"{name} = {json.dumps(value)}" for name, value in options.items() if value is not None
    )
    Path("seguir.toml").write_text(
        f"""
name = "seguir"
description = "Sigue desde diffusers."
[data]
name = "digits"
[model]
kind = "unet"
options = {{ {shown} }}
[diffusion]
[training]
steps = 2
batch_size = 4
learning_rate = 1e-9
ema_decay = 0.0
""",
        encoding="utf-8",
    )
    done = run("train", "seguir.toml", "--weights", "ajeno", "--device", "cpu")
    assert done.code == 0, done.err
    before = load_model("ajeno").model.state_dict()
    after = load_model("runs/seguir/model.safetensors").model.state_dict()
    assert all(torch.allclose(after[name], before[name], atol=1e-6) for name in before)


def test_a_model_with_classes_says_how_to_ask_for_them(tmp_path: Path, run: Run) -> None:
    recipe = tiny.digits()
    from ddpm_lit.models.storage import save_model

    save_model(tmp_path / "m.safetensors", recipe.build_model(), recipe, (1, 8, 8))
    done = run("export", "m.safetensors", "--format", "diffusers", "--out", "a")
    assert done.code == 0
    assert "class_labels de 0 a 9 (10, sin clase)" in done.out
