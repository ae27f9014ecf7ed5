"""Los ejercicios de código: sin hacer no pasan, la solución sí, y cada error recibe su pista."""

import ast
import time
from pathlib import Path

import pytest
import torch

from ddpm_lit.exercises import checking
from ddpm_lit.exercises.checking import MistakeError, expect
from ddpm_lit.exercises.running import copy_start, correct, start_text
from ddpm_lit.exercises.table import EXERCISES
from terminal import Run, invoker

SOLUTIONS = Path(__file__).resolve().parents[1] / "docs" / "ejercicios" / "soluciones"

SLIPS: dict[str, list[tuple[str, str, str]]] = {
    "salto": [
        ("(1 - bar).sqrt() * noise", "(1 - bar) * noise", "falta una raíz: 1 − ᾱ_t"),
        ("bar.sqrt() * x_start", "bar * x_start", "falta una raíz: el volumen"),
        ("(1 - betas).cumprod(0)[t]", "(1 - betas)[t]", "un solo paso"),
        ("(1 - betas).cumprod(0)[t]", "betas.cumprod(0)[t]", "no el de las β_t"),
        ("(1 - betas).cumprod(0)[t]", "(1 - betas).cumprod(0)[t - 1]", "un lugar corrido"),
        ("[t].reshape", "[t[len(t) // 2]].reshape", "cada una tiene el suyo"),
        (".reshape(-1, 1, 1, 1)", "", "una columna de píxeles"),
        (".reshape(-1, 1, 1, 1)", ".reshape(-1, 1)", "una fila de píxeles"),
    ],
    "posterior": [
        ("data * x_start + state * x_t", "state * x_start + data * x_t", "están cambiados"),
        ("prev.sqrt() * beta", "prev * beta", "falta la raíz de ᾱ_{t-1}"),
        ("alpha.sqrt() * (1 - prev)", "alpha * (1 - prev)", "falta la raíz de α_t"),
        ("bars[index - 1] if index > 0 else torch.ones_like(bar)", "bars[index]", "está ᾱ_t"),
        (
            "bars[index - 1] if index > 0 else torch.ones_like(bar)",
            "bars[index - 1]",
            "(o un roll)",
        ),
        ("(1 - prev) / (1 - bar) * beta", "beta", "esa es β_t"),
        (
            "(1 - prev) / (1 - bar) * beta",
            "(1 - bar) / (1 - prev).clamp(min=1e-9) * beta",
            "del revés",
        ),
        (
            "return data * x_start + state * x_t, (1 - prev)",
            "return data * x_start + state * x_t * (1 - prev)",
            "dos cosas",
        ),
    ],
    "recorte": [
        (".clamp(-1, 1)", "", "no se ha recortado"),
        (
            "(x_t - noise * epsilon)",
            "(x_t.clamp(-1, 1) - noise * epsilon)",
            "se ha recortado también x_t",
        ),
        ("x_t - noise * epsilon", "x_t + noise * epsilon", "el ruido se resta"),
        (
            "alpha_cumprod**0.5, (1 - alpha_cumprod) ** 0.5",
            "alpha_cumprod, 1 - alpha_cumprod",
            "faltan las raíces",
        ),
        ("(x_t - signal * x_start) / noise", "epsilon", "ya no sale x_t"),
    ],
    "coseno": [
        (" ** 2", "", "se ha quedado en el coseno"),
        (".clamp(max=0.999)", "", "se recortan a 0.999"),
        ("(1 - f[1:] / f[:-1]).clamp(max=0.999)", "f[1:] / f[0]", "esas son las ᾱ_t"),
        (
            "(1 - f[1:] / f[:-1]).clamp(max=0.999)",
            "(1 - f[1:] / f[0]).clamp(max=0.999)",
            "eso es 1 − ᾱ_t",
        ),
        ("(u + s) / (1 + s)", "(u + 0.008) / 1.008", "no se está usando"),
        ("(1 - f[1:] / f[:-1])", "(1 - f / f.roll(1))", "se piden T números"),
    ],
    "divergencia": [
        ("0.5 * ", "", "falta el ½"),
        (" - 1)", ")", "falta el −1"),
        ("log_var2 - log_var1", "log_var1 - log_var2", "del revés"),
        ("gap / log_var2.exp()", "gap / log_var1.exp()", "entre σ₂²"),
        (" ** 2", "", "va al cuadrado"),
        ("log_var2.exp() - 1)", "log_var2.exp() - 1).sum()", "sin sumarlas"),
    ],
    "ideal": [
        ("2 * (1 - alpha_cumprod)", "1 - alpha_cumprod", "falta el 2"),
        ("alpha_cumprod**0.5 * data", "data", "después de encogerlos"),
        ("alpha_cumprod**0.5 * data", "alpha_cumprod * data", "con √ᾱ_t, no con ᾱ_t"),
        (".softmax(1)", ".softmax(0)", "el softmax va por los datos"),
        (".softmax(1)", ".exp()", "falta dividir entre la suma"),
        ("(-squared", "(squared", "el signo"),
        (
            "return (-squared / (2 * (1 - alpha_cumprod))).softmax(1) @ data",
            "w = (-squared / (2 * (1 - alpha_cumprod))).exp()\n"
            "    return w / w.sum(1, keepdim=True) @ data",
            "Un softmax resta antes",
        ),
    ],
    "perdida": [
        ("model(x_t, t)", "model(x_start, t)", "x_0 limpio"),
        ("model(x_t, t) - noise", "model(x_t, t) - x_start", "se compara con x_0"),
        (".mean((1, 2, 3))", ".sum((1, 2, 3))", "se han sumado"),
        (".mean((1, 2, 3))", ".mean()", "una pérdida por ejemplo"),
        (".square()", ".abs()", "valores absolutos"),
        ("model(x_t, t)", "model(x_t, t + 1)", "el índice de cada ejemplo"),
        (
            "bar.sqrt() * x_start + (1 - bar).sqrt() * noise",
            "bar * x_start + (1 - bar) * noise",
            "faltan las raíces",
        ),
        (
            "(model(x_t, t) - noise)",
            "(model(x_t, t) - noise + 0 * model(x_t, t))",
            "se llama una vez",
        ),
    ],
    "generar": [
        ("if index > 0:", "if True:", "nadie lo quitaría"),
        ("betas[index].sqrt() * next", "betas[index] * next", "la desviación típica, √β_t"),
        ("reversed(range(len(betas)))", "range(len(betas))", "se empieza en t = T"),
        ("if index > 0:", "if False:", "apelotonado"),
        (
            "(x - removed) / (1 - betas[index]).sqrt()",
            "(x - removed) / (1 - betas[index])",
            "falta la raíz",
        ),
        ("(1 - bars[index]).sqrt()", "(1 - bars[index])", "falta la raíz"),
        ("betas[index] / (1 - bars[index]).sqrt() * model", "1.0 * model", "el ruido entero"),
        ("t = torch.full((len(x),), index)", "t = index", "un índice por ejemplo"),
    ],
    "embedding": [
        ("[angles.sin(), angles.cos()]", "[angles.cos(), angles.sin()]", "los senos van delante"),
        ("(half - 1)", "half", "entre h − 1"),
        ("(-torch", "(torch", "falta el signo menos"),
        ("max_period ** ", "10_000.0 ** ", "no se está usando"),
        (
            "torch.cat([angles.sin(), angles.cos()], dim=1)",
            "torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)",
            "intercalados",
        ),
    ],
    "rango": [
        ("(output + 1) / 2", "output", "la red da o"),
        (
            "(v * large.log() + (1 - v) * small.log()).exp()",
            "v * large + (1 - v) * small",
            "entre los logaritmos",
        ),
        (
            "v * large.log() + (1 - v) * small.log()",
            "v * small.log() + (1 - v) * large.log()",
            "están cambiados",
        ),
        (".exp()", "", "falta la exponencial"),
        (
            "tilde[max(index - 1, 0)]",
            "(tilde[index - 1] if index else 0 * tilde[0])",
            "no es un número",
        ),
    ],
    "guia": [
        (
            "(1 + w) * conditional - w * unconditional",
            "w * conditional + (1 - w) * unconditional",
            "el otro convenio",
        ),
        (
            "(1 + w) * conditional - w * unconditional",
            "(1 + w) * unconditional - w * conditional",
            "están cambiadas",
        ),
        ("- w * unconditional", "+ w * unconditional", "el signo"),
        ("[labels, nothing]", "[labels, labels]", "llevan la condición"),
        (
            "return (1 + w) * conditional - w * unconditional",
            "return (1 + w) * output - w * output",
            "volver a partirlo",
        ),
        ("torch.cat([t, t])", "t", "se doblan las tres cosas"),
        ("(1 + w) * conditional", "w * conditional", "deben sumar 1"),
    ],
    "atencion": [
        (" / q.shape[-1] ** 0.5", "", "entre √d"),
        ("q.shape[-1] ** 0.5", "q.shape[-1]", "no entre d"),
        ("~mask", "mask", "del revés"),
        ("-torch.inf", "0.0", "no lo quita"),
        ("likeness = likeness.masked_fill(~mask[:, None], -torch.inf)", "pass", "también se mira"),
        ("likeness.softmax(-1)", "likeness.softmax(1).nan_to_num()", "por las palabras"),
    ],
    "reponer": [
        (
            "alphas_cumprod[index - 1] if index > 0 else torch.ones(())",
            "alphas_cumprod[index]",
            "la primera errata",
        ),
        ("(1 - bar).sqrt() * noise", "(1 - bar) * noise", "la segunda errata"),
        (
            "alphas_cumprod[index - 1] if index > 0 else torch.ones(())",
            "alphas_cumprod[index - 1]",
            "se coge ᾱ_T",
        ),
        ("mask * noisy + (1 - mask) * x_prev", "(1 - mask) * noisy + mask * x_prev", "del revés"),
        (
            "alphas_cumprod[index - 1] if index > 0 else torch.ones(())",
            "alphas_cumprod[max(index - 1, 0)]",
            "vuelve tal cual",
        ),
        ("bar.sqrt() * known + (1 - bar).sqrt() * noise", "known", "se ha puesto limpio"),
    ],
    "ddim": [
        ("1 - prev - sigma**2", "1 - prev", "hay que quitárselo"),
        ("eta * ((1", "1.0 * ((1", "no se está usando"),
        ("sigma * z", "sigma**2 * z", "se ha puesto σ²"),
        (
            "alphas_cumprod[previous] if previous >= 0 else torch.ones(())",
            "alphas_cumprod[index - 1]",
            "el anterior de la lista",
        ),
        (
            "alphas_cumprod[previous] if previous >= 0 else torch.ones(())",
            "alphas_cumprod[previous]",
            "-1 es la última",
        ),
    ],
    "recocido": [
        ("reversed(sigmas)", "sigmas", "del nivel más ruidoso al menos"),
        ("sigma**2", "sigma", "falta el cuadrado"),
        ("delta / 2 *", "delta *", "la mitad de δ"),
        ("delta**0.5 *", "delta *", "la raíz de δ"),
        ("delta**0.5 * next(noises)", "0 * next(noises)", "se sube a la cumbre"),
        (
            "        for _ in range(steps):\n",
            "        z = next(noises)\n        noises = iter([z] * steps + [*noises])\n"
            "        for _ in range(steps):\n",
            "cada paso lleva su z",
        ),
        ("x + delta / 2", "x - delta / 2", "el score se suma"),
        ("range(steps)", "range(1)", "en cada paso se pregunta donde se está"),
    ],
    "vuelta": [
        ("-epsilon / (1", "epsilon / (1", "se sube la cuesta"),
        ("-epsilon / (1 - alpha_cumprod) ** 0.5", "-epsilon", "eso es ε, no el score"),
        (" ** 0.5\n", "\n", "y falta la raíz"),
        ("x_t + beta / 2 * x_t", "x_t - beta / 2 * x_t", "se deshace el encogimiento"),
        ("+ beta / 2 *", "+ beta *", "se ha deshecho β"),
        ("kappa * beta**0.5", "kappa * beta", "es κ√β"),
        ("(1 + kappa**2) / 2", "1.0", "con menos azar se sube menos"),
        ("kappa**2", "kappa", "al cuadrado en lo que multiplica"),
        ("kappa * beta**0.5", "(kappa * beta) ** 0.5", "no a la varianza"),
    ],
    "hutchinson": [
        ("(row * z)", "row", "falta multiplicar otra vez por z"),
        (" / len(probes)", "", "se han sumado"),
        (".sum(1)", ".mean(1)", "se ha hecho la media"),
        ("in probes:", "in (probes := probes[:1]):", "solo se ha usado la primera"),
        (".sum(1)", ".sum()", "también las de otros ejemplos"),
        (".sum(1)", ".sum(1, keepdim=True)", "una divergencia por ejemplo"),
        (
            "total / len(probes)",
            "torch.stack([torch.func.jacrev(field)(y).trace() for y in x.detach()])",
            "la divergencia exacta",
        ),
    ],
    "recto": [
        ("epsilon - x_start", "x_start - epsilon", "el reloj crece hacia el ruido"),
        ("model(x / size,", "model(x,", "espera la x de DDPM"),
        ("((1 - tau) / size) ** 2", "(1 - tau) ** 2", "los dos cuadrados suman 1"),
        ("((1 - tau) / size) ** 2", "(1 - tau) / size", "ᾱ_t es su cuadrado"),
        ("(x - tau", "(x / size - tau", "se han mezclado las dos"),
        ("epsilon - x_start", "epsilon", "falta restarle"),
    ],
    "heun": [
        ("slope = (slope + velocity(reached, after)) / 2", "pass", "eso es Euler"),
        ("(slope + velocity(reached, after)) / 2", "velocity(reached, after)", "solo la segunda"),
        (
            "(slope + velocity(reached, after)) / 2",
            "slope + velocity(reached, after)",
            "falta dividir entre 2",
        ),
        ("velocity(reached, after)", "velocity(x, after)", "donde llega el paso de Euler"),
        ("velocity(reached, after)", "velocity(reached, now)", "con el τ de llegada"),
        (
            "x = x + (after - now) * slope",
            "x = (reached if after > 0 else x) + (after - now) * slope",
            "desde el sitio de partida",
        ),
        (
            "    for now, after in",
            "    up = velocity\n    velocity = lambda x, tau: -up(x, tau)\n    for now, after in",
            "hacia el otro lado",
        ),
        ("if after > 0:", "if True:", "el de Euler"),
    ],
    "autoencoder": [
        ("(log_variance / 2).exp() * noise", "log_variance.exp() * noise", "la exponencial de su"),
        ("mean + (log_variance / 2).exp() * noise", "mean", "falta el sorteo"),
        ("- 1 - log_variance", "- 1 + log_variance", "por arriba o por abajo"),
        ("0.5 * (mean**2", "(mean**2", "le falta el ½"),
        ("(x - decode(z)).abs()", "(x - decode(z)) ** 2", "no el cuadrado"),
        (
            "error.flatten(1).mean(1) + kl_weight * kl.flatten(1).mean(1)",
            "error.flatten(1).sum(1) + kl_weight * kl.flatten(1).sum(1)",
            "no una suma",
        ),
        ("kl_weight * kl", "kl", "falta el peso"),
    ],
}
"""De cada ejercicio, unos errores: qué se cambia en la solución, por qué otra cosa, y la pista."""


