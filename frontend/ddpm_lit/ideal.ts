/** La red ideal: E[x_0|x_t] cuando se conocen todos los datos. El gemelo de `ddpm_lit.ideal`. */

import type { Model } from "./backward";
import type { Diffusion } from "./diffusion";
import type { Values } from "./forward";
import { toEpsilon } from "./parametrisation";
import type { Schedule } from "./scheduler";

/**
 * Lo probable que es que x_t haya salido de cada dato: los pesos w_i, que suman 1.
 *
 * @param schedule el schedule.
 * @param data los datos, uno detrás de otro.
 * @param xT una sola x_t.
 * @param index el nivel en que está.
 * @param size cuántos valores tiene un dato.
 * @param bandwidth cuánto se emborrona cada dato: su desviación típica.
 * @param weights dónde se dejan; por defecto, en una tabla nueva.
 */
export function idealWeights(
  schedule: Schedule,
  data: Values,
  xT: Values,
  index: number,
  size: number,
  bandwidth = 0,
  weights: Float64Array = new Float64Array(data.length / size),
): Float64Array {
  const bar = schedule.alphasCumprod[index]!;
  const signal = Math.sqrt(bar);
  const variance = bar * bandwidth ** 2 + (1 - bar);
  let largest = -Infinity;
  for (let i = 0; i < weights.length; i++) {
    let distance = 0;
    for (let k = 0; k < size; k++) distance += (xT[k]! - signal * data[i * size + k]!) ** 2;
    const value = -distance / (2 * variance);
    weights[i] = value;
    if (value > largest) largest = value;
  }
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    const weight = Math.exp(weights[i]! - largest);
    weights[i] = weight;
    total += weight;
  }
  for (let i = 0; i < weights.length; i++) weights[i]! /= total;
  return weights;
}

/**
 * E[x_0|x_t] cuando x_0 es uno de los datos, emborronado; los argumentos, los de `idealWeights`,
 * con todas las x_t que se quieran en el mismo nivel, una detrás de otra.
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
  const weights = new Float64Array(data.length / size);
  const result = new Float32Array(xT.length);
  for (let row = 0; row < xT.length; row += size) {
    const one = xT.subarray(row, row + size);
    idealWeights(schedule, data, one, index, size, bandwidth, weights);
    for (let k = 0; k < size; k++) {
      let mean = 0;
      for (let i = 0; i < weights.length; i++) mean += weights[i]! * data[i * size + k]!;
      result[row + k] = mean + pull * (one[k]! - signal * mean);
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
