/** El camino de una generación: el mismo ruido, los mismos pasos y las mismas cuentas que el paquete. */

import { type Model, makeDenoiser } from "../ddpm_lit/backward";
import { nullTokens, tokenize } from "../ddpm_lit/conditioning";
import { slerp } from "../ddpm_lit/ddim";
import { type Diffusion, makeDiffusion, respaced } from "../ddpm_lit/diffusion";
import { repaint, sdedit } from "../ddpm_lit/editing";
import { classifierFree } from "../ddpm_lit/guidance";
import { samplingNoise } from "../ddpm_lit/noise";
import { algorithm2, SAMPLERS, type SampleStep } from "../ddpm_lit/sampling";
import { makeSchedule } from "../ddpm_lit/scheduler";
import { type Edit, type Network, type Settings, seenOf } from "./request";

/** Lo que una red recibe, por su nombre: los valores y la forma de cada entrada. */
export type Inputs = Record<string, { values: Float32Array | BigInt64Array; shape: number[] }>;

/** Quien evalúa la red: de sus entradas a su salida. */
export type Evaluate = (inputs: Inputs) => Promise<Float32Array>;

/** El proceso con que se entrenó una red. */
export function diffusionOf(network: Network): Diffusion {
  const schedule = makeSchedule(network.schedule, network.timesteps, network.scheduleOptions);
  return makeDiffusion(schedule, network);
}

/** La condición de unas muestras y la que no dice nada, ya como las recibe la red. */
function conditions(
  network: Network,
  { text, label, count }: Settings,
  edit: Edit,
): [Inputs, Inputs] {
  const repeated = (name: string, row: readonly number[]): Inputs => {
    const values = BigInt64Array.from({ length: count * row.length }, (_, k) =>
      BigInt(row[k % row.length]!),
    );
    const shape = name === "tokens" ? [count, row.length] : [count];
    return { [name]: { values, shape } };
  };
  if (network.vocabulary.length > 0) {
    const { tokens } = tokenize(text, network.vocabulary, network.textLength);
    return [repeated("tokens", tokens), repeated("tokens", nullTokens(network.textLength))];
  }
  if (network.classes.length > 0) {
    return [repeated("class_labels", [label]), repeated("class_labels", [network.classes.length])];
  }
  if (edit.kind === "image") {
    const [seen, channels] = seenOf(network, edit.image);
    const values = Float32Array.from(
      { length: count * seen.length },
      (_, k) => seen[k % seen.length]!,
    );
    const image = { values, shape: [count, channels, network.shape[1], network.shape[2]] };
    // Estas redes no se entrenan sin su imagen: no hay con qué guiarlas.
    return [{ image }, { image }];
  }
  return [{}, {}];
}

/** La red con su condición, guiada si se pide. */
function conditioned(network: Network, settings: Settings, edit: Edit, evaluate: Evaluate): Model {
  const { count, guidance, rescale } = settings;
  const [given, empty] = conditions(network, settings, edit);
  const size = network.shape.reduce((product, side) => product * side, 1);
  const call = (xT: Float32Array, time: number, condition: Inputs) => {
    const times = new BigInt64Array(count).fill(BigInt(time));
    return evaluate({
      x: { values: xT, shape: [count, ...network.shape] },
      t: { values: times, shape: [count] },
      ...condition,
    });
  };
  return async (xT, time) => {
    const conditional = await call(xT, time, given);
    if (guidance === 0) return conditional;
    const unconditional = await call(xT, time, empty);
    return classifierFree(conditional, unconditional, { w: guidance, rescale }, size);
  };
}

/** Genera unas muestras: el mismo ruido, los mismos pasos y las mismas cuentas que el paquete. */
export async function* generate(
  network: Network,
  settings: Settings,
  edit: Edit,
  evaluate: Evaluate,
): AsyncGenerator<SampleStep, void> {
  const size = network.shape.reduce((product, side) => product * side, 1);
  const diffusion = respaced(diffusionOf(network), settings.steps, network.sampling.spacing);
  const model = conditioned(network, settings, edit, evaluate);
  const denoise = makeDenoiser(model, diffusion, size);
  const indices = Array.from({ length: settings.count }, (_, k) => k);
  const noises = samplingNoise(settings.seed, indices, size);
  const makeSampler = SAMPLERS[settings.sampler];
  if (!makeSampler) throw new RangeError(`No hay ningún sampler «${settings.sampler}».`);
  const sampler = makeSampler(settings.eta);
  const first = noises.next().value;
  // Lo que se edita es una imagen, y vale para todas las muestras.
  const repeated = (one: Float32Array) => first.map((_, k) => one[k % size]!);
  const path = () => {
    if (edit.kind === "inpaint") {
      const { jump, resamplings } = edit;
      const known = repeated(edit.known);
      const mask = repeated(edit.mask);
      return repaint(denoise, first, noises, sampler, { known, mask, jump, resamplings });
    }
    if (edit.kind === "redraw") {
      const options = { initial: repeated(edit.initial), strength: edit.strength };
      return sdedit(model, diffusion, size, first, noises, sampler, options);
    }
    if (edit.kind === "between") {
      const other = samplingNoise(edit.seed, indices, size).next().value;
      return algorithm2(denoise, mixed(first, other, edit.fraction, size), noises, sampler);
    }
    return algorithm2(denoise, first, noises, sampler);
  };
  const { timesteps } = diffusion.schedule;
  // El t al que se llega: el artículo lo cuenta desde 1, y los datos son el 0.
  const reached = (index: number) => (index > 0 ? timesteps[index - 1]! + 1 : 0);
  for await (const step of path()) yield { ...step, t: reached(step.t) };
}

/** Los ruidos de entre dos, muestra a muestra, por el arco que va de uno a otro. */
function mixed(a: Float32Array, b: Float32Array, fraction: number, size: number): Float32Array {
  const result = new Float32Array(a.length);
  for (let start = 0; start < a.length; start += size) {
    const end = start + size;
    result.set(slerp(a.subarray(start, end), b.subarray(start, end), fraction), start);
  }
  return result;
}
