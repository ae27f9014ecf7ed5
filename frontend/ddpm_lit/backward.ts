/** Backwards process: el paso atrás que da la red. El gemelo de `ddpm_lit.backward`. */

import { clipped, type Diffusion } from "./diffusion";
import type { Values } from "./forward";
import { toEpsilon } from "./parametrisation";

/** Una red: de x_t y el índice original de su paso a su respuesta, quizá más tarde. */
export type Model = (xT: Values, time: number) => Values | Promise<Values>;

/** Lo que se sabe de un paso atrás. */
export interface ReverseStep {
  mean: Values;
  /** σ_t² de cada componente. */
  variance: (k: number) => number;
  xStart: Values;
  epsilon: Values;
}

/**
 * El paso atrás p_θ(x_{t-1}|x_t).
 *
 * Si la varianza se aprende, la respuesta trae de cada muestra primero la predicción y después los
 * canales de la varianza; `size` es cuántos valores tiene una muestra.
 */
export function pMeanVariance(
  diffusion: Diffusion,
  modelOutput: Values,
  xT: Values,
  index: number,
  size: number,
): ReverseStep {
  const { schedule, prediction, variance, clip } = diffusion;
  const [output, channels] = splitOutput(diffusion, modelOutput, xT, size);
  const xStart = clipped(diffusion, prediction.xStart(schedule, output, xT, index));
  const epsilon = clip
    ? toEpsilon(schedule, xStart, xT, index)
    : prediction.epsilon(schedule, output, xT, index);
  return {
    mean: prediction.mean(schedule, output, xStart, xT, index),
    variance: variance.variance(schedule, index, channels),
    xStart,
    epsilon,
  };
}

/** Separa lo que la red predice y los canales de la varianza. */
function splitOutput(
  { variance }: Diffusion,
  output: Values,
  xT: Values,
  size: number,
): [Values, Values] {
  const expected = variance.learned ? 2 * xT.length : xT.length;
  if (output.length !== expected) {
    throw new RangeError(`La red ha dado ${output.length} valores y se esperaban ${expected}.`);
  }
  if (!variance.learned) return [output, xT];
  const pick = (half: number) =>
    xT.map((_, k) => output[2 * size * Math.floor(k / size) + half * size + (k % size)]!);
  return [pick(0), pick(1)];
}

/** Una red con su proceso: `denoise(x_t, index)` da el paso atrás en un nivel. */
export interface Denoiser {
  (xT: Values, index: number): Promise<ReverseStep>;
  readonly diffusion: Diffusion;
}

/** Junta una red y su proceso; `size` es cuántos valores tiene una muestra. */
export function makeDenoiser(model: Model, diffusion: Diffusion, size: number): Denoiser {
  const denoise = async (xT: Values, index: number) => {
    const output = await model(xT, diffusion.schedule.timesteps[index]!);
    return pMeanVariance(diffusion, output, xT, index, size);
  };
  return Object.assign(denoise, { diffusion });
}

/** Da un paso del nivel `index` al anterior: x_{t-1} y el x̂_0 que vio. */
export type Sampler = (
  denoise: Denoiser,
  xT: Values,
  index: number,
  noises: Iterator<Values>,
  previous: Values | null,
) => Promise<[Values, Values]>;
