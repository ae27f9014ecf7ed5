/** Varianza del paso atrás, fija o aprendida. El gemelo de `ddpm_lit.variance`. */

import type { Values } from "./forward";
import type { Schedule } from "./scheduler";

/** Una fila: σ_t² en cada componente; si se aprende, a partir de los canales que da la red. */
export interface Variance {
  readonly learned: boolean;
  variance(schedule: Schedule, index: number, channels: Values): (k: number) => number;
}

/** β̃_t, la del posterior. */
const fixedSmall: Variance = {
  learned: false,
  variance: (schedule, index) => {
    const variance = schedule.posteriorVariance[index]!;
    return () => variance;
  },
};

/** β_t. */
const fixedLarge: Variance = {
  learned: false,
  variance: (schedule, index) => {
    const variance = schedule.betas[index]!;
    return () => variance;
  },
};

/** La que diga la red: sus canales son log σ_t². */
const learned: Variance = {
  learned: true,
  variance: (_schedule, _index, channels) => (k) => Math.exp(channels[k]!),
};

/** Un punto entre log β̃_t y log β_t (Nichol y Dhariwal 2021, ec. 15). */
const learnedRange: Variance = {
  learned: true,
  variance: (schedule, index, channels) => {
    const largest = Math.log(schedule.betas[index]!);
    const smallest = schedule.posteriorLogVarianceClipped[index]!;
    return (k) => {
      const v = (channels[k]! + 1) / 2;
      return Math.exp(v * largest + (1 - v) * smallest);
    };
  },
};

/** Las varianzas del paso atrás, por su nombre. */
export const VARIANCES: Readonly<Record<string, Variance>> = {
  fixed_small: fixedSmall,
  fixed_large: fixedLarge,
  learned,
  learned_range: learnedRange,
};
