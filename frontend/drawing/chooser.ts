/** Una imagen de quien lee, que nunca sale de la página. */

import { html, type TemplateResult } from "lit";
import { asPicture, type Picture } from "./pixels";

/**
 * Un botón para elegir un fichero.
 *
 * @param text lo que pone.
 * @param side a qué lado se lleva la imagen.
 * @param onPicture quien la recibe.
 * @param onProblem a quién se dice que no se puede leer.
 */
export function chooser(
  text: string,
  side: number,
  onPicture: (picture: Picture) => void,
  onProblem: (problem: string) => void,
): TemplateResult {
  const read = async (event: Event) => {
    const input = event.target as HTMLInputElement;
    const file = input.files?.[0];
    if (!file) return;
    try {
      onPicture(await readPicture(file, side));
    } catch {
      onProblem(
        `«${file.name}» no es una imagen que este navegador sepa leer: probad con un PNG o un JPEG.`,
      );
    }
    input.value = "";
  };
  return html`<label class="boton">
    ${text}
    <input class="oculto" type="file" accept="image/*" @change=${read} />
  </label>`;
}

/** Lee una imagen de un fichero, recortada al centro y llevada a `side` × `side`. */
async function readPicture(file: Blob, side: number): Promise<Picture> {
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
  return asPicture(values, [3, side, side]);
}
