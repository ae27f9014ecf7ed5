/** Posterior: el paso atrás cuando se conoce el destino. El gemelo de `ddpm_lit.posterior`. */

import { combine, type Values } from "./forward";
import type { Schedule } from "./scheduler";

/** Una normal con la misma varianza en todas las componentes. */
export interface Gaussian {
  mean: Values;
  variance: number;
  logVariance: number;
}

/** q(x_{t-1}|x_t, x_0) = N(μ̃_t, β̃_t I) (Ho et al., ecs. 6 y 7). */
export function qPosterior(
  schedule: Schedule,
  xStart: Values,
  xT: Values,
  index: number,
): Gaussian {
  const [coef1, coef2] = [schedule.posteriorMeanCoef1[index]!, schedule.posteriorMeanCoef2[index]!];
  return {
    mean: combine(xStart, xT, (x0, x) => coef1 * x0 + coef2 * x),
    variance: schedule.posteriorVariance[index]!,
    logVariance: schedule.posteriorLogVarianceClipped[index]!,
  };
}
