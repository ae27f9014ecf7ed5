/** Condiciones que se sacan de la propia imagen: con menos resolución o en gris. */

/** Canales, alto y ancho. */
type Shape = readonly [number, number, number];

/** El peso de cada canal en el gris. */
const LUMA = [0.299, 0.587, 0.114] as const;

/**
 * La imagen con menos resolución, al mismo tamaño: la media de cada bloque, repetida.
 *
 * @param x Una imagen (C, H, W).
 * @param shape Su forma; el factor divide a H y a W.
 * @param factor El lado de los bloques.
 */
export function lowResolution(x: Float32Array, shape: Shape, factor: number): Float32Array {
  const [channels, height, width] = shape;
  const result = new Float32Array(x.length);
  const place = (c: number, y: number, k: number) => (c * height + y) * width + k;
  for (let c = 0; c < channels; c++) {
    for (let top = 0; top < height; top += factor) {
      for (let left = 0; left < width; left += factor) {
        let sum = 0;
        for (let k = 0; k < factor ** 2; k++) {
          sum += x[place(c, top + Math.floor(k / factor), left + (k % factor))]!;
        }
        for (let dy = 0; dy < factor; dy++) {
          const start = place(c, top + dy, left);
          result.fill(sum / factor ** 2, start, start + factor);
        }
      }
    }
  }
  return result;
}

/** Una imagen en color (3, H, W), en gris: (1, H, W). */
export function greyscale(x: Float32Array): Float32Array {
  const plane = x.length / LUMA.length;
  return new Float32Array(plane).map((_, k) =>
    LUMA.reduce((sum, weight, c) => sum + weight * x[c * plane + k]!, 0),
  );
}
