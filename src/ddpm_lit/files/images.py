r"""De tensores a imágenes que se pueden mirar (cuadrículas, PNG, GIF y MP4), y al revés.

Las muestras viven en $[-1, 1]$ y una pantalla quiere enteros de 0 a 255. Solo hace falta
Pillow; el MP4 necesita además el extra `video`. Todos los ficheros se escriben de forma atómica.
"""

import math
import os
import unicodedata
from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ddpm_lit.files.atomic import atomic_path
from ddpm_lit.files.opening import fit, on_white, open_image
from ddpm_lit.machine.extras import require

_COMFORTABLE_SIDE = 64
_FONTS = (
    "DejaVuSans.ttf",
    "Arial.ttf",
    "arial.ttf",
    "LiberationSans-Regular.ttf",
)
_POINTS_OVERSAMPLING = 2


def to_uint8(x: Tensor, levels: int | None = None) -> Tensor:
    r"""Lleva valores de $[-1, 1]$ a enteros de 0 a 255, $\operatorname{round}(127{,}5\,(x + 1))$.

    Lo que queda fuera de $[-1, 1]$ se recorta: una muestra puede salirse un poco.

    Args:
        x: tensor de cualquier forma, en coma flotante de cualquier precisión.
        levels: si se da, cada valor se redondea antes al más cercano de `levels` valores
            repartidos por igual (17 en los dígitos de scikit-learn).

    Returns:
        uint8 de la misma forma, en la CPU.

    Raises:
        TypeError: si `x` no es de coma flotante.
        ValueError: si hay valores no finitos o `levels` es menor que 2.
    """
    if not x.is_floating_point():
        raise TypeError(
            f"Se esperan valores en coma flotante en [-1, 1] y han llegado {x.dtype}."
        )
    if levels is not None and levels < 2:
        raise ValueError(f"«levels» vale {levels} y debe ser al menos 2.")
    values = x.detach().cpu().double()
    if not torch.isfinite(values).all():
        raise ValueError(
            "Hay valores que no son números finitos (NaN o infinito) y no se pueden dibujar: "
            "revisa el modelo o su entrenamiento."
        )
    unit = (values.clamp(-1, 1) + 1) / 2
    if levels is not None:
        unit = (unit * (levels - 1)).round() / (levels - 1)
    return (unit * 255).round().to(torch.uint8)


