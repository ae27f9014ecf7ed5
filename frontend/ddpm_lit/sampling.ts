/** Generación: el Algoritmo 2 de Ho et al. (2020). El gemelo de `ddpm_lit.sampling`. */

import type { Denoiser, Sampler } from "./backward";
import { ddim } from "./ddim";
import type { Values } from "./forward";
import { dpmSolver2m, heun } from "./solvers";

/** Lo que deja un paso: el índice del que se sale, x_{t-1}, el x̂_0 que la red veía y x_t. */
export interface SampleStep {
  t: number;
  xT: Values;
  xStart: Values;
  before: Values;
}

/** El paso de DDPM: x_{t-1} = μ_θ(x_t, t) + σ_t z, sin ruido en el último. */
export const ancestral: Sampler = async (denoise, xT, index, noises) => {
  const step = await denoise(xT, index);
  if (index === 0) return [step.mean, step.xStart];
  const z: Values = noises.next().value;
  return [step.mean.map((mean, k) => mean + Math.sqrt(step.variance(k)) * z[k]!), step.xStart];
};

/** Algoritmo 2: de x_T a x_0, paso a paso. */
export async function* algorithm2(
  denoise: Denoiser,
  noise: Values,
  noises: Iterator<Values>,
  sampler: Sampler = ancestral,
): AsyncGenerator<SampleStep, void> {
  let xT = noise;
  let xStart: Values | null = null;
  for (let index = denoise.diffusion.schedule.length - 1; index >= 0; index--) {
    const before = xT;
    [xT, xStart] = await sampler(denoise, xT, index, noises, xStart);
    yield { t: index, xT, xStart, before };
  }
}

/** Los samplers, por su nombre; `eta` es el azar de DDIM. */
export const SAMPLERS: Readonly<Record<string, (eta: number) => Sampler>> = {
  ddpm: () => ancestral,
  ddim,
  "dpm++2m": () => dpmSolver2m,
  heun: () => heun,
};
