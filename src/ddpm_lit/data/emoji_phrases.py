"""Los objetos y los colores con que se componen emoji, y cómo se dicen en español.

La tabla está escrita a mano: ninguna regla acierta siempre con el género y el plural («lápiz,
lápices», «el águila roja»). El código es el del emoji de OpenMoji que da la forma.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ddpm_lit.data.recolour import Palette

MASCULINE, FEMININE, FEMININE_WITH_EL = "m", "f", "fa"
"""Los géneros; el último, el de los femeninos que llevan «el» y «un», como «águila»."""


class Noun(NamedTuple):
    """Un nombre común: singular, plural y género."""

    singular: str
    plural: str
    gender: str


class Thing(NamedTuple):
    """Un objeto: el código de su emoji, el color con que viene y sus nombres, el usual delante."""

    code: str
    natural: str
    nouns: tuple[Noun, ...]

    @property
    def name(self) -> str:
        """Su nombre usual."""
        return self.nouns[0].singular


class Adjective(NamedTuple):
    """Un adjetivo en sus cuatro formas."""

    masculine: str
    feminine: str
    masculine_plural: str
    feminine_plural: str

    def agreeing(self, noun: Noun, *, plural: bool) -> str:
        """La forma que concuerda con un nombre."""
        feminine = noun.gender != MASCULINE
        return self[2 * plural + feminine]


def _invariable(form: str) -> Adjective:
    return Adjective(form, form, form, form)


class Colour(NamedTuple):
    """Un color: cómo se pinta y sus adjetivos, el usual delante."""

    palette: Palette
    adjectives: tuple[Adjective, ...]


COLOURS: dict[str, Colour] = {
    "rojo": Colour(
        Palette("#d22f27", "#8c1d18", "#ea5a47"),
        (Adjective("rojo", "roja", "rojos", "rojas"),),
    ),
    "naranja": Colour(
        Palette("#f18a1c", "#b55f0a", "#f9b66a"),
        (Adjective("naranja", "naranja", "naranjas", "naranjas"),),
    ),
    "amarillo": Colour(
        Palette("#fcea2b", "#d9b50f", "#fff6a6"),
        (Adjective("amarillo", "amarilla", "amarillos", "amarillas"),),
    ),
    "verde": Colour(
        Palette("#4fa52b", "#2f6b18", "#9fd27f"),
        (Adjective("verde", "verde", "verdes", "verdes"),),
    ),
    "azul": Colour(
        Palette("#1e50a0", "#12316a", "#5b86cc"),
        (Adjective("azul", "azul", "azules", "azules"),),
    ),
    "celeste": Colour(
        Palette("#92d3f5", "#4fa3d6", "#cdecfb"),
        (
            Adjective("celeste", "celeste", "celestes", "celestes"),
            _invariable("azul claro"),
        ),
    ),
    "morado": Colour(
        Palette("#7f4fb3", "#523078", "#b194d6"),
        (
            Adjective("morado", "morada", "morados", "moradas"),
            Adjective("violeta", "violeta", "violetas", "violetas"),
        ),
    ),
    "rosa": Colour(
        Palette("#ffa7c0", "#e67a94", "#ffd6e1"),
        (
            Adjective("rosa", "rosa", "rosas", "rosas"),
            Adjective("rosado", "rosada", "rosados", "rosadas"),
        ),
    ),
    "marrón": Colour(
        Palette("#85552f", "#54331a", "#b58a63"),
        (
            Adjective("marrón", "marrón", "marrones", "marrones"),
            Adjective("café", "café", "cafés", "cafés"),
        ),
    ),
    "negro": Colour(
        Palette("#2b2b2b", "#121212", "#565656"),
        (Adjective("negro", "negra", "negros", "negras"),),
    ),
    "blanco": Colour(
        Palette("#ffffff", "#d0cfce", "#ffffff"),
        (Adjective("blanco", "blanca", "blancos", "blancas"),),
    ),
    "gris": Colour(
        Palette("#9b9b9a", "#6c6c6b", "#c9c9c8"),
        (Adjective("gris", "gris", "grises", "grises"),),
    ),
}
"""Los colores, por su nombre en masculino y en singular."""

SMALL = Adjective("pequeño", "pequeña", "pequeños", "pequeñas")
LARGE = Adjective("grande", "grande", "grandes", "grandes")

DETERMINERS: dict[str, dict[str, str]] = {
    "": {"m": "", "f": "", "fa": ""},
    "un": {"m": "un", "f": "una", "fa": "un"},
    "el": {"m": "el", "f": "la", "fa": "el"},
}
"""Los artículos en singular, según el género del nombre que sigue."""

NUMERALS = {2: "dos", 3: "tres"}


def phrase(
    noun: Noun,
    adjectives: Sequence[Adjective] = (),
    *,
    determiner: str = "",
    count: int = 1,
) -> str:
    """Un grupo nominal en que todo concuerda: «una manzana amarilla pequeña», «dos perros azules».

    Args:
        noun: el nombre.
        adjectives: sus adjetivos, en orden.
        determiner: uno de `DETERMINERS`; con más de uno, sobra.
        count: cuántos son, de 1 a 3.

    Returns:
        La frase.
    """
    plural = count > 1
    start = NUMERALS[count] if plural else DETERMINERS[determiner][noun.gender]
    words = [
        start,
        noun.plural if plural else noun.singular,
        *(each.agreeing(noun, plural=plural) for each in adjectives),
    ]
    return " ".join(filter(None, words))


def joined(first: str, second: str) -> str:
    """Dos grupos nominales unidos por «y», o por «e» si el segundo empieza por el sonido «i»."""
    # «Agua y hielo»: en hie- no suena una i.
    like_i = second.startswith(("i", "hi", "í", "hí"))
    diphthong = second.startswith(("hia", "hie", "hio"))
    return f"{first} {'e' if like_i and not diphthong else 'y'} {second}"


def _thing(line: str) -> Thing:
    key, names = line.split(": ")
    code, natural = key.split(" ")
    nouns = (Noun(*noun.split(", ")) for noun in names.split("; "))
    return Thing(code, natural, tuple(nouns))


# Código, color con que viene: singular, plural, género; y lo mismo de cada sinónimo.
_TABLE = """\
2764 rojo: corazón, corazones, m
1F534 rojo: círculo, círculos, m
1F7E5 rojo: cuadrado, cuadrados, m
1F536 naranja: rombo, rombos, m
1F53A rojo: triángulo, triángulos, m
2B50 amarillo: estrella, estrellas, f
1F319 amarillo: luna, lunas, f
2600 amarillo: sol, soles, m
2601 gris: nube, nubes, f
26A1 amarillo: rayo, rayos, m; relámpago, relámpagos, m
1F4A7 celeste: gota, gotas, f
1F525 amarillo: fuego, fuegos, m; hoguera, hogueras, f
1F33C amarillo: flor, flores, f; margarita, margaritas, f
1F337 naranja: tulipán, tulipanes, m
1F33B amarillo: girasol, girasoles, m
1F340 verde: trébol, tréboles, m
1F333 verde: árbol, árboles, m
1F332 verde: pino, pinos, m; abeto, abetos, m
1F334 verde: palmera, palmeras, f
1F335 verde: cactus, cactus, m; cacto, cactos, m
1F344 rojo: seta, setas, f; hongo, hongos, m; champiñón, champiñones, m
1F34E rojo: manzana, manzanas, f
1F350 verde: pera, peras, f
1F34A amarillo: mandarina, mandarinas, f
1F34B amarillo: limón, limones, m
1F34C amarillo: plátano, plátanos, m; banana, bananas, f
1F349 rojo: sandía, sandías, f
1F353 rojo: fresa, fresas, f; frutilla, frutillas, f
1F351 rosa: melocotón, melocotones, m; durazno, duraznos, m
1F34D marrón: piña, piñas, f; ananá, ananás, m
1F95D verde: kiwi, kiwis, m
1F345 rojo: tomate, tomates, m
1F346 morado: berenjena, berenjenas, f
1F955 naranja: zanahoria, zanahorias, f
1FAD1 rojo: pimiento, pimientos, m
1F336 rojo: guindilla, guindillas, f; chile, chiles, m
1F952 verde: pepino, pepinos, m
1F965 marrón: coco, cocos, m
1F9C5 naranja: cebolla, cebollas, f
1F35E amarillo: pan, panes, m
1F950 naranja: cruasán, cruasanes, m
1F9C0 amarillo: queso, quesos, m
1F355 amarillo: pizza, pizzas, f
1F366 amarillo: helado, helados, m
1F382 amarillo: tarta, tartas, f; torta, tortas, f
1F36A marrón: galleta, galletas, f
1F369 amarillo: dónut, dónuts, m; rosquilla, rosquillas, f
1F36C verde: caramelo, caramelos, m
1F36D rojo: piruleta, piruletas, f
1F95A blanco: huevo, huevos, m
2615 blanco: taza, tazas, f
1FAD6 gris: tetera, teteras, f
1F37A amarillo: jarra, jarras, f
1F377 rojo: copa, copas, f
1F415 naranja: perro, perros, m; can, canes, m
1F408 naranja: gato, gatos, m; minino, mininos, m
1F401 gris: ratón, ratones, m
1F404 marrón: vaca, vacas, f
1F416 rosa: cerdo, cerdos, m; puerco, puercos, m
1F411 blanco: oveja, ovejas, f
1F40E marrón: caballo, caballos, m
1F407 negro: conejo, conejos, m
1F414 blanco: gallina, gallinas, f
1F413 marrón: gallo, gallos, m
1F424 amarillo: pollito, pollitos, m
1F986 marrón: pato, patos, m
1F426 marrón: pájaro, pájaros, m; ave, aves, fa
1F427 blanco: pingüino, pingüinos, m
1F989 gris: búho, búhos, m
1F985 marrón: águila, águilas, fa
1F9A2 blanco: cisne, cisnes, m
1F99C rojo: loro, loros, m; papagayo, papagayos, m
1F9A9 rosa: flamenco, flamencos, m
1F422 verde: tortuga, tortugas, f
1F438 verde: rana, ranas, f
1F40D verde: serpiente, serpientes, f; culebra, culebras, f
1F40A verde: cocodrilo, cocodrilos, m
1F995 marrón: dinosaurio, dinosaurios, m
1F41F celeste: pez, peces, m
1F988 gris: tiburón, tiburones, m
1F40B celeste: ballena, ballenas, f
1F419 rojo: pulpo, pulpos, m
1F980 rojo: cangrejo, cangrejos, m
1F40C marrón: caracol, caracoles, m
1F98B celeste: mariposa, mariposas, f
1F41D amarillo: abeja, abejas, f
1F41E rojo: mariquita, mariquitas, f
1F577 gris: araña, arañas, f
1F412 marrón: mono, monos, m
1F418 gris: elefante, elefantes, m
1F992 naranja: jirafa, jirafas, f
1F981 naranja: león, leones, m
1F405 naranja: tigre, tigres, m
1F43B marrón: oso, osos, m
1F98A naranja: zorro, zorros, m
1F43A negro: lobo, lobos, m
1F98C marrón: ciervo, ciervos, m
1F42B naranja: camello, camellos, m
1F98F gris: rinoceronte, rinocerontes, m
1F987 negro: murciélago, murciélagos, m
1F43F marrón: ardilla, ardillas, f
1F984 blanco: unicornio, unicornios, m
1F409 verde: dragón, dragones, m
1F697 rojo: coche, coches, m; carro, carros, m; automóvil, automóviles, m
1F68C rojo: autobús, autobuses, m
1F69C negro: tractor, tractores, m
1F682 negro: locomotora, locomotoras, f
2708 gris: avión, aviones, m
1F680 rojo: cohete, cohetes, m
1F3CD rojo: moto, motos, f; motocicleta, motocicletas, f
1F6F6 celeste: canoa, canoas, f
1F388 rojo: globo, globos, m
1FA82 verde: paracaídas, paracaídas, m
1F3E0 blanco: casa, casas, f
1F3F0 gris: castillo, castillos, m
26FA amarillo: tienda de campaña, tiendas de campaña, f
1F30B gris: volcán, volcanes, m
1F6AA marrón: puerta, puertas, f
1F6CF celeste: cama, camas, f
1FA91 amarillo: silla, sillas, f
1F6C1 gris: bañera, bañeras, f
1F4D8 celeste: libro, libros, m
1F511 naranja: llave, llaves, f
1F512 amarillo: candado, candados, m
270F naranja: lápiz, lápices, m; lapicero, lapiceros, m
1FAB6 morado: pluma, plumas, f
1F58C celeste: pincel, pinceles, m
1F4A1 amarillo: bombilla, bombillas, f
1F56F blanco: vela, velas, f
231A gris: reloj, relojes, m
260E rojo: teléfono, teléfonos, m
1F4F1 gris: móvil, móviles, m
1F4BB gris: ordenador, ordenadores, m; computadora, computadoras, f; portátil, portátiles, m
1F514 amarillo: campana, campanas, f
1F941 rojo: tambor, tambores, m
1F3B2 gris: dado, dados, m
1F381 amarillo: regalo, regalos, m
1F9F8 marrón: osito de peluche, ositos de peluche, m; peluche, peluches, m
1FA81 rosa: cometa, cometas, f
1F451 amarillo: corona, coronas, f
1F48E celeste: diamante, diamantes, m; gema, gemas, f
1F392 rojo: mochila, mochilas, f
1F45C marrón: bolso, bolsos, m
1F9F3 marrón: maleta, maletas, f
1F4BC marrón: maletín, maletines, m
1F3A9 negro: chistera, chisteras, f; sombrero, sombreros, m
1F9E2 verde: gorra, gorras, f
1F455 celeste: camiseta, camisetas, f
1F457 celeste: vestido, vestidos, m
1F9E5 marrón: abrigo, abrigos, m
1F456 celeste: pantalón, pantalones, m
1F9E3 rojo: bufanda, bufandas, f
1F45E marrón: zapato, zapatos, m
1F462 marrón: bota, botas, f
2602 morado: paraguas, paraguas, m
1FAA3 celeste: cubo, cubos, m; balde, baldes, m
1F9FC rosa: jabón, jabones, m
1F3FA naranja: ánfora, ánforas, fa; jarrón, jarrones, m
1F4E6 naranja: caja, cajas, f
2709 gris: sobre, sobres, m
1F6A9 rojo: banderín, banderines, m
1F6DE blanco: rueda, ruedas, f
1F6E1 rojo: escudo, escudos, m
1F3C6 amarillo: trofeo, trofeos, m
1F916 gris: robot, robots, m
1F47B blanco: fantasma, fantasmas, m
1F480 blanco: calavera, calaveras, f
1F47D gris: extraterrestre, extraterrestres, m; alienígena, alienígenas, m
26C4 blanco: muñeco de nieve, muñecos de nieve, m
1F383 naranja: calabaza, calabazas, f
1F94A rojo: guante, guantes, m
1F9B7 blanco: diente, dientes, m
1F9B4 blanco: hueso, huesos, m
1F9ED amarillo: brújula, brújulas, f
1F48A rojo: píldora, píldoras, f; pastilla, pastillas, f
"""

THINGS: dict[str, Thing] = {
    thing.name: thing for thing in map(_thing, _TABLE.splitlines())
}
"""Los objetos, por su nombre usual."""
