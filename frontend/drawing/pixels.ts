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

/** La forma de una imagen, como en el paquete: canales, filas y columnas. */
export type Shape = readonly [number, number, number];

/** Una imagen, de sus valores y su forma. */
export function asPicture(values: Float32Array, [channels, height, width]: Shape): Picture {
  return { channels: channels as 1 | 3, height, width, values };
}

/** Unas muestras en una rejilla lo más cuadrada que se pueda, con un píxel entre ellas. */
export function tiled(values: Float32Array, shape: Shape, count: number): Picture {
  const [channels, height, width] = shape;
  const columns = Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  const [high, wide] = [rows * (height + 1) - 1, columns * (width + 1) - 1];
  const all = new Float32Array(channels * high * wide).fill(1);
  for (let n = 0; n < count; n++) {
    const [top, left] = [Math.floor(n / columns) * (height + 1), (n % columns) * (width + 1)];
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        const from = ((n * channels + c) * height + y) * width;
        all.set(values.subarray(from, from + width), (c * high + top + y) * wide + left);
      }
    }
  }
  return asPicture(all, [channels, high, wide]);
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

/** Los valores de 32 bits que van en base64 en los datos de un widget. */
function decodeFloats(text: string): Float32Array {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}