def solution(name: str) -> str:
    return (SOLUTIONS / f"{name}.py").read_text(encoding="utf-8")


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path


# --- Cada ejercicio -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_undone_it_does_not_pass_and_says_so(name: str, tmp_path: Path) -> None:
    path = copy_start(name, tmp_path)
    assert path is not None
    (said,) = correct(name, path)
    assert said.startswith(f"{EXERCISES[name].function} está sin hacer")


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_passes(name: str, tmp_path: Path) -> None:
    assert correct(name, written(tmp_path, name, solution(name))) == []


@pytest.mark.parametrize("name", EXERCISES)
def test_a_function_that_returns_nothing_is_told(name: str, tmp_path: Path) -> None:
    text = start_text(name).replace("raise NotImplementedError", "return None")
    assert correct(name, written(tmp_path, name, text))


@pytest.mark.parametrize(
    ("name", "right", "wrong", "hint"),
    [(name, *slip) for name, slips in SLIPS.items() for slip in slips],
)
def test_each_known_slip_gets_its_hint(
    name: str, right: str, wrong: str, hint: str, tmp_path: Path
) -> None:
    text = solution(name)
    assert text.count(right) == 1, "lo que se cambia está una vez en la solución"
    said = "\n".join(correct(name, written(tmp_path, name, text.replace(right, wrong))))
    assert hint in said


