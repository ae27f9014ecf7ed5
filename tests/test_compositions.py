"""Emoji compuestos: que las frases concuerdan, que el color cambia y que lo apartado no se ve."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.build.composition import exam_pairs, found_pairs, score

from ddpm_lit.conditioning import words
from ddpm_lit.data import compositions as module
from ddpm_lit.data import load_dataset
from ddpm_lit.data.compositions import (
    FIRST_HELD_OUT,
    GROUP,
    MOST_WORDS,
    Composition,
    Part,
    Place,
    areas,
    caption_of,
    compositions,
    draw,
    every_pair,
    held_out,
    names_held_out,
)
from ddpm_lit.data.drawings import rasterise
from ddpm_lit.data.emoji_phrases import (
    COLOURS,
    LARGE,
    SMALL,
    THINGS,
    Noun,
    joined,
    phrase,
)
from ddpm_lit.data.openmoji import _icons, svg_folder
from ddpm_lit.data.recolour import (
    Palette,
    body,
    compose,
    dominant,
    luminance,
    paints,
    recolour,
    rgb,
)
from ddpm_lit.recipes.reading import load_recipe

NOUNS = [noun for thing in THINGS.values() for noun in thing.nouns]
PINK = Palette("#ff8080", "#800000", "#ffc0c0")


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compuestos")


# --- Las frases -----------------------------------------------------------------------------------

SAME_IN_PLURAL = {"cactus", "paracaídas", "paraguas"}
FEMININE_NOT_IN_A = {"nube", "flor", "llave", "moto", "serpiente"}
MASCULINE_IN_A = {"fantasma", "ananá", "alienígena"}
STRESSED_A = {"ave", "águila", "ánfora"}


def spelled_plural(noun: str) -> str:
    """El plural por las reglas de la ortografía, que la tabla no usa."""
    if noun in SAME_IN_PLURAL:
        return noun
    if noun in ("dónut", "robot", "yoyó", "ananá"):
        return f"{noun}s"
    if noun.endswith("z"):
        return f"{noun[:-1]}ces"
    if noun[-1] in "aeiou":
        return f"{noun}s"
    unaccented = noun.translate(str.maketrans("áéíóú", "aeiou"))
    # La aguda que acaba en n o s pierde su tilde: la sílaba de más la hace llana.
    sharp = noun[-1] in "ns" and noun[-2] in "áéíóú"
    return f"{noun[:-2]}{unaccented[-2:] if sharp else noun[-2:]}es"


def test_every_plural_is_spelled_as_the_rules_say() -> None:
    for noun in NOUNS:
        first, *rest = noun.singular.split(" ")
        plural, *same = noun.plural.split(" ")
        assert plural == spelled_plural(first), noun
        assert rest == same


def test_every_gender_is_that_of_its_ending_or_a_known_exception() -> None:
    for noun in NOUNS:
        first = noun.singular.split(" ")[0]
        if noun.gender == "fa":
            assert first in STRESSED_A, noun
        elif first in FEMININE_NOT_IN_A:
            assert noun.gender == "f", noun
        elif first[-1] in "aá":
            assert noun.gender == ("m" if first in MASCULINE_IN_A else "f"), noun
        else:
            assert noun.gender == "m", noun
        assert (first in STRESSED_A) == (noun.gender == "fa")


def test_every_adjective_has_its_four_forms() -> None:
    adjectives = [each for colour in COLOURS.values() for each in colour.adjectives]
    for adjective in (*adjectives, SMALL, LARGE):
        masculine = adjective.masculine
        if " " in masculine:
            # Un color con otro adjetivo detrás no concuerda: «dos perros azul claro».
            assert set(adjective) == {masculine}
            continue
        feminine = f"{masculine[:-1]}a" if masculine.endswith("o") else masculine
        assert adjective.feminine == feminine
        for singular, plural in ((masculine, adjective[2]), (feminine, adjective[3])):
            # «Café», que es un nombre, hace «cafés».
            assert plural == ("cafés" if singular == "café" else spelled_plural(singular))


@pytest.mark.parametrize(
    ("thing", "colour", "options", "expected"),
    [
        ("manzana", "amarillo", {}, "manzana amarilla"),
        ("corazón", "rosa", {"determiner": "un"}, "un corazón rosa"),
        ("águila", "rojo", {"determiner": "el"}, "el águila roja"),
        ("águila", "negro", {"determiner": "un"}, "un águila negra"),
        ("abeja", "azul", {"determiner": "el"}, "la abeja azul"),
        ("perro", "azul", {"count": 2}, "dos perros azules"),
        ("lápiz", "marrón", {"count": 3}, "tres lápices marrones"),
        ("tienda de campaña", "gris", {"count": 2}, "dos tiendas de campaña grises"),
        ("luna", None, {"count": 2}, "dos lunas"),
    ],
)
def test_phrases_agree(
    thing: str, colour: str | None, options: dict[str, object], expected: str
) -> None:
    adjectives = [] if colour is None else [COLOURS[colour].adjectives[0]]
    assert phrase(THINGS[thing].nouns[0], adjectives, **options) == expected  # type: ignore[arg-type]


def test_a_size_goes_after_the_colour_and_agrees_too() -> None:
    yellow = COLOURS["amarillo"].adjectives[0]
    assert phrase(THINGS["manzana"].nouns[0], [yellow, SMALL]) == "manzana amarilla pequeña"
    assert phrase(Noun("pez", "peces", "m"), [yellow, LARGE], count=2) == (
        "dos peces amarillos grandes"
    )


def test_y_becomes_e_before_the_sound_i() -> None:
    assert joined("gato", "imán") == "gato e imán"
    assert joined("gato", "hilo rojo") == "gato e hilo rojo"
    assert joined("gato", "hielo") == "gato y hielo"
    assert joined("gato", "un imán") == "gato y un imán"


def test_no_two_things_share_a_name() -> None:
    names = [form for noun in NOUNS for form in {noun.singular, noun.plural}]
    assert len({tuple(words(name)) for name in names}) == len(names)
    assert len({thing.code for thing in THINGS.values()}) == len(THINGS) >= 150


def test_every_caption_fits_the_network() -> None:
    captions = [each.caption for each in compositions()]
    assert max(len(words(caption)) for caption in captions) <= MOST_WORDS
    config = load_recipe("openmoji-texto").network_config()
    assert config.text_length - 1 == MOST_WORDS


# --- El color -------------------------------------------------------------------------------------

SQUARE = (
    '<svg viewBox="0 0 72 72" xmlns="http://www.w3.org/2000/svg">'
    '<rect width="72" height="72" fill="#D22F27"/>'
    '<rect width="72" height="12" fill="#ea5a47"/><rect width="12" height="12" fill="#fff"/>'
    '<rect y="60" width="72" height="12" fill="#781e32"/><rect width="3" height="72" fill="#000"/>'
    '<rect x="60" y="30" width="12" height="12" fill="#b1cc33"/></svg>'
)


def test_the_body_is_the_main_colour_with_its_shadows_and_lights() -> None:
    measured = areas(SQUARE)
    assert sum(measured.values()) == 48 * 46
    assert dominant(measured) == "#d22f27"
    assert body(measured) == ("#d22f27", "#ea5a47", "#781e32")


def test_recolouring_keeps_lights_shadows_lines_and_what_is_of_another_hue() -> None:
    new = recolour(SQUARE, body(areas(SQUARE)), PINK)
    assert paints(new) == (PINK.base, PINK.light, "#ffffff", PINK.dark, "#b1cc33")
    assert 'fill="#000000"' in new


def test_a_large_part_of_another_hue_is_the_body_too() -> None:
    assert body({"#d22f27": 60, "#1e50a0": 40}) == ("#d22f27", "#1e50a0")
    assert body({"#d22f27": 80, "#1e50a0": 20}) == ("#d22f27",)
    assert body({"#9b9b9a": 80, "#3f3f3f": 10, "#ffffff": 10}) == ("#9b9b9a", "#3f3f3f")
    with pytest.raises(ValueError, match="no tiene ningún color"):
        body({"#d22f27": 0})


def lines(svg: str) -> int:
    """Cuántas veces se pinta de negro en un SVG."""
    return len(re.findall(r'"#(?:000|000000)"', svg))


def test_every_thing_takes_the_colour_that_is_asked_for() -> None:
    """De lo pintado, al menos la mitad es del color pedido, y el trazo no se ha movido."""
    colours = list(COLOURS)
    for number, thing in enumerate(THINGS.values()):
        svg = (svg_folder() / f"{thing.code}.svg").read_text(encoding="utf-8")
        before = areas(svg)
        for shift in (0, 5):
            palette = COLOURS[colours[(number + shift) % len(colours)]].palette
            new = recolour(svg, body(before), palette)
            after = areas(new)
            assert sum(after.get(colour, 0) for colour in set(palette)) >= 0.55 * sum(
                before.values()
            ), (thing.name, palette)
            assert lines(new) == lines(svg), thing.name


SEEN_AS = {
    **dict.fromkeys(("#d22f27", "#ea5a47"), "rojo"),
    **dict.fromkeys(("#e27022", "#f4aa41"), "naranja"),
    **dict.fromkeys(("#fcea2b", "#f1b31c"), "amarillo"),
    **dict.fromkeys(("#b1cc33", "#5c9e31", "#186648"), "verde"),
    **dict.fromkeys(("#92d3f5", "#61b2e4"), "celeste"),
    **dict.fromkeys(("#b399c8", "#8967aa"), "morado"),
    **dict.fromkeys(("#ffa7c0", "#e67a94"), "rosa"),
    **dict.fromkeys(("#a57939", "#6a462f"), "marrón"),
    **dict.fromkeys(("#d0cfce", "#9b9b9a"), "gris"),
    "#3f3f3f": "negro",
    "#ffffff": "blanco",
}
"""Los colores de OpenMoji, por su nombre."""


def test_the_natural_colour_is_that_of_the_drawing() -> None:
    for thing in THINGS.values():
        svg = (svg_folder() / f"{thing.code}.svg").read_text(encoding="utf-8")
        assert SEEN_AS[dominant(areas(svg))] == thing.natural, thing.name


def test_colours_are_far_apart_and_have_their_shadow_and_their_light() -> None:
    bases = torch.tensor([rgb(colour.palette.base) for colour in COLOURS.values()]).double()
    apart = torch.cdist(bases, bases) + 1e3 * torch.eye(len(bases))
    assert float(apart.min()) > 80
    for name, colour in COLOURS.items():
        palette = colour.palette
        assert luminance(palette.dark) < luminance(palette.base), name
        assert luminance(palette.light) > luminance(palette.base) or name == "blanco"


# --- El sitio -------------------------------------------------------------------------------------


def painted(x: torch.Tensor) -> torch.Tensor:
    """Dónde hay algo que no es fondo, (H, W)."""
    return (x < 1 - 1e-6).any(dim=0)


def test_places_are_where_they_say(cache_dir: Path) -> None:
    wholes = (Place(), module.PLACES["arriba a la izquierda"], module.SIZES["pequeño"][1])
    parts = [(Part("círculo", "azul", place),) for place in wholes]
    whole, corner, small = map(painted, draw(parts, cache_dir=cache_dir))
    assert corner[:16, :16].any()
    assert not corner[16:].any()
    assert not corner[:, 16:].any()
    # La superficie va con el cuadrado del lado.
    assert int(corner.sum()) == pytest.approx(0.5**2 * int(whole.sum()), rel=0.15)
    assert int(small.sum()) == pytest.approx(0.55**2 * int(whole.sum()), rel=0.15)
    assert torch.equal(small, small.flip(1))


def test_two_are_the_same_drawing_twice(cache_dir: Path) -> None:
    two = tuple(Part("gato", "verde", place) for place in module.SEVERAL[2])
    x = draw([two], cache_dir=cache_dir)[0]
    assert torch.equal(x[:, :, :16], x[:, :, 16:])
    assert painted(x[:, :, :16]).any()


def test_only_an_svg_is_composed() -> None:
    with pytest.raises(ValueError, match="no es un SVG"):
        compose([("<html></html>", Place())])


def test_a_drawing_in_its_place_is_the_drawing() -> None:
    svg = (svg_folder() / "1F408.svg").read_text(encoding="utf-8")
    alone, placed = rasterise([svg, compose([(svg, Place())])], 32, "#ffffff").astype(int)
    # Solo cambia el redondeo de los bordes.
    assert np.abs(alone - placed).max() <= 4


# --- Lo que se aparta -----------------------------------------------------------------------------


def test_what_is_held_out_is_always_the_same() -> None:
    pairs = held_out()
    assert pairs[:6] == FIRST_HELD_OUT
    assert pairs[6:9] == (("mariquita", "amarillo"), ("cebolla", "azul"), ("vaca", "rosa"))
    assert len(set(pairs)) == len(pairs) == 200
    assert ("corazón", "verde") in exam_pairs()
    assert len(exam_pairs()) == 100
    assert all(THINGS[thing].natural != colour for thing, colour in pairs[6:])


def test_no_held_out_pair_is_ever_composed_but_its_parts_are() -> None:
    hidden, seen = set(held_out()), set()
    for caption, parts in compositions():
        for part in parts:
            assert (part.thing, part.colour) not in hidden, caption
            seen.add((part.thing, part.colour))
        if len({(part.thing, part.colour) for part in parts}) == 1:
            assert not names_held_out(caption), caption
    assert seen == {*every_pair(), *((thing, None) for thing in THINGS)} - hidden
    for thing in THINGS:
        assert sum((thing, colour) in seen for colour in COLOURS) >= 6
    for colour in COLOURS:
        assert sum((thing, colour) in seen for thing in THINGS) >= 0.8 * len(THINGS)


def test_an_emoji_called_as_a_held_out_pair_is_noticed() -> None:
    for thing, colour in held_out():
        for adjective in COLOURS[colour].adjectives:
            for noun in THINGS[thing].nouns:
                assert names_held_out(phrase(noun, [adjective], count=2))
    assert names_held_out("libro naranja")
    assert not names_held_out("corazón rojo")
    assert not names_held_out("corazón")
    assert not names_held_out("cuadrado de verdad")
    assert ("corazón", "azul") in held_out()
    assert names_held_out("corazón azul")
    assert not names_held_out("corazón azul claro")


def test_the_training_set_of_the_recipe_has_nothing_held_out(cache_dir: Path) -> None:
    """El conjunto entero, con lo que aparta la receta del modelo de texto."""
    options = load_recipe("openmoji-texto").data.options | {"size": 8}
    data = load_dataset("openmoji-compuesto", **options, cache_dir=cache_dir)
    emoji = [c for c, group in zip(data.captions, data.groups, strict=True) if group != GROUP]
    made = [c for c, group in zip(data.captions, data.groups, strict=True) if group == GROUP]
    assert not any(map(names_held_out, emoji))
    assert not set(options["exclude"]) & set(data.captions)
    assert len(emoji) >= 1850
    assert len(made) >= 3900
    # Lo apartado se dice con palabras que sí se ven.
    known = {word for caption in data.captions for word in words(caption)}
    for pair in held_out():
        assert set(words(caption_of(*pair))) <= known
    # Un emoji y una composición no se llaman igual.
    assert not {tuple(words(c)) for c in emoji} & {tuple(words(c)) for c in made}
    assert data.levels == 256
    assert data.label_names[-1] == GROUP
    assert data.labels is not None
    assert int((data.labels == len(data.label_names) - 1).sum()) == len(made)


# --- El conjunto y su caché -----------------------------------------------------------------------


def few(monkeypatch: pytest.MonkeyPatch) -> list[Composition]:
    chosen = [
        Composition("corazón celeste", (Part("corazón", "celeste"),)),
        Composition("Corazón Rojo", (Part("corazón", "rojo"),)),
        Composition("dos gatos", tuple(Part("gato", None, p) for p in module.SEVERAL[2])),
    ]
    icons = [icon for icon in _icons(skin_tones=False, extras=False) if "razón" in icon.caption]
    monkeypatch.setattr(module, "compositions", lambda: iter(chosen))
    monkeypatch.setattr("ddpm_lit.data.openmoji._icons", lambda **_: icons)
    return chosen


def test_the_set_is_the_emoji_and_then_the_compositions(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few(monkeypatch)
    data = load_dataset("openmoji-compuesto", size=16, cache_dir=tmp_path)
    plain = load_dataset("openmoji", size=16, cache_dir=tmp_path)
    # «Corazón verde» y «corazón azul» se apartan, y «Corazón Rojo» ya se llama así un emoji.
    assert data.captions[-2:] == ("corazón celeste", "dos gatos")
    assert data.captions[:-2] == tuple(
        name for name in plain.captions if name not in ("corazón verde", "corazón azul")
    )
    assert "corazón azul claro" in data.captions
    assert torch.equal(data.x[0], plain.x[0])
    assert data.x.dtype == torch.float32
    twice = load_dataset("openmoji-compuesto", size=16, repeats=2, cache_dir=tmp_path)
    assert twice.captions == (*data.captions[:-2], *data.captions)
    assert torch.equal(twice.x[len(data) - 2 :], data.x)
    centre = ((data.x[-2, :, 7, 7] + 1) * 127.5).round().int().tolist()
    assert tuple(centre) == rgb(COLOURS["celeste"].palette.base)
    assert "CC BY-SA" in data.attribution


def test_the_cache_is_used_and_follows_the_colours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts = [(Part("corazón", "rosa"),)]
    first = draw(parts, 16, cache_dir=tmp_path)

    def must_not_draw(*_: object) -> None:
        raise AssertionError("la caché no se ha usado")

    monkeypatch.setattr(module, "rasterise", must_not_draw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(first, draw(parts, 16, cache_dir=tmp_path))
    for other in ([(Part("corazón", "azul"),)], [(Part("gato", "rosa"),)]):
        with pytest.raises(AssertionError, match="no se ha usado"):
            draw(other, 16, cache_dir=tmp_path)
    changed = COLOURS | {"rosa": COLOURS["rosa"]._replace(palette=PINK)}
    monkeypatch.setattr(module, "COLOURS", changed)
    with pytest.raises(AssertionError, match="no se ha usado"):
        draw(parts, 16, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "«size» vale 4"),
        ({"size": 513}, "como mucho 512"),
        ({"background": "blanquito"}, "no se entiende"),
        ({"repeats": 0}, "«repeats» vale 0"),
        ({"exclude": ["gato de Schrödinger"]}, "No hay ningún emoji que se llame gato de"),
    ],
)
def test_bad_options_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    few(monkeypatch)
    with pytest.raises(ValueError, match=message):
        load_dataset("openmoji-compuesto", **{"size": 16, **options}, cache_dir=tmp_path)


# --- La medida ------------------------------------------------------------------------------------


def test_the_drawing_of_a_pair_is_the_closest_to_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    things = ("corazón", "gato", "perro", "libro")
    pairs = tuple(pair for pair in every_pair() if pair[0] in things)
    assert len(pairs) == 4 * len(COLOURS)
    monkeypatch.setattr("scripts.build.composition.every_pair", lambda: pairs)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    x = draw([(Part(*pair),) for pair in pairs])
    noise = 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert found_pairs(x + noise) == list(pairs)


def test_the_score_counts_drawings_and_majorities() -> None:
    asked = [("gato", "azul"), ("perro", "rojo")]
    found = [("gato", "azul")] * 3 + [("gato", "rojo")]
    found += [("perro", "rojo")] * 2 + [("perro", "azul"), ("vaca", "gris")]
    assert score(asked, found, 4) == {
        "pairs": 2,
        "drawings": 8,
        "right": 5,
        "pairs_right": 1,
        "thing_right": 7,
        "colour_right": 5,
    }
