/** Forward process: cómo se destruyen los datos. El gemelo de `ddpm_lit.forward`. */

import type { Schedule } from "./scheduler";

/** Un lote de datos, una muestra detrás de otra. */
export type Values = Float32Array;

/** Combina valor a valor dos lotes del mismo tamaño. */
export function combine(a: Values, b: Values, value: (a: number, b: number) => number): Values {
  if (a.length !== b.length) {
    throw new RangeError(`Hay ${a.length} valores y ${b.length}: deben ser los mismos.`);
  }
  return a.map((each, k) => value(each, b[k]!));
}

/** Un paso del proceso: x_t = √(1 - β_t) x_{t-1} + √β_t ε (Ho et al., ec. 2). */
export function qStep(schedule: Schedule, xPrev: Values, index: number, noise: Values): Values {
  const beta = schedule.betas[index]!;
  const [signal, std] = [Math.sqrt(1 - beta), Math.sqrt(beta)];
  return combine(xPrev, noise, (x, epsilon) => signal * x + std * epsilon);
}

/** El salto directo: x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε (Ho et al., ec. 4). */
export function qSample(schedule: Schedule, xStart: Values, index: number, noise: Values): Values {
  const bar = schedule.alphasCumprod[index]!;
  const [signal, std] = [Math.sqrt(bar), Math.sqrt(1 - bar)];
  return combine(xStart, noise, (x, epsilon) => signal * x + std * epsilon);
}

/** Añade ruido de golpe, del nivel `source` (-1 son los datos) a otro más alto. */
export function diffuse(
  schedule: Schedule,
  x: Values,
  source: number,
  target: number,
  noise: Values,
): Values {
  if (!(source >= -1 && source < target && target < schedule.length)) {
    throw new RangeError(
      `Para añadir ruido hay que subir de nivel: se pide ir del ${source} al ${target}.`,
    );
  }
  const ratio =
    schedule.alphasCumprod[target]! / (source >= 0 ? schedule.alphasCumprod[source]! : 1);
  const [signal, std] = [Math.sqrt(ratio), Math.sqrt(1 - ratio)];
  return combine(x, noise, (each, epsilon) => signal * each + std * epsilon);
}
