/** Imágenes de pocos píxeles, ampliadas sin suavizar. */

import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { fetchJson } from "../problems";

/** Una imagen: sus valores en [-1, 1], por canales y por filas, como en el paquete. */
export interface Picture {
  readonly channels: 1 | 3;
  readonly height: number;
  readonly width: number;
  readonly values: Float32Array;
}

/** Dibuja una imagen en un lienzo, que toma su tamaño; lo que se sale de [-1, 1] se recorta. */
export function drawPicture(
  canvas: HTMLCanvasElement,
  { channels, height, width, values }: Picture,
): void {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  if (!context) return;
  const image = context.createImageData(width, height);
  const plane = height * width;
  for (let k = 0; k < plane; k++) {
    for (let c = 0; c < 3; c++) {
      const value = values[(channels === 3 ? c : 0) * plane + k]!;
      image.data[4 * k + c] = Math.round((value + 1) * 127.5);
    }
    image.data[4 * k + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Una imagen en una página: se dibuja cada vez que cambia. */
@customElement("dl-imagen")
export class PictureCanvas extends LitElement {
  @property({ attribute: false }) picture: Picture | null = null;
  /** Qué se ve, para quien no la ve. */
  @property() label = "";

  static override styles = css`
    :host {
      display: block;
    }
    canvas {
      display: block;
      width: 100%;
      image-rendering: pixelated;
      border-radius: 0.2rem;
    }
  `;

  override render(): TemplateResult {
    return html`<canvas role="img" aria-label=${this.label}></canvas>`;
  }

  override updated(): void {
    const canvas = this.renderRoot.querySelector("canvas");
    if (canvas && this.picture) drawPicture(canvas, this.picture);
  }
}

/** Las imágenes que deja la construcción para los widgets, en su orden. */
export async function fetchPictures(
  address: string,
): Promise<{ name: string; title: string; picture: Picture }[]> {
  const images = await fetchJson<Record<string, Stored>>(address);
  return Object.entries(images).map(([name, { title, values, ...size }]) => {
    return { name, title, picture: { ...size, values: decodeFloats(values) } };
  });
}

/** Una imagen como la deja la construcción: sus valores, en base64. */
interface Stored {
  title: string;
  channels: 1 | 3;
  height: number;
  width: number;
  values: string;
}

/** Lee una imagen de un fichero, recortada al centro y llevada a `side` × `side`. */
export async function readPicture(file: Blob, side: number): Promise<Picture> {
  const bitmap = await createImageBitmap(file);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("este navegador no deja dibujar");
  const edge = Math.min(bitmap.width, bitmap.height);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, side, side);
  context.imageSmoothingQuality = "high";
  const [left, top] = [(bitmap.width - edge) / 2, (bitmap.height - edge) / 2];
  context.drawImage(bitmap, left, top, edge, edge, 0, 0, side, side);
  bitmap.close();
  const { data } = context.getImageData(0, 0, side, side);
  const plane = side * side;
  const values = new Float32Array(3 * plane);
  for (let k = 0; k < plane; k++) {
    for (let c = 0; c < 3; c++) values[c * plane + k] = data[4 * k + c]! / 127.5 - 1;
  }
  return { channels: 3, height: side, width: side, values };
}

/** Los valores de 32 bits que van en base64 en los datos de un widget. */
function decodeFloats(text: string): Float32Array {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
