/** Los samplers, como se llaman en la página. */

const TITLES = {
  ddpm: "DDPM",
  ddim: "DDIM",
  heun: "Heun",
  "dpm++2m": "DPM-Solver++",
} as const;

/** Los que se pueden elegir: su nombre y cómo se llaman. */
export const SAMPLER_OPTIONS: readonly (readonly [string, string])[] = Object.entries(TITLES);

/** Cómo se llama un sampler. */
export function titleOf(name: string): string {
  return TITLES[name as keyof typeof TITLES] ?? name;
}
