/** Editar sin entrenar: RePaint y SDEdit. El gemelo de `ddpm_lit.editing`. */

import type { Denoiser, Sampler } from "./backward";
import { type Model, makeDenoiser } from "./backward";
import { type Diffusion, first } from "./diffusion";
import { diffuse, type Values } from "./forward";
import { algorithm2, ancestral, type SampleStep } from "./sampling";

/** Lo que se conoce de una imagen: sus datos y la máscara, 1 en lo conocido y 0 en el hueco. */
export interface Known {
  known: Values;
  mask: Values;
  jump: number;
  resamplings: number;
}

/** RePaint (Lugmayr et al. 2022, algoritmo 1): generar sin tocar lo que se conoce. */
export async function* repaint(
  denoise: Denoiser,
  noise: Values,
  noises: Iterator<Values>,
  sampler: Sampler,
  { known, mask, jump, resamplings }: Known,
): AsyncGenerator<SampleStep, void> {
  const { schedule } = denoise.diffusion;
  let xT = noise;
  let xStart: Values | null = null;
  let level = schedule.length - 1;
  for (const index of repaintPath(schedule.length, jump, resamplings)) {
    if (index > level) {
      xStart = null;
      xT = diffuse(schedule, xT, level, index, noises.next().value);
    }
    const before = xT;
    level = index - 1;
    [xT, xStart] = await sampler(denoise, xT, index, noises, xStart);
    const original = index > 0 ? diffuse(schedule, known, -1, level, noises.next().value) : known;
    xT = xT.map((made, k) => mask[k]! * original[k]! + (1 - mask[k]!) * made);
    yield { t: index, xT, xStart, before };
  }
}

/** El camino de RePaint: bajar, volver a subir y repetir (Lugmayr et al., sección 4.2). */
export function repaintPath(steps: number, jump = 10, resamplings = 10): number[] {
  if (steps < 1 || jump < 1 || resamplings < 1) {
    throw new RangeError(
      `Los pasos, el salto y las repeticiones deben ser al menos 1: ${steps}, ${jump} y ${resamplings}.`,
    );
  }
  if (resamplings > 1 && jump >= steps) {
    throw new RangeError(`Un salto de ${jump} niveles no cabe en un proceso de ${steps} pasos.`);
  }
  const down = (from: number, to: number) =>
    Array.from({ length: Math.max(from - to, 0) }, (_, k) => from - k);
  const bottoms: number[] = [];
  for (let bottom = 0; bottom < steps - jump; bottom += jump) bottoms.push(bottom);
  const top = bottoms.length > 0 ? bottoms[bottoms.length - 1]! + jump : 0;
  const path = down(steps - 1, top);
  for (const bottom of bottoms.reverse()) {
    for (let k = 0; k < resamplings; k++) path.push(...down(bottom + jump, bottom));
  }
  return [...path, 0];
}

/** Cuántos niveles de ruido se añaden a la guía de SDEdit: ⌈s K⌉. */
export function noisedLevels(steps: number, strength: number): number {
  if (!(strength > 0 && strength <= 1)) {
    throw new RangeError(`strength vale ${strength} y debe ser mayor que 0 y como mucho 1.`);
  }
  return Math.ceil(Math.round(strength * steps * 1e9) / 1e9);
}

/** SDEdit (Meng et al. 2021, algoritmo 1): el camino de siempre, desde una guía con ruido. */
export async function* sdedit(
  model: Model,
  diffusion: Diffusion,
  size: number,
  noise: Values,
  noises: Iterator<Values>,
  sampler: Sampler = ancestral,
  { initial, strength }: { initial: Values; strength: number },
): AsyncGenerator<SampleStep, void> {
  const levels = noisedLevels(diffusion.schedule.length, strength);
  const xT = diffuse(diffusion.schedule, initial, -1, levels - 1, noise);
  yield* algorithm2(makeDenoiser(model, first(diffusion, levels), size), xT, noises, sampler);
}
