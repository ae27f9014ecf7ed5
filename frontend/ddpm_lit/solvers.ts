/** Solvers: la ecuación diferencial de DDIM, con métodos de segundo orden. El gemelo de `ddpm_lit.solvers`. */

import type { Sampler } from "./backward";
import { ddim } from "./ddim";
import { combine } from "./forward";

const euler = ddim();

/** Un paso de DPM-Solver++(2M) (Lu et al. 2022, algoritmo 2). */
export const dpmSolver2m: Sampler = async (denoise, xT, index, noises, previous) => {
  if (previous === null || index === 0) return euler(denoise, xT, index, noises, previous);
  const { xStart } = await denoise(xT, index);
  const bars = denoise.diffusion.schedule.alphasCumprod.slice(index - 1, index + 2);
  const [before, now, after] = bars.map((bar) => 0.5 * Math.log(bar / (1 - bar))) as unknown as [
    number,
    number,
    number,
  ];
  const halfSlope = (before - now) / (2 * (now - after));
  const [alpha, alphaT] = [Math.sqrt(bars[0]!), Math.sqrt(bars[1]!)];
  const [sigma, sigmaT] = [Math.sqrt(1 - bars[0]!), Math.sqrt(1 - bars[1]!)];
  const ahead = combine(xStart, previous, (x, last) => (1 + halfSlope) * x - halfSlope * last);
  // α_{t-1}(1 - e^{-h}), escrito sin exponenciales.
  const gain = alpha - (alphaT * sigma) / sigmaT;
  return [combine(xT, ahead, (x, x0) => (sigma / sigmaT) * x + gain * x0), xStart];
};

/** Un paso de Heun: el de DDIM y después la media de las dos pendientes, en el ángulo φ. */
export const heun: Sampler = async (denoise, xT, index, noises, previous) => {
  if (index === 0) return euler(denoise, xT, index, noises, previous);
  const bars = denoise.diffusion.schedule.alphasCumprod;
  const [phi, phiT] = [Math.acos(Math.sqrt(bars[index - 1]!)), Math.acos(Math.sqrt(bars[index]!))];
  const now = await denoise(xT, index);
  const moved = combine(now.xStart, now.epsilon, (x0, e) => Math.cos(phi) * x0 + Math.sin(phi) * e);
  const after = await denoise(moved, index - 1);
  const slopeNow = combine(
    now.epsilon,
    now.xStart,
    (e, x0) => Math.cos(phiT) * e - Math.sin(phiT) * x0,
  );
  const slopeAfter = combine(
    after.epsilon,
    after.xStart,
    (e, x0) => Math.cos(phi) * e - Math.sin(phi) * x0,
  );
  const slopes = combine(slopeNow, slopeAfter, (a, b) => a + b);
  return [combine(xT, slopes, (x, slope) => x + ((phi - phiT) / 2) * slope), now.xStart];
};
