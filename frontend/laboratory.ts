/** El laboratorio: qué se pide a una red que viene entrenada, y el camino que sigue. */

import { type Model, makeDenoiser } from "./ddpm_lit/backward";
import { nullTokens, tokenize } from "./ddpm_lit/conditioning";
import { slerp } from "./ddpm_lit/ddim";
import { type Diffusion, makeDiffusion, respaced } from "./ddpm_lit/diffusion";
import { type Known, noisedLevels, repaint, repaintPath, sdedit } from "./ddpm_lit/editing";
import { classifierFree } from "./ddpm_lit/guidance";
import { samplingNoise } from "./ddpm_lit/noise";
import { algorithm2, SAMPLERS, type SampleStep } from "./ddpm_lit/sampling";
import { makeSchedule, type Spacing } from "./ddpm_lit/scheduler";
import { comma } from "./numbers";

/** Una red, como la describe la construcción. */
export interface Network {
  name: string;
  title: string;
  /** Si viene en el paquete; si no, lo entrena quien lo quiera. */
  shipped: boolean;
  /** El fichero ONNX, al lado de la lista, sus bytes y su SHA-256. */
  file: string;
  bytes: number;
  sha256: string;
  shape: [number, number, number];
  schedule: string;
  timesteps: number;
  scheduleOptions: Record<string, number>;
  prediction: string;
  variance: string;
  clip: boolean;
  sampling: { sampler: string; steps: number; spacing: Spacing; guidance: number; rescale: number };
  /** Lo que lee: frases, con estas palabras, o clases, con estos nombres. */
  vocabulary: string[];
  textLength: number;
  classes: string[];
  examples: string[];
}

/** Lo que se pide. */
export interface Settings {
  network: string;
  text: string;
  label: number;
  seed: number;
  count: number;
  sampler: string;
  steps: number;
  eta: number;
  guidance: number;
  rescale: number;
}

/**
 * Qué camino se recorre: el de siempre, rellenar un hueco, rehacer una imagen o partir de entre el
 * ruido de la semilla y el de otra.
 */
export type Edit =
  | { kind: "whole" }
  | ({ kind: "inpaint" } & Known)
  | { kind: "redraw"; initial: Float32Array; strength: number }
  | { kind: "between"; seed: number; fraction: number };

/** Cuántos pasos da un camino. */
export function lengthOf(edit: Edit, steps: number): number {
  if (edit.kind === "inpaint") return repaintPath(steps, edit.jump, edit.resamplings).length;
  return edit.kind === "redraw" ? noisedLevels(steps, edit.strength) : steps;
}

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
function conditions(network: Network, { text, label, count }: Settings): [Inputs, Inputs] {
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
  return [{}, {}];
}