def test_every_exercise_knows_at_least_two_slips() -> None:
    assert {name: len(slips) >= 2 for name, slips in SLIPS.items()} == dict.fromkeys(
        EXERCISES, True
    )


@pytest.mark.parametrize("name", EXERCISES)
def test_no_slip_gives_what_is_right_nor_what_another_gives(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Con la solución se recorren todas las comprobaciones; ninguna pista puede mentir."""
    seen = 0
    usual = checking.expect

    def spy(asked: str, found: object, right: object, mistakes: object = None, **rest: object):  # type: ignore[no-untyped-def]
        nonlocal seen
        values = {"lo que debe": right, **(mistakes or {})}  # type: ignore[dict-item]
        for hint, value in values.items():
            for other, another in values.items():
                if hint != other:
                    seen += 1
                    with pytest.raises(MistakeError):
                        usual(f"{hint} / {other}", torch.as_tensor(value), torch.as_tensor(another))
        usual(asked, found, right, mistakes, **rest)  # type: ignore[arg-type]

    module = EXERCISES[name].check.__globals__
    monkeypatch.setitem(module, "expect", spy)
    assert correct(name, written(tmp_path, name, solution(name))) == []
    assert seen > 0


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_has_the_signature_of_the_start(name: str) -> None:
    def signature(text: str) -> str:
        (function,) = (
            node
            for node in ast.parse(text).body
            if isinstance(node, ast.FunctionDef) and node.name == EXERCISES[name].function
        )
        return ast.dump(function.args) + ast.dump(function.returns or ast.Constant(None))

    assert signature(start_text(name)) == signature(solution(name))


def test_every_start_and_every_solution_is_of_an_exercise() -> None:
    starts = Path(checking.__file__).parent / "starts"
    for folder in (starts, SOLUTIONS):
        assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == EXERCISES.keys()


@pytest.mark.parametrize("name", EXERCISES)
def test_what_the_page_shows_fits_in_eighty_columns(name: str) -> None:
    lines = [*start_text(name).splitlines(), *solution(name).splitlines()]
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("name", EXERCISES)
def test_the_start_says_how_it_is_checked(name: str) -> None:
    assert f"ddpm-lit ejercicio {name}\n" in start_text(name)


# --- Comparar -------------------------------------------------------------------------------------


def test_what_is_said_of_a_wrong_number() -> None:
    with pytest.raises(MistakeError) as told:
        expect("el doble de 3", 7.0, 6.0, {"eso es 3 + 4.": 7.0})
    assert told.value.lines == (
        "Se pide: el doble de 3.",
        "Sale:    7",
        "Debe:    6",
        "Pista:   eso es 3 + 4.",
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, "¿Falta el return?"),
        ([1.0], "algo de tipo list"),
        (torch.zeros(3, 1), "(3, 1)"),
        (torch.tensor([torch.nan, 1.0]), "no son finitos"),
        (torch.tensor([1.0, 2.0]), "[1, 2]"),
    ],
)
def test_what_is_not_even_comparable_is_told(found: object, text: str) -> None:
    with pytest.raises(MistakeError, match=r"Se pide: x\.") as told:
        expect("x", found, torch.tensor([1.0, 3.0]))
    assert text in str(told.value)


def test_the_precision_of_the_reader_does_not_matter() -> None:
    expect("x", torch.tensor([1 / 3], dtype=torch.float32), torch.tensor([1 / 3]).double())
    expect("x", 2, torch.tensor(2.0))


# --- Ejecutar -------------------------------------------------------------------------------------

HEADER = "def q_sample(betas, x_start, t, noise):\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER + "    a = 1\n    return a / 0\n", ["ZeroDivisionError", "Línea 3:  return a / 0"]),
        (HEADER + "    return x_start +\n", ["SyntaxError", "Línea 2:"]),
        ("import sys\nsys.exit()\n", ["SystemExit", "Línea 2:  sys.exit()"]),
        ("def otra():\n    pass\n", ["ninguna función que se llame q_sample"]),
        (HEADER + "    return betas[5000]\n", ["IndexError", "Línea 2:"]),
        ("def q_sample(betas):\n    return betas\n", ["TypeError", "¿tiene los argumentos"]),
        (HEADER + "    raise NotImplementedError('no')\n", ["NotImplementedError: no", "Línea 2:"]),
    ],
)
def test_what_fails_is_told_with_its_line(text: str, said: list[str], tmp_path: Path) -> None:
    lines = "\n".join(correct("salto", written(tmp_path, "salto", text)))
    for each in said:
        assert each in lines


def test_what_does_not_finish_is_interrupted(tmp_path: Path) -> None:
    path = written(tmp_path, "salto", HEADER + "    while True:\n        t = t + 1\n")
    before = time.monotonic()
    said = "\n".join(correct("salto", path, seconds=0.3))
    assert time.monotonic() - before < 10
    assert "no había terminado" in said and "Línea " in said and "no acaba" in said


@pytest.mark.parametrize("name", ["salto", "generar"])
def test_what_it_is_given_may_be_changed_in_place(name: str, tmp_path: Path) -> None:
    spoiled = {
        "salto": ("return bar.sqrt() * x_start", "return x_start.mul_(bar.sqrt())"),
        "generar": ("    x = x_T\n", "    x = x_T\n    x_T.mul_(2).div_(2)\n"),
    }
    text = solution(name).replace(*spoiled[name]).replace("* next(noises)", "* next(noises).neg_()")
    text = text.replace("x = x + betas", "x = x - betas")
    assert text != solution(name)
    assert correct(name, written(tmp_path, name, text)) == []


def test_the_random_state_is_left_as_it_was(tmp_path: Path) -> None:
    text = "import torch\ntorch.manual_seed(7)\n" + solution("salto")
    before = torch.get_rng_state()
    assert correct("salto", written(tmp_path, "salto", text)) == []
    assert torch.equal(torch.get_rng_state(), before)


# --- Desde la terminal ----------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    return invoker(capfd)


def test_from_the_terminal_it_is_copied_and_then_corrected(run: Run, tmp_path: Path) -> None:
    listed = run("ejercicio")
    for name, exercise in EXERCISES.items():
        assert f"  {name} " in listed.out and exercise.summary in listed.out
    copied = run("ejercicio", "salto")
    assert copied.code == 0 and "salto.py: completa la función q_sample" in copied.out
    assert (tmp_path / "salto.py").read_text(encoding="utf-8") == start_text("salto")
    undone = run("ejercicio", "salto")
    assert undone.code == 1 and undone.out.startswith("salto: todavía no.\n")
    written(tmp_path, "salto", solution("salto"))
    assert run("ejercicio", "salto") == (0, "salto: bien.\n", "")
    assert (tmp_path / "salto.py").read_text(encoding="utf-8") == solution("salto")


def test_an_unknown_exercise_names_those_there_are(run: Run) -> None:
    result = run("ejercicio", "nada")
    assert result.code == 1 and "No hay ningún ejercicio «nada». Hay: salto" in result.err