def grid(
    images: Tensor,
    columns: int | None = None,
    *,
    padding: int = 2,
    scale: int | None = None,
    levels: int | None = None,
    background: int = 255,
) -> Image.Image:
    """Una cuadrícula de imágenes, por filas.

    Args:
        images: (N, C, H, W) con C = 1 (gris) o 3 (RGB); en coma flotante en [-1, 1], o uint8.
        columns: imágenes por fila; `None`, la cuadrícula más cuadrada.
        padding: separación y margen, en píxeles de la imagen final.
        scale: ampliación entera, sin suavizar; `None`, la menor que da un lado de 64 píxeles.
        levels: véase `to_uint8`.
        background: gris de la separación, de 0 a 255.

    Returns:
        Imagen de Pillow en modo L o RGB.

    Raises:
        ValueError: si la forma o alguna opción no son válidas.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"Las imágenes tienen forma {tuple(images.shape)} y se espera (N, C, H, W), con C = 1 "
            "o 3 y al menos una imagen."
        )
    n, channels, height, width = images.shape
    columns = math.ceil(math.sqrt(n)) if columns is None else min(columns, n)
    if scale is None:
        scale = max(1, math.ceil(_COMFORTABLE_SIDE / max(height, width)))
    if columns < 1 or scale < 1 or padding < 0 or not 0 <= background <= 255:
        raise ValueError(
            f"columns = {columns}, scale = {scale}, padding = {padding} y background = "
            f"{background}: los dos primeros deben ser al menos 1, el tercero al menos 0 y el "
            "último ir de 0 a 255."
        )
    pixels = (
        images.cpu()
        if images.dtype == torch.uint8
        else to_uint8(images, levels)
    )
    tiles = pixels.repeat_interleave(scale, dim=2).repeat_interleave(
        scale, dim=3
    )
    rows = math.ceil(n / columns)
    step_y, step_x = height * scale + padding, width * scale + padding
    canvas = torch.full(
        (channels, rows * step_y + padding, columns * step_x + padding),
        background,
        dtype=torch.uint8,
    )
    for index, tile in enumerate(tiles):
        top = padding + index // columns * step_y
        left = padding + index % columns * step_x
        canvas[:, top : top + tile.shape[1], left : left + tile.shape[2]] = tile
    values = canvas.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(values[:, :, 0] if channels == 1 else values)


def with_titles(image: Image.Image, titles: Sequence[str]) -> Image.Image:
    """Una cuadrícula con un título encima de cada columna, partido en las líneas que hagan falta.

    Args:
        image: la cuadrícula (véase `grid`), en modo L o RGB.
        titles: un título por columna; todas miden lo mismo.

    Returns:
        Otra imagen, más alta, del mismo ancho y modo.

    Raises:
        ValueError: si no hay títulos.
    """
    if not titles:
        raise ValueError(
            "Hace falta un título por columna y no ha llegado ninguno."
        )
    width = image.width / len(titles)
    font, letters = _font(max(11, min(18, round(width / 8))))
    columns = [_wrapped(letters(each), font, width - 6) for each in titles]
    line = round(1.3 * font.size)
    band = line * max(map(len, columns)) + 8
    result = Image.new(image.mode, (image.width, image.height + band), "white")
    result.paste(image, (0, band))
    pen = ImageDraw.Draw(result)
    for number, lines in enumerate(columns):
        for row, text in enumerate(lines, start=-len(lines)):
            place = ((number + 0.5) * width, band - 4 + (row + 0.5) * line)
            pen.text(place, text, fill="black", font=font, anchor="mm")
    return result


def _font(
    size: int,
) -> tuple[ImageFont.FreeTypeFont, Callable[[str], str]]:
    """Una letra de este sistema, y cómo hay que escribir con ella.

    La que trae Pillow no tiene vocales con tilde ni eñe: si no hay otra, se escribe sin ellas.
    """
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size), str
        except OSError:
            continue
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font, _bare


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return decomposed.encode("ascii", "ignore").decode()


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont, width: float
) -> list[str]:
    """Un texto en líneas que caben en `width` píxeles; una palabra demasiado larga se parte."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def points_image(
    x: Tensor,
    size: int = 256,
    *,
    limit: float = 1.2,
    radius: float = 1.5,
    opacity: float = 0.35,
    color: tuple[int, int, int] = (0, 90, 160),
    background: tuple[int, int, int] = (255, 255, 255),
) -> Image.Image:
    r"""Una nube de puntos 2-D como imagen: cada punto es un disco translúcido.

    Donde se solapan $k$ discos, la opacidad es $1 - (1 - a)^k$, así que se ve la densidad.

    Args:
        x: puntos (N, 2); el primer eje crece hacia la derecha y el segundo hacia arriba.
        size: lado de la imagen, en píxeles.
        limit: se ve el cuadrado [-limit, limit]²; lo de fuera no se dibuja.
        radius: radio de cada punto, en píxeles.
        opacity: opacidad $a$ de un punto, en (0, 1].
        color: color de los puntos, RGB.
        background: color del fondo, RGB.

    Returns:
        Imagen RGB de size × size.

    Raises:
        ValueError: si la forma o alguna opción no son válidas, o hay valores no finitos.
    """
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(
            f"Los puntos tienen forma {tuple(x.shape)} y se espera (N, 2)."
        )
    if size < 1 or limit <= 0 or radius <= 0 or not 0 < opacity <= 1:
        raise ValueError(
            f"size = {size}, limit = {limit}, radius = {radius} y opacity = {opacity}: todos "
            "deben ser positivos, y el último, 1 como mucho."
        )
    points = x.detach().cpu().double().numpy()
    if not np.isfinite(points).all():
        raise ValueError(
            "Hay puntos que no son finitos y no se pueden dibujar."
        )
    side = size * _POINTS_OVERSAMPLING
    reach = math.ceil(radius * _POINTS_OVERSAMPLING)
    columns, rows = np.floor((points * [1, -1] / limit + 1) / 2 * side).T
    visible = (np.minimum(columns, rows) >= 0) & (
        np.maximum(columns, rows) < side
    )
    centres = np.zeros((side, side))
    np.add.at(
        centres, (rows[visible].astype(int), columns[visible].astype(int)), 1
    )
    margin = np.pad(centres, reach)
    counts = np.zeros_like(centres)
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if math.hypot(down, right) <= radius * _POINTS_OVERSAMPLING:
                top, left = reach + down, reach + right
                counts += margin[top : top + side, left : left + side]
    alpha = 1 - (1 - opacity) ** counts
    blocks = (size, _POINTS_OVERSAMPLING, size, _POINTS_OVERSAMPLING)
    smooth = alpha.reshape(blocks).mean(axis=(1, 3))[:, :, None]
    mixed = (1 - smooth) * np.array(background) + smooth * np.array(color)
    return Image.fromarray(mixed.round().astype(np.uint8))


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Guarda una imagen en PNG, sin pérdida.

    Args:
        image: imagen de Pillow.
        path: destino; su carpeta se crea si no existe.
    """
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", optimize=True)


def save_gif(
    frames: Sequence[Image.Image],
    path: str | os.PathLike[str],
    fps: float = 20,
    hold_last: float = 1.5,
) -> None:
    """Guarda una animación en GIF, en bucle.

    El formato cuenta el tiempo en centésimas de segundo, y los navegadores frenan lo que va a
    más de 50 fotogramas por segundo.

    Args:
        frames: fotogramas del mismo tamaño y modo.
        path: destino; su carpeta se crea si no existe.
        fps: fotogramas por segundo, de 1 a 50.
        hold_last: segundos más que se queda el último fotograma.

    Raises:
        ValueError: si no hay fotogramas, no son iguales o una opción no es válida.
    """
    _check_frames(frames, fps, hold_last)
    if fps > 50:
        raise ValueError(
            f"fps = {fps}, y un GIF admite 50 como mucho: usa menos, o un MP4."
        )
    each = 10 * round(100 / fps)
    durations = [each] * (len(frames) - 1) + [
        each + 10 * round(100 * hold_last)
    ]
    with atomic_path(path) as temporary:
        frames[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=list(frames[1:]),
            duration=durations,
            loop=0,
        )


def save_mp4(
    frames: Sequence[Image.Image],
    path: str | os.PathLike[str],
    fps: float = 20,
    hold_last: float = 1.5,
    crf: int = 18,
) -> None:
    """Guarda una animación en MP4 (H.264 con yuv420p, el que entienden todos los navegadores).

    Si el ancho o el alto son impares, se repite la última columna o fila: el códec los pide pares.

    Args:
        frames: fotogramas del mismo tamaño y modo.
        path: destino; su carpeta se crea si no existe.
        fps: fotogramas por segundo, al menos 1.
        hold_last: segundos más que se queda el último fotograma.
        crf: cuánto se comprime, de 0 (sin pérdida) a 51; con 18 apenas se nota.

    Raises:
        ModuleNotFoundError: si falta imageio-ffmpeg (extra `video`).
        ValueError: si no hay fotogramas, no son iguales o una opción no es válida.
    """
    _check_frames(frames, fps, hold_last)
    if not 0 <= crf <= 51:
        raise ValueError(
            f"crf = {crf}: debe ir de 0, sin pérdida, a 51, lo más comprimido."
        )
    ffmpeg = require(
        "imageio_ffmpeg",
        package="imageio-ffmpeg",
        extra="video",
        purpose="Guardar en MP4",
    )
    held = [frames[-1]] * round(fps * hold_last)
    height, width, _ = _even_rgb(frames[0]).shape
    with atomic_path(path) as temporary:
        writer = ffmpeg.write_frames(
            str(temporary),
            (width, height),
            fps=fps,
            codec="libx264",
            pix_fmt_out="yuv420p",
            macro_block_size=2,
            output_params=[
                "-f",
                "mp4",
                "-crf",
                str(crf),
                "-movflags",
                "+faststart",
            ],
        )
        writer.send(None)
        try:
            for frame in chain(frames, held):
                writer.send(_even_rgb(frame).tobytes())
        finally:
            writer.close()


def _even_rgb(frame: Image.Image) -> NDArray[np.uint8]:
    pixels = np.asarray(frame.convert("RGB"))
    height, width, _ = pixels.shape
    return np.pad(
        pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge"
    )


def _check_frames(
    frames: Sequence[Image.Image], fps: float, hold_last: float
) -> None:
    if not frames:
        raise ValueError("No hay ningún fotograma que guardar.")
    shapes = {(frame.size, frame.mode) for frame in frames}
    if len(shapes) > 1:
        raise ValueError(
            f"Los fotogramas no son iguales: hay {sorted(map(str, shapes))}; deben compartir "
            "tamaño y modo."
        )
    if not 1 <= fps < math.inf or not 0 <= hold_last < math.inf:
        raise ValueError(
            f"fps = {fps} y hold_last = {hold_last}: el primero debe ser al menos 1 y el segundo, "
            "0 o más segundos."
        )


class Picture(NamedTuple):
    r"""Una imagen leída de un fichero, al tamaño de un modelo.

    `x` es float32 (C, H, W) en $[-1, 1]$; `hole`, bool (H, W), dice qué píxeles eran
    transparentes; `size` es el ancho y el alto que tenía el fichero, y `colored`, si tenía
    color.
    """

    x: Tensor
    hole: Tensor
    size: tuple[int, int]
    colored: bool


def load_picture(
    path: str | os.PathLike[str], shape: Sequence[int], *, factor: int = 1
) -> Picture:
    """Lee una imagen y la lleva al tamaño y a los canales de un modelo.

    Se recorta el mayor rectángulo centrado de la misma proporción y se reescala con un filtro de
    Lanczos. La transparencia se funde sobre blanco; un píxel está en el hueco si alguno de los
    que resume era transparente a más de la mitad.

    Un modelo que amplía parte de bloques de factor × factor, y una imagen menor que él no se
    agranda para volver a reducirla: se lleva a (H / factor, W / factor), con la media de lo que
    resume cada píxel o, si es aún menor, con Lanczos, y cada píxel se repite en su bloque. La que
    ya mide eso queda exacta.

    Args:
        path: el fichero.
        shape: (C, H, W), con C = 1 (gris) o 3 (RGB).
        factor: lado de los bloques, que divide a H y a W; 1 si el modelo no amplía.

    Returns:
        La imagen, su hueco y su tamaño original.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no es una imagen que se pueda leer, o `shape` no es la de una.
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(
            f"Se pide una imagen de forma {tuple(shape)} y se espera (C, alto, ancho), con C = 1 o "
            "3."
        )
    channels, height, width = shape
    if factor < 1 or height % factor or width % factor:
        raise ValueError(
            f"Una imagen de {height}×{width} no se divide en bloques de {factor}×{factor}: usa un "
            "factor que divida a sus dos lados."
        )
    image = _open(path)
    opaque = image.convert("RGBA").getchannel("A")
    colors = on_white(image).convert("RGB")
    colored = bool(np.ptp(np.asarray(colors), axis=2).any())
    if channels == 1:
        colors = colors.convert("L")
    if min(image.width / width, image.height / height) >= 1:
        factor = 1
    side = height // factor, width // factor
    enlarged = min(image.width / side[1], image.height / side[0]) < 1
    averaged = factor > 1 and not enlarged
    resampling = Image.Resampling.BOX if averaged else Image.Resampling.LANCZOS
    values = np.asarray(fit(colors, side, resampling), dtype=np.float32)
    pixels = values[None] if channels == 1 else values.transpose(2, 0, 1)
    blocks = torch.from_numpy(pixels / np.float32(127.5) - 1)
    return Picture(
        blocks.repeat_interleave(factor, dim=1).repeat_interleave(
            factor, dim=2
        ),
        _fit_hole(opaque.point(lambda alpha: 255 * (alpha < 128)), shape[1:]),
        image.size,
        colored,
    )