/** La red con su condición, guiada si se pide. */
function conditioned(network: Network, settings: Settings, evaluate: Evaluate): Model {
  const { count, guidance, rescale } = settings;
  const [given, empty] = conditions(network, settings);
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
  const model = conditioned(network, settings, evaluate);
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

/** Lo que se pide si nadie dice otra cosa. */
export function usual(network: Network): Settings {
  const { sampler, steps, guidance, rescale } = network.sampling;
  return {
    network: network.name,
    text: network.examples[0] ?? "",
    label: 0,
    seed: 0,
    count: 4,
    sampler,
    steps,
    eta: 0,
    guidance,
    rescale,
  };
}

// --- La dirección y la orden ----------------------------------------------------------------------

/** Cada campo de lo que se pide, con su nombre en la dirección y entre qué valores va. */
const FIELDS = {
  seed: ["semilla", 0, Number.MAX_SAFE_INTEGER],
  count: ["muestras", 1, 9],
  label: ["clase", 0, 10_000],
  steps: ["pasos", 1, 1000],
  eta: ["eta", 0, 1],
  guidance: ["guia", -1, 20],
  rescale: ["reescalada", 0, 1],
} as const;

/** La parte de una dirección que dice lo que se pide; lo que es como siempre no se dice. */
export function toAddress(settings: Settings, network: Network, edit: Edit): string {
  const plain = usual(network);
  const query = new URLSearchParams({ modelo: settings.network });
  if (network.vocabulary.length > 0) query.set("texto", settings.text);
  if (settings.sampler !== plain.sampler) query.set("sampler", settings.sampler);
  for (const [field, [name]] of Object.entries(FIELDS)) {
    const key = field as keyof typeof FIELDS;
    if (settings[key] !== plain[key]) query.set(name, String(settings[key]));
  }
  if (edit.kind === "between") {
    query.set("hacia", String(edit.seed));
    query.set("tramo", String(edit.fraction));
  }
  return `?${query}`;
}

/** Lo que pide una dirección, y lo que hay en ella que no se puede pedir. */
export function fromAddress(
  address: string,
  networks: readonly Network[],
): { settings: Settings; walk: Walk | null; problems: string[] } {
  const query = new URLSearchParams(address);
  const problems: string[] = [];
  const asked = query.get("modelo");
  const network = networks.find(({ name }) => name === asked) ?? networks[0]!;
  if (asked !== null && network.name !== asked) problems.push(`no hay ningún modelo «${asked}»`);
  const settings = usual(network);
  settings.text = query.get("texto") ?? settings.text;
  const sampler = query.get("sampler");
  if (sampler !== null && sampler in SAMPLERS) settings.sampler = sampler;
  else if (sampler !== null) problems.push(`no hay ningún sampler «${sampler}»`);
  for (const [field, [name, low, high]] of Object.entries(FIELDS)) {
    const text = query.get(name);
    if (text === null) continue;
    const value = Number(text);
    const whole = !["eta", "guidance", "rescale"].includes(field);
    if (text === "" || !(value >= low && value <= high) || (whole && !Number.isInteger(value))) {
      problems.push(`«${name}» vale «${text}» y va de ${low} a ${high}`);
    } else {
      settings[field as keyof typeof FIELDS] = value;
    }
  }
  if (settings.label >= Math.max(1, network.classes.length)) {
    problems.push(`no hay ninguna clase ${settings.label}`);
    settings.label = 0;
  }
  settings.steps = Math.min(settings.steps, network.timesteps);
  const [seed, fraction] = [query.get("hacia"), Number(query.get("tramo") || Number.NaN)];
  let walk: Walk | null = null;
  if (seed !== null) {
    const whole = seed !== "" && Number.isSafeInteger(Number(seed)) && Number(seed) >= 0;
    if (whole && fraction >= 0 && fraction <= 1) walk = { seed: Number(seed), fraction };
    else problems.push(`no se puede ir hacia la semilla «${seed}» ese tramo`);
  }
  return { settings, walk, problems };
}

/** Hacia qué otra semilla se va, y qué parte del camino. */
export type Walk = { seed: number; fraction: number };

/** Lo que se pidió, en una línea, para ponerlo al pie. */
export function summaryOf(
  settings: Settings,
  network: Network,
  edit: Edit,
  sampler: string,
): string {
  const asked = network.classes[settings.label] ?? (settings.text.trim() && `«${settings.text}»`);
  const eta =
    settings.sampler === "ddim" && settings.eta > 0 ? `η = ${comma(settings.eta, 1)}` : "";
  const parts = [
    asked,
    edit.kind === "between"
      ? `de la semilla ${settings.seed} a la ${edit.seed}, al ${comma(edit.fraction)}`
      : `semilla ${settings.seed}`,
    `${sampler}, ${settings.steps} pasos`,
    eta,
    `w = ${comma(settings.guidance, 1)}`,
    settings.rescale > 0 ? `φ = ${comma(settings.rescale, 1)}` : "",
  ];
  return parts.filter(Boolean).join("; ");
}

/** Los ficheros con que la orden recibe lo que se ha pintado. */
export const FILES = { picture: "imagen.png", hole: "hueco.png" } as const;

/** La orden de la terminal que da las mismas muestras. */
export function toCommand(settings: Settings, network: Network, edit: Edit): string {
  const quoted = (text: string) => `"${text.replace(/(["$`\\])/g, "\\$1")}"`;
  // El de los dígitos no viene en el paquete: se entrena con `ddpm-lit train digits-class`.
  const model = network.shipped ? settings.network : `runs/${settings.network}`;
  const parts = ["ddpm-lit sample", model];
  if (network.vocabulary.length > 0 && settings.text.trim()) {
    parts.push("--text", quoted(settings.text));
  }
  if (network.classes.length > 0) parts.push("--class", String(settings.label));
  parts.push("-n", String(settings.count), "--seed", String(settings.seed));
  parts.push("--sampler", settings.sampler, "--steps", String(settings.steps));
  if (settings.sampler === "ddim" && settings.eta > 0) parts.push("--eta", String(settings.eta));
  parts.push("--guidance", String(settings.guidance));
  if (settings.guidance !== 0 && settings.rescale > 0) {
    parts.push("--guidance-rescale", String(settings.rescale));
  }
  if (edit.kind === "inpaint") {
    parts.push("--inpaint", FILES.picture, "--mask", FILES.hole);
    parts.push("--jump", String(edit.jump), "--resamplings", String(edit.resamplings));
  } else if (edit.kind === "redraw") {
    parts.push("--from-image", FILES.picture, "--strength", String(edit.strength));
  }
  return parts.join(" ");
}
