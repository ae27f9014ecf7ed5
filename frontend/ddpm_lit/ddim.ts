/** DDIM: la misma red con menos pasos y con tanto azar como se quiera. El gemelo de `ddpm_lit.ddim`. */

import type { Sampler } from "./backward";
import { combine, type Values } from "./forward";
import type { Schedule } from "./scheduler";

/** El ᾱ al que lleva un paso: el del nivel anterior de la lista. */
function previousAlphaCumprod(schedule: Schedule, index: number): number {
  return schedule.alphasCumprodPrev[index]!;
}

/** La desviación típica del ruido de un paso (Song et al. 2020, ec. 16). */
export function ddimSigma(schedule: Schedule, index: number, eta = 1): number {
  if (!(eta >= 0 && eta <= 1)) throw new RangeError(`η va de 0 a 1 y ha llegado ${eta}.`);
  const bar = schedule.alphasCumprod[index]!;
  const before = previousAlphaCumprod(schedule, index);
  return eta * Math.sqrt(((1 - before) / (1 - bar)) * Math.max(1 - bar / before, 0));
}

/** El paso de DDIM (Song et al. 2020, ec. 12), con el azar que diga η. */
export function ddim(eta = 0): Sampler {
  return async (denoise, xT, index, noises) => {
    const { schedule } = denoise.diffusion;
    const step = await denoise(xT, index);
    const before = previousAlphaCumprod(schedule, index);
    const sigma = ddimSigma(schedule, index, eta);
    const [signal, direction] = [
      Math.sqrt(before),
      Math.sqrt(Math.max(1 - before - sigma ** 2, 0)),
    ];
    let xPrev = combine(step.xStart, step.epsilon, (x0, e) => signal * x0 + direction * e);
    if (index > 0 && sigma > 0)
      xPrev = combine(xPrev, noises.next().value, (x, z) => x + sigma * z);
    return [xPrev, step.xStart];
  };
}

/** Interpolación esférica entre dos muestras, por el arco que va de `a` a `b`. */
export function slerp(a: Values, b: Values, fraction: number): Values {
  const dot = (x: Values, y: Values) => x.reduce((sum, each, k) => sum + each * y[k]!, 0);
  const norms = Math.sqrt(dot(a, a)) * Math.sqrt(dot(b, b));
  const cosine = Math.max(-1, Math.min(1, dot(a, b) / norms));
  if (!(cosine > -1 + 1e-12))
    throw new RangeError("Los extremos son nulos u opuestos: entre ellos no hay un único arco.");
  const angle = Math.acos(cosine);
  const straight = angle < 1e-6;
  const weightA = straight ? 1 - fraction : Math.sin((1 - fraction) * angle) / Math.sin(angle);
  const weightB = straight ? fraction : Math.sin(fraction * angle) / Math.sin(angle);
  return combine(a, b, (x, y) => weightA * x + weightB * y);
}
