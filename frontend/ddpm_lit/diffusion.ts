/** Diffusion: el proceso, en un solo valor. El gemelo de `ddpm_lit.diffusion`. */

import type { Values } from "./forward";
import { PARAMETRISATIONS, type Parametrisation } from "./parametrisation";
import { respace, type Schedule, type Spacing, spacedIndices } from "./scheduler";
import { VARIANCES, type Variance } from "./variance";

/** Schedule × predicción × varianza × recorte. */
export interface Diffusion {
  readonly schedule: Schedule;
  readonly prediction: Parametrisation;
  readonly variance: Variance;
  /** Si x̂_0 se recorta a [-1, 1]. */
  readonly clip: boolean;
}

/** Crea un proceso con los nombres de sus filas. */
export function makeDiffusion(
  schedule: Schedule,
  { prediction = "epsilon", variance = "fixed_small", clip = true } = {},
): Diffusion {
  const rows = { prediction: PARAMETRISATIONS[prediction], variance: VARIANCES[variance] };
  if (!rows.prediction) throw new RangeError(`La red no puede predecir «${prediction}».`);
  if (!rows.variance) throw new RangeError(`No hay ninguna varianza «${variance}».`);
  if (prediction === "epsilon" && schedule.zeroTerminalSnr) {
    throw new RangeError(
      "Con señal terminal nula (ᾱ_T = 0) no se puede predecir «epsilon»: usad «v» o «x_start».",
    );
  }
  return { schedule, prediction: rows.prediction, variance: rows.variance, clip };
}

/** x̂_0, recortado si el proceso lo pide. */
export function clipped({ clip }: Diffusion, xStart: Values): Values {
  return clip ? xStart.map((x) => Math.max(-1, Math.min(1, x))) : xStart;
}

/** El mismo proceso en menos pasos. */
export function respaced(
  diffusion: Diffusion,
  steps: number,
  spacing: Spacing = "linspace",
): Diffusion {
  const { schedule } = diffusion;
  if (steps === schedule.length) return diffusion;
  return {
    ...diffusion,
    schedule: respace(schedule, spacedIndices(schedule.length, steps, spacing)),
  };
}

/** El mismo proceso, pero solo con sus primeros niveles de ruido. */
export function first(diffusion: Diffusion, levels: number): Diffusion {
  const indices = Array.from({ length: levels }, (_, k) => k);
  return { ...diffusion, schedule: respace(diffusion.schedule, indices) };
}