def load_mask(
    path: str | os.PathLike[str], shape: Sequence[int], size: tuple[int, int]
) -> Tensor:
    """Lee una máscara: en blanco lo que hay que rellenar, en negro lo que se queda.

    También vale pintar solo de blanco sobre una capa transparente: lo transparente se queda.

    Args:
        path: el fichero, del mismo tamaño que la imagen a la que acompaña.
        shape: (C, H, W), como en `load_picture`.
        size: el ancho y el alto de esa imagen (`Picture.size`).

    Returns:
        El hueco, bool (H, W); un píxel es hueco si lo es alguno de los que resume.

    Raises:
        FileNotFoundError: si el fichero no existe.
        ValueError: si no se puede leer, no mide lo que la imagen, o hay otros colores sobre una
            capa transparente y no se sabe qué parte es el hueco.
    """
    image = _open(path).convert("RGBA")
    if image.size != size:
        sizes = " y ".join(
            "×".join(map(str, each)) for each in (image.size, size)
        )
        raise ValueError(
            f"La máscara «{os.fspath(path)}» y su imagen miden {sizes} píxeles: deben medir lo "
            "mismo."
        )
    visible = np.asarray(image.getchannel("A")) >= 128
    white = np.asarray(image.convert("RGB").convert("L")) >= 128
    if not visible.all() and (not visible.any() or (visible & ~white).any()):
        raise ValueError(
            f"La máscara «{os.fspath(path)}» tiene partes transparentes y lo demás no es todo "
            "blanco: no se sabe qué hay que rellenar. Pinta de blanco lo que hay que rellenar y de "
            "negro lo que se queda, sin transparencia."
        )
    return _fit_hole(Image.fromarray(visible & white).convert("L"), shape[1:])


def _open(path: str | os.PathLike[str]) -> Image.Image:
    name = os.path.expanduser(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"No existe la imagen «{name}».")
    try:
        return open_image(name)
    except ValueError as error:
        raise ValueError(
            f"«{name}» no se puede leer como imagen: {error}."
        ) from error


def _fit_hole(mask: Image.Image, side: Sequence[int]) -> Tensor:
    return torch.from_numpy(
        np.asarray(fit(mask, side, Image.Resampling.BOX)) > 0
    )
