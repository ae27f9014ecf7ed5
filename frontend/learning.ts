/** Entrenar en la página: el Algoritmo 1 con los datos del plano y una red pequeña. */

import { makeDiffusion } from "./ddpm_lit/diffusion";
import type { Values } from "./ddpm_lit/forward";
import { idealModel } from "./ddpm_lit/ideal";
import { EMA } from "./ddpm_lit/networks/ema";
import { layersOf, type MLPConfig, mlp, type Weights } from "./ddpm_lit/networks/mlp";
import { boxMuller, philox, Stream, seedKey, uniform } from "./ddpm_lit/noise";
import { makeSchedule } from "./ddpm_lit/scheduler";
import { algorithm1, gradientStep, type Network, trainingDraws } from "./ddpm_lit/training";

/** Con qué se entrena: los datos, (x, y) uno detrás de otro, cuánto se emborronan y cuánto tiempo hay. */
export interface Lesson {
  data: Values;
  bandwidth: number;
  schedule: string;
  timesteps: number;
  seconds: number;
  seed: number;
  /** Lo que ya sabe, si sigue por donde iba, y los pasos que lleva. */
  weights: Weights | null;
  step: number;
}

/** Cómo va: los pasos dados, la pérdida de los últimos, la de la red ideal y cuánto queda. */
export interface Progress {
  step: number;
  loss: number;
  floor: number;
  left: number;
}

/** Pequeña, y con ondas de las coordenadas: así aprende una espiral en unos segundos. */
const SHAPE = { dim: 2, width: 32, depth: 2, frequencies: 5 } as const;
const BATCH = 48;
const [RATE, WARMUP] = [1e-2, 50];
const DECAY = 0.99;
/** Cuánto cuenta cada pérdida en la media que se enseña. */
const SMOOTHING = 0.02;

/** Con cuántos lotes se mide la pérdida de la red ideal. */
const MEASURED = 200;

/** La forma de la red que aprende. */
export function networkConfig(timesteps: number): MLPConfig {
  return { ...SHAPE, timesteps };
}

/** Unos pesos recién sorteados, como los de PyTorch; la última capa, a 0. */
export function newWeights(config: MLPConfig, seed: number): Weights {
  const key = seedKey(seed);
  const weights: Weights = {};
  Object.entries(layersOf(config)).forEach(([name, [inputs, outputs]], layer) => {
    const bound = name === "linear_out" ? 0 : 1 / Math.sqrt(inputs);
    const drawn = (count: number, part: number) =>
      Float32Array.from({ length: count }, (_, k) => {
        const words = philox([k >> 2, part, layer, Stream.LAYERS], key);
        return bound * (2 * uniform(words[k & 3]!) - 1);
      });
    weights[`${name}.weight`] = drawn(inputs * outputs, 0);
    weights[`${name}.bias`] = drawn(outputs, 1);
  });
  return weights;
}

/** Los lotes: datos al azar, cada uno con su emborronado. */
export function* batchesOf(
  { data, bandwidth, seed, step: first }: Lesson,
  size = BATCH,
): Generator<Values> {
  const key = seedKey(seed);
  for (let step = first; ; step++) {
    const batch = new Float32Array(2 * size);
    for (let row = 0; row < size; row++) {
      const [which, u, v] = philox([0, step, row, Stream.ORDER], key);
      const chosen = Math.floor((which * (data.length / 2)) / 2 ** 32);
      const blur = boxMuller(uniform(u), uniform(v));
      for (const k of [0, 1] as const) {
        batch[2 * row + k] = data[2 * chosen + k]! + bandwidth * blur[k];
      }
    }
    yield batch;
  }
}

/** La pérdida de la red ideal con los mismos datos: de ahí no se puede bajar. */
export function idealLoss(lesson: Lesson): number {
  const diffusion = makeDiffusion(makeSchedule(lesson.schedule, lesson.timesteps), { clip: false });
  const ideal = idealModel(diffusion, lesson.data, 2, lesson.bandwidth);
  const model: Network = (xT, times) => {
    const answer = new Float32Array(xT.length);
    times.forEach((time, row) => {
      // La red ideal contesta en el acto.
      const one = ideal(xT.subarray(2 * row, 2 * row + 2), time) as Values;
      answer.set(one, 2 * row);
    });
    return [answer, () => ({})];
  };
  const draws = trainingDraws(lesson.seed, 2);
  // Siempre con los mismos lotes, para que no cambie de una vez a otra.
  const batches = batchesOf({ ...lesson, step: 0 });
  const losses = algorithm1(model, diffusion, batches, draws, () => {}, 2);
  let sum = 0;
  for (let k = 0; k < MEASURED; k++) sum += losses.next().value as number;
  return sum / MEASURED;
}

/**
 * Entrena mientras haya tiempo: la tasa de aprendizaje sube unos pasos y baja, en media onda de
 * coseno, hasta 0 cuando se acaba.
 *
 * @param lesson con qué.
 * @param now el reloj, en milisegundos.
 * @yields tras cada paso, cómo va y la media móvil de los pesos, que cambia en su sitio.
 */
export function* learn(
  lesson: Lesson,
  now: () => number = () => performance.now(),
): Generator<[Progress, Weights]> {
  const config = networkConfig(lesson.timesteps);
  const weights = lesson.weights ?? newWeights(config, lesson.seed);
  const average = new EMA(weights, DECAY);
  const diffusion = makeDiffusion(makeSchedule(lesson.schedule, lesson.timesteps), { clip: false });
  const floor = idealLoss(lesson);
  const started = now();
  const done = () => Math.min(1, (now() - started) / (1000 * lesson.seconds));
  let [step, loss] = [0, 0];
  const rate = () => {
    const warm = Math.min(1, (step + 1) / WARMUP);
    return RATE * warm * 0.5 * (1 + Math.cos(Math.PI * done()));
  };
  const losses = algorithm1(
    (xT, times) => mlp(config, weights, xT, times),
    diffusion,
    batchesOf(lesson),
    trainingDraws(lesson.seed, 2, lesson.step),
    gradientStep(weights, rate),
    2,
  );
  for (const each of losses) {
    step += 1;
    loss += Math.max(SMOOTHING, 1 / step) * (each - loss);
    average.update(weights);
    const left = lesson.seconds * (1 - done());
    yield [{ step: lesson.step + step, loss, floor, left }, average.weights];
    if (left === 0) return;
  }
}
