/** Entrenamiento: el Algoritmo 1. El gemelo de `ddpm_lit.training`, con el optimizador de PyTorch. */

import type { Diffusion } from "./diffusion";
import { qSample, type Values } from "./forward";
import type { Weights } from "./networks/mlp";
import { firstWord, normals, Stream } from "./noise";

/** Una red que se puede derivar: de x_t y sus instantes, a la respuesta y a su vuelta. */
export type Network = (
  xT: Values,
  times: readonly number[],
) => readonly [Values, (slope: Values) => Weights];

/** De cuántos ejemplos hay y T, a los índices t y el ruido. */
export type Draw = (count: number, timesteps: number) => { t: number[]; noise: Values };

/** De las derivadas de los pesos, a un paso de gradiente. */
export type Descend = (slopes: Weights) => void;

/**
 * Algoritmo 1: se repite, hasta que se acaban los lotes, un paso de gradiente.
 *
 * @param model la red.
 * @param diffusion el proceso.
 * @param batches los lotes, cada uno con sus datos uno detrás de otro.
 * @param draw de dónde salen t y ε.
 * @param descend el paso de gradiente.
 * @param size cuántos valores tiene un dato.
 * @yields la pérdida de cada lote.
 */
export function* algorithm1(
  model: Network,
  diffusion: Diffusion,
  batches: Iterable<Values>,
  draw: Draw,
  descend: Descend,
  size: number,
): Generator<number> {
  const { schedule, prediction } = diffusion;
  for (const xStart of batches) {
    const { t, noise } = draw(xStart.length / size, schedule.length);
    const each = (value: (x: Values, z: Values, index: number) => Values): Values => {
      const result = new Float32Array(xStart.length);
      t.forEach((index, row) => {
        const [from, to] = [row * size, (row + 1) * size];
        result.set(value(xStart.subarray(from, to), noise.subarray(from, to), index), from);
      });
      return result;
    };
    const xT = each((x, z, index) => qSample(schedule, x, index, z));
    const target = each((x, z, index) => prediction.target(schedule, x, z, index));
    const [output, back] = model(
      xT,
      t.map((index) => schedule.timesteps[index]!),
    );
    const error = output.map((value, k) => value - target[k]!);
    descend(back(error.map((value) => (2 * value) / error.length)));
    yield error.reduce((sum, value) => sum + value * value, 0) / error.length;
  }
}

/** Quien saca t y ε: los mismos que `ddpm_lit.noise.TrainingDraws`, desde un paso. */
export function trainingDraws(seed: number, size: number, first = 0): Draw {
  let step = first;
  return (count, timesteps) => {
    const rows = Array.from({ length: count }, (_, row) => row);
    const t = rows.map((row) =>
      Math.floor((firstWord(seed, Stream.TIMES, step, row) * timesteps) / 2 ** 32),
    );
    const noise = normals(seed, Stream.TRAINING, step, rows, size);
    step += 1;
    return { t, noise };
  };
}

const [BETA_1, BETA_2, EPSILON] = [0.9, 0.999, 1e-8];

/**
 * El paso de gradiente de siempre: recortar la norma y AdamW, sin decaimiento de los pesos.
 *
 * @param weights los pesos, que cambian en su sitio.
 * @param rate la tasa de aprendizaje de cada paso, que se pregunta entonces.
 * @param clip la norma máxima.
 */
export function gradientStep(weights: Weights, rate: () => number, clip = 1): Descend {
  const zeros = () => Object.entries(weights).map(([name, each]) => [name, each.map(() => 0)]);
  const first: Weights = Object.fromEntries(zeros());
  const second: Weights = Object.fromEntries(zeros());
  let done = 0;
  return (slopes) => {
    done += 1;
    let squares = 0;
    for (const each of Object.values(slopes)) for (const value of each) squares += value * value;
    const scale = Math.min(1, clip / (Math.sqrt(squares) + 1e-6));
    const size = rate() / (1 - BETA_1 ** done);
    const root = Math.sqrt(1 - BETA_2 ** done);
    for (const [name, weight] of Object.entries(weights)) {
      const [m, v, slope] = [first[name]!, second[name]!, slopes[name]!];
      for (let k = 0; k < weight.length; k++) {
        const g = slope[k]! * scale;
        m[k] = BETA_1 * m[k]! + (1 - BETA_1) * g;
        v[k] = BETA_2 * v[k]! + (1 - BETA_2) * g * g;
        weight[k]! -= (size * m[k]!) / (Math.sqrt(v[k]!) / root + EPSILON);
      }
    }
  };
}
