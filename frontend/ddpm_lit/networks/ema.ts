/** Media móvil exponencial de los pesos. El gemelo de `ddpm_lit.networks.ema`. */

import type { Weights } from "./mlp";

/** Los pesos medios; el decaimiento empieza bajo y crece con los pasos. */
export class EMA {
  readonly weights: Weights;
  private updates = 0;

  constructor(
    weights: Weights,
    private readonly decay: number,
  ) {
    this.weights = Object.fromEntries(
      Object.entries(weights).map(([name, each]) => [name, each.slice()]),
    );
  }

  /** Acerca la media a los pesos. */
  update(weights: Weights): void {
    const decay = Math.min(this.decay, (1 + this.updates) / (10 + this.updates));
    for (const [name, average] of Object.entries(this.weights)) {
      const now = weights[name]!;
      for (let k = 0; k < average.length; k++) average[k]! += (1 - decay) * (now[k]! - average[k]!);
    }
    this.updates += 1;
  }
}
