/**
 * Parametrización: qué se le pide a la red y cómo se lee. El gemelo de `ddpm_lit.parametrisation`.
 *
 * Cada fila lleva juntas sus fórmulas; todas son funciones afines unas de otras dado x_t.
 */

import { combine, qSample, type Values } from "./forward";
import { qPosterior } from "./posterior";
import type { Schedule } from "./scheduler";

/** El ruido que lleva de x_0 a x_t. */
export function toEpsilon(schedule: Schedule, xStart: Values, xT: Values, index: number): Values {
  const bar = schedule.alphasCumprod[index]!;
  const [signal, std] = [Math.sqrt(bar), Math.sqrt(1 - bar)];
  return combine(xStart, xT, (x0, x) => (x - signal * x0) / std);
}

/** Una fila: lo que predice la red y sus fórmulas. */
export interface Parametrisation {
  /** Lo que la red debería responder. */
  target(schedule: Schedule, xStart: Values, noise: Values, index: number): Values;
  /** x̂_0, sin recortar. */
  xStart(schedule: Schedule, output: Values, xT: Values, index: number): Values;
  /** ε̂. */
  epsilon(schedule: Schedule, output: Values, xT: Values, index: number): Values;
  /** La media del paso atrás, con x̂_0 ya recortado. */
  mean(schedule: Schedule, output: Values, xStart: Values, xT: Values, index: number): Values;
}

const posteriorMean: Parametrisation["mean"] = (schedule, _, xStart, xT, index) =>
  qPosterior(schedule, xStart, xT, index).mean;

/** El ruido ε (Ho et al., ecs. 14 y 15). */
const epsilon: Parametrisation = {
  target: (_schedule, _xStart, noise) => noise,
  xStart: (schedule, output, xT, index) => {
    const bar = schedule.alphasCumprod[index]!;
    const [scale, rest] = [1 / Math.sqrt(bar), Math.sqrt(1 / bar - 1)];
    return combine(output, xT, (e, x) => scale * x - rest * e);
  },
  epsilon: (_, output) => output,
  mean: posteriorMean,
};

/** Los datos x_0. */
const xStart: Parametrisation = {
  target: (_, start) => start,
  xStart: (_, output) => output,
  epsilon: toEpsilon,
  mean: posteriorMean,
};

/** La velocidad v = √ᾱ_t ε - √(1 - ᾱ_t) x_0 (Salimans y Ho 2022). */
const velocity: Parametrisation = {
  target: (schedule, start, noise, index) => {
    const bar = schedule.alphasCumprod[index]!;
    const [signal, std] = [Math.sqrt(bar), Math.sqrt(1 - bar)];
    return combine(start, noise, (x0, e) => signal * e - std * x0);
  },
  xStart: (schedule, output, xT, index) => {
    const bar = schedule.alphasCumprod[index]!;
    const [signal, std] = [Math.sqrt(bar), Math.sqrt(1 - bar)];
    return combine(output, xT, (v, x) => signal * x - std * v);
  },
  epsilon: (schedule, output, xT, index) => {
    const bar = schedule.alphasCumprod[index]!;
    const [signal, std] = [Math.sqrt(bar), Math.sqrt(1 - bar)];
    return combine(output, xT, (v, x) => std * x + signal * v);
  },
  mean: posteriorMean,
};

/** La media μ̃_t del posterior (Ho et al., ec. 7): la respuesta es ya la media. */
const mean: Parametrisation = {
  target: (schedule, start, noise, index) =>
    qPosterior(schedule, start, qSample(schedule, start, index, noise), index).mean,
  xStart: (schedule, output, xT, index) => {
    const [coef1, coef2] = [
      schedule.posteriorMeanCoef1[index]!,
      schedule.posteriorMeanCoef2[index]!,
    ];
    return combine(output, xT, (mu, x) => (mu - coef2 * x) / coef1);
  },
  epsilon: (schedule, output, xT, index) =>
    toEpsilon(schedule, mean.xStart(schedule, output, xT, index), xT, index),
  mean: (_, output) => output,
};

/** Lo que puede predecir una red, por su nombre. */
export const PARAMETRISATIONS: Readonly<Record<string, Parametrisation>> = {
  epsilon,
  x_start: xStart,
  v: velocity,
  posterior_mean: mean,
};
