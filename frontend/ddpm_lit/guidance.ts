/** Guía: empujar la generación hacia lo que dice la condición. El gemelo de `ddpm_lit.guidance`. */

import { combine, type Values } from "./forward";

/** Las opciones de la guía sin clasificador. */
export interface Guidance {
  /** El peso del artículo de Ho y Salimans: 0 no guía. */
  w: number;
  /** φ ∈ [0, 1] de la guía reescalada. */
  rescale?: number;
}

/**
 * Guía sin clasificador (Ho y Salimans 2022, ec. 6): (1 + w) ε_c - w ε.
 *
 * @param conditional la respuesta de la red con condición.
 * @param unconditional la de la red sin ella.
 * @param guidance el peso y la corrección.
 * @param size cuántos valores tiene una muestra.
 */
export function classifierFree(
  conditional: Values,
  unconditional: Values,
  { w, rescale = 0 }: Guidance,
  size: number,
): Values {
  const mixed = combine(conditional, unconditional, (c, u) => (1 + w) * c - w * u);
  return rescale > 0 ? rescaleGuidance(mixed, conditional, rescale, size) : mixed;
}

/** Guía reescalada (Lin et al. 2023, ec. 14-16): se devuelve a cada muestra su desviación. */
export function rescaleGuidance(
  guided: Values,
  conditional: Values,
  phi: number,
  size: number,
): Values {
  const result = new Float32Array(guided.length);
  for (let start = 0; start < guided.length; start += size) {
    const [g, c] = [
      guided.subarray(start, start + size),
      conditional.subarray(start, start + size),
    ];
    const [wanted, found] = [deviation(c), deviation(g)];
    const scale = phi * (wanted / found) + 1 - phi;
    result.set(
      g.map((value) => scale * value),
      start,
    );
  }
  return result;
}

/** La desviación típica de unos valores, con N - 1. */
function deviation(values: Values): number {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  return Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (values.length - 1));
}
