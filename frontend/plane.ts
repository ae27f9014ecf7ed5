/** El plano: los datos de dos coordenadas y el camino de unas partículas. */

import { type Model, makeDenoiser } from "./ddpm_lit/backward";
import { type Diffusion, makeDiffusion, respaced } from "./ddpm_lit/diffusion";
import { qStep } from "./ddpm_lit/forward";
import { idealModel } from "./ddpm_lit/ideal";
import { mlp, type Weights } from "./ddpm_lit/networks/mlp";
import { samplingNoise } from "./ddpm_lit/noise";
import { algorithm2, SAMPLERS } from "./ddpm_lit/sampling";
import { makeSchedule } from "./ddpm_lit/scheduler";
import { networkConfig } from "./learning";

/** Qué camino se pide. */
export interface Journey {
  /** Los datos, (x, y) uno detrás de otro, y cuánto se emborrona cada uno. */
  data: Float32Array;
  bandwidth: number;
  /** Los pesos de una red que ha aprendido los datos; sin ellos, la ideal. */
  weights: Weights | null;
  schedule: string;
  timesteps: number;
  sampler: string;
  steps: number;
  eta: number;
  seed: number;
  /** Cuántas partículas, o de dónde salen. */
  particles: number | Float32Array;
  /** Hacia los datos, o desde ellos. */
  direction: "reverse" | "forward";
}

/** Los estados por los que pasan, uno por nivel, y lo que se estima en cada uno que serán. */
export interface Travelled {
  states: Float32Array[];
  guesses: Float32Array[];
  times: number[];
}

/** El proceso del plano, con todos sus pasos. */
export function processOf({
  schedule,
  timesteps,
}: Pick<Journey, "schedule" | "timesteps">): Diffusion {
  return makeDiffusion(makeSchedule(schedule, timesteps), { prediction: "epsilon", clip: false });
}

/** La red que guía: la ideal de los datos, o una que los ha aprendido. */
export function modelOf(
  diffusion: Diffusion,
  { data, bandwidth, weights }: Pick<Journey, "data" | "bandwidth" | "weights">,
): Model {
  if (!weights) return idealModel(diffusion, data, 2, bandwidth);
  const config = networkConfig(diffusion.schedule.length);
  return (xT, time) => mlp(config, weights, xT, [time])[0];
}

/** Da el camino entero. */
export async function travel(journey: Journey): Promise<Travelled> {
  const { data, bandwidth, timesteps, sampler, steps, eta, seed, particles } = journey;
  const whole = processOf(journey);
  const count = typeof particles === "number" ? particles : particles.length / 2;
  const indices = Array.from({ length: count }, (_, k) => k);
  const noises = samplingNoise(seed, indices, 2);
  if (journey.direction === "forward") {
    let x: Float32Array =
      typeof particles === "number" ? drawn(data, bandwidth, noises.next().value) : particles;
    const states = [x];
    for (let index = 0; index < timesteps; index++) {
      x = qStep(whole.schedule, x, index, noises.next().value);
      states.push(x);
    }
    return { states, guesses: [], times: states.map((_, k) => k) };
  }
  const diffusion = respaced(whole, steps);
  const denoise = makeDenoiser(modelOf(whole, journey), diffusion, 2);
  const first = noises.next().value;
  const start = typeof particles === "number" ? first : particles;
  const travelled: Travelled = { states: [start], guesses: [], times: [timesteps] };
  for await (const step of algorithm2(denoise, start, noises, SAMPLERS[sampler]!(eta))) {
    travelled.states.push(step.xT);
    travelled.guesses.push(step.xStart);
    travelled.times.push(step.t > 0 ? diffusion.schedule.timesteps[step.t - 1]! + 1 : 0);
  }
  return travelled;
}

/** Partículas sacadas de los datos, por turnos, cada una con su emborronado. */
function drawn(data: Float32Array, bandwidth: number, noise: Float32Array): Float32Array {
  const count = data.length / 2;
  const stride = 7919; // Primo: recorre los datos sin seguir su orden.
  return noise.map((z, k) => data[2 * (((k >> 1) * stride) % count) + (k & 1)]! + bandwidth * z);
}

// --- Los datos ------------------------------------------------------------------------------------

/** Cuántos puntos tienen los datos de un nombre. */
const POINTS = 320;

/** De un número entre 0 y 1 y cuál de los puntos es, a su sitio en el plano. */
type Shape = (u: number, k: number) => readonly [number, number];

const turn = 2 * Math.PI;
const SHAPES: Readonly<Record<string, { title: string; place: Shape }>> = {
  espiral: {
    title: "espiral",
    place: (u) => {
      const angle = turn * (0.35 + 1.65 * u);
      const radius = 0.15 + 0.95 * u;
      return [radius * Math.cos(angle), radius * Math.sin(angle)];
    },
  },
  lunas: {
    title: "dos lunas",
    place: (u, k) => {
      const side = k % 2 === 0 ? 1 : -1;
      const angle = Math.PI * u;
      return [0.8 * Math.cos(angle) * side + 0.35 * side, side * (0.8 * Math.sin(angle) - 0.25)];
    },
  },
  anillos: {
    title: "dos anillos",
    place: (u, k) => {
      const radius = k % 3 === 0 ? 0.45 : 1.05;
      return [radius * Math.cos(turn * u), radius * Math.sin(turn * u)];
    },
  },
  modas: {
    title: "ocho grupos",
    place: (_, k) => [Math.cos((turn * (k % 8)) / 8), Math.sin((turn * (k % 8)) / 8)],
  },
};

