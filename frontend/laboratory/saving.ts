/** Lo que se guarda en el ordenador de quien lee: la imagen, el camino y lo pintado. */

import { applyPalette, GIFEncoder, quantize } from "gifenc";
import { asPicture, drawPicture, type Picture, tiled } from "../drawing/pixels";
import { FILES } from "./address";
import { type Network, pictureOf } from "./request";
import type { Session } from "./session";

/** Cuánto se amplía cada píxel. */
const ZOOM = 8;
/** Lo que dura cada paso de un GIF, y el último, en milisegundos. */
const [FRAME, LAST] = [60, 1500];
/** Cuánto se tiene un fichero a mano para que el navegador lo recoja, en milisegundos. */
const KEPT = 10_000;

/** Guarda, ampliado, el paso que se mira. */
export function savePng(network: Network, session: Session): void {
  const { seen, shown } = session;
  if (!seen || !shown) return;
  const canvas = enlarged(tiled(seen.xT, network.shape, shown.count), ZOOM);
  download(canvas.toDataURL("image/png"), `${nameOf(network, session)}.png`);
}

/** Guarda el camino entero, un paso en cada fotograma. */
export function saveGif(network: Network, session: Session): void {
  const { path, shown } = session;
  if (!shown) return;
  const gif = GIFEncoder();
  for (const step of path) {
    const canvas = enlarged(tiled(step.xT, network.shape, shown.count), ZOOM);
    const image = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height);
    if (!image) return;
    const palette = quantize(image.data, 256);
    const delay = step === path.at(-1) ? LAST : FRAME;
    gif.writeFrame(applyPalette(image.data, palette), image.width, image.height, {
      palette,
      delay,
    });
  }
  gif.finish();
  const address = URL.createObjectURL(new Blob([gif.bytes()], { type: "image/gif" }));
  download(address, `${nameOf(network, session)}.gif`);
  setTimeout(() => URL.revokeObjectURL(address), KEPT);
}

/** Guarda lo pintado como lo lee la terminal: la imagen, y el hueco en blanco. */
export function savePainted({ shape }: Network, { edit }: Session): void {
  const painted = pictureOf(edit);
  if (!painted) return;
  const address = (values: Float32Array) =>
    enlarged(asPicture(values, shape), 1).toDataURL("image/png");
  download(address(painted), FILES.picture);
  if (edit.kind === "inpaint") {
    download(address(edit.mask.map((known) => (known ? -1 : 1))), FILES.hole);
  }
}

/** Cómo se llama un fichero: la red, lo que se le pide, la semilla y, si se anda hacia otra, cuánto. */
function nameOf({ classes, vocabulary }: Network, { shown, edit }: Session): string {
  const asked = vocabulary.length > 0 ? shown?.text : classes[shown?.label ?? 0];
  const words = (asked ?? "").normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
  const walk = edit.kind === "between" ? `a-${edit.seed}-al-${edit.fraction}` : "";
  const parts = [shown?.network, ...words.split(/[^a-z0-9]+/), shown?.seed, walk];
  return parts.filter((part) => part !== "").join("-");
}

/** Una imagen ampliada, sin suavizar. */
function enlarged(picture: Picture, zoom: number): HTMLCanvasElement {
  const [small, large] = [document.createElement("canvas"), document.createElement("canvas")];
  drawPicture(small, picture);
  large.width = small.width * zoom;
  large.height = small.height * zoom;
  const context = large.getContext("2d");
  if (context) {
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, large.width, large.height);
  }
  return large;
}

function download(address: string, name: string): void {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
}
