/** Cómo se convierte el instante en un vector. El gemelo de `ddpm_lit.networks.embeddings`. */

import type { Values } from "../forward";

/** Unos puntos con los senos y los cosenos de sus coordenadas, de unas cuantas frecuencias. */
export function fourierFeatures(x: Values, dim: number, count: number): Values {
  if (count === 0) return x;
  const [waves, width] = [dim * count, dim * (1 + 2 * count)];
  const values = new Float32Array((x.length / dim) * width);
  for (let i = 0; i < x.length; i++) {
    const row = Math.floor(i / dim) * width;
    values[row + (i % dim)] = x[i]!;
    for (let k = 0; k < count; k++) {
      const place = row + dim + (i % dim) * count + k;
      values[place] = Math.sin(x[i]! * 2 ** k);
      values[place + waves] = Math.cos(x[i]! * 2 ** k);
    }
  }
  return values;
}

/** Senos y cosenos de cada instante, con frecuencias que bajan de 1 a 1/10000: dim valores de cada uno. */
export function sinusoidalEmbedding(times: readonly number[], dim: number): Values {
  const half = dim / 2;
  const values = new Float32Array(times.length * dim);
  for (let k = 0; k < half; k++) {
    const frequency = Math.fround(Math.exp((-Math.log(10_000) * k) / (half - 1)));
    times.forEach((time, row) => {
      const angle = Math.fround(Math.fround(time) * frequency);
      values[row * dim + k] = Math.sin(angle);
      values[row * dim + half + k] = Math.cos(angle);
    });
  }
  return values;
}