/** Los datos que se pueden elegir: su nombre y cómo se llaman. */
export const DISTRIBUTIONS: readonly (readonly [string, string])[] = Object.entries(SHAPES).map(
  ([name, { title }]) => [name, title] as const,
);

/** Unos cuantos puntos de unos datos, (x, y) uno detrás de otro. */
export function dataOf(name: string, count = POINTS): Float32Array {
  const shape = SHAPES[name];
  if (!shape) throw new RangeError(`No hay ningunos datos «${name}».`);
  const values = new Float32Array(2 * count);
  for (let k = 0; k < count; k++) values.set(shape.place((k + 0.5) / count, k), 2 * k);
  return values;
}

// --- La dirección ---------------------------------------------------------------------------------

/** El plano que se ve va de -EDGE a EDGE. */
export const EDGE = 2.2;
/** Los datos que dibuja quien mira, y cuántos caben. */
export const DRAWN = "dibujo";
export const MOST = 600;

/** Lo que se ha elegido en el plano. */
export interface Shown {
  distribution: string;
  points: Float32Array;
  sampler: string;
  rival: string;
  steps: number;
  eta: number;
  direction: string;
}

/** Lo que hay al abrir la página. */
export const USUAL: Omit<Shown, "points"> = {
  distribution: "espiral",
  sampler: "ddpm",
  rival: "",
  steps: 50,
  eta: 0,
  direction: "reverse",
};

/** La parte de una dirección que dice lo elegido; lo que es como siempre no se dice. */
export function toAddress(shown: Shown): string {
  const query = new URLSearchParams();
  const note = (name: string, value: string | number, usual: string | number) => {
    if (value !== usual) query.set(name, String(value));
  };
  note("datos", shown.distribution, USUAL.distribution);
  if (shown.distribution === DRAWN) query.set("puntos", packed(shown.points));
  note("sampler", shown.sampler, USUAL.sampler);
  note("al-lado", shown.rival, USUAL.rival);
  note("pasos", shown.steps, USUAL.steps);
  note("eta", shown.eta, USUAL.eta);
  note("camino", shown.direction === "forward" ? "ida" : "vuelta", "vuelta");
  return query.size > 0 ? `?${query}` : "";
}

/** Lo que pide una dirección, y lo que hay en ella que no se puede pedir. */
export function fromAddress(
  address: string,
  timesteps: number,
): { shown: Shown; problems: string[] } {
  const query = new URLSearchParams(address);
  const problems: string[] = [];
  const read = <T>(name: string, usual: T, parse: (text: string) => T | undefined): T => {
    const text = query.get(name);
    if (text === null) return usual;
    const value = parse(text);
    if (value === undefined) problems.push(`«${name}» no puede ser «${text.slice(0, 20)}»`);
    return value ?? usual;
  };
  const known = (names: readonly string[]) => (text: string) =>
    names.includes(text) ? text : undefined;
  const between = (low: number, high: number, whole: boolean) => (text: string) => {
    const value = Number(text);
    const fits = text !== "" && value >= low && value <= high;
    return fits && (!whole || Number.isInteger(value)) ? value : undefined;
  };
  const distribution = read("datos", USUAL.distribution, known([...Object.keys(SHAPES), DRAWN]));
  const points =
    distribution === DRAWN ? read("puntos", new Float32Array(), unpacked) : dataOf(distribution);
  const shown = {
    distribution,
    points,
    sampler: read("sampler", USUAL.sampler, known(Object.keys(SAMPLERS))),
    rival: read("al-lado", USUAL.rival, known(["", ...Object.keys(SAMPLERS)])),
    steps: read("pasos", USUAL.steps, between(1, timesteps, true)),
    eta: read("eta", USUAL.eta, between(0, 1, false)),
    direction: read("camino", "vuelta", known(["ida", "vuelta"])) === "ida" ? "forward" : "reverse",
  };
  return { shown, problems };
}

/** Unos puntos en letras, con un byte por coordenada. */
function packed(points: Float32Array): string {
  const bytes = Array.from(points, (x) => Math.round(((x / EDGE + 1) / 2) * 255));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** Los puntos que dicen unas letras, si dicen alguno y caben. */
function unpacked(text: string): Float32Array | undefined {
  try {
    const bytes = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    if (bytes.length % 2 !== 0 || bytes.length > 2 * MOST) return undefined;
    return Float32Array.from(bytes, (byte) => EDGE * ((2 * byte.charCodeAt(0)) / 255 - 1));
  } catch {
    return undefined;
  }
}
