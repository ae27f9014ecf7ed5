/** La red ideal: E[x_0|x_t] cuando se conocen todos los datos. El gemelo de `ddpm_lit.ideal`. */

import type { Model } from "./backward";
import type { Diffusion } from "./diffusion";
import type { Values } from "./forward";
import { toEpsilon } from "./parametrisation";
import type { Schedule } from "./scheduler";

/**
 * E[x_0|x_t] cuando x_0 es uno de los datos, emborronado con una desviación típica `bandwidth`.
 *
 * @param schedule el schedule.
 * @param data los datos, uno detrás de otro.
 * @param xT x_t, una muestra detrás de otra.
 * @param index el nivel en que están todas.
 * @param size cuántos valores tiene un dato.
 */
export function idealXStart(
  schedule: Schedule,
  data: Values,
  xT: Values,
  index: number,
  size: number,
  bandwidth = 0,
): Values {
  const bar = schedule.alphasCumprod[index]!;
  const signal = Math.sqrt(bar);
  const variance = bar * bandwidth ** 2 + (1 - bar);
  const pull = (signal * bandwidth ** 2) / variance;
  const count = data.length / size;
  const closeness = new Float64Array(count);
  const result = new Float32Array(xT.length);
  const mean = new Float64Array(size);
  for (let row = 0; row < xT.length; row += size) {
    let largest = -Infinity;
    for (let i = 0; i < count; i++) {
      let distance = 0;
      for (let k = 0; k < size; k++) distance += (xT[row + k]! - signal * data[i * size + k]!) ** 2;
      const value = -distance / (2 * variance);
      closeness[i] = value;
      if (value > largest) largest = value;
    }
    let total = 0;
    mean.fill(0);
    for (let i = 0; i < count; i++) {
      const weight = Math.exp(closeness[i]! - largest);
      total += weight;
      for (let k = 0; k < size; k++) mean[k]! += weight * data[i * size + k]!;
    }
    for (let k = 0; k < size; k++) {
      const centre = mean[k]! / total;
      result[row + k] = centre + pull * (xT[row + k]! - signal * centre);
    }
  }
  return result;
}

/** La red ideal de unos datos: responde lo que el proceso pide que se prediga. */
export function idealModel(diffusion: Diffusion, data: Values, size: number, bandwidth = 0): Model {
  const { schedule, prediction } = diffusion;
  return (xT, time) => {
    const xStart = idealXStart(schedule, data, xT, time, size, bandwidth);
    return prediction.target(schedule, xStart, toEpsilon(schedule, xStart, xT, time), time);
  };
}
