/** El plano: los datos de dos coordenadas y el camino de unas partículas. */

import { makeDenoiser } from "./ddpm_lit/backward";
import { makeDiffusion, respaced } from "./ddpm_lit/diffusion";
import { qStep } from "./ddpm_lit/forward";
import { idealModel } from "./ddpm_lit/ideal";
import { samplingNoise } from "./ddpm_lit/noise";
import { algorithm2, SAMPLERS } from "./ddpm_lit/sampling";
import { makeSchedule } from "./ddpm_lit/scheduler";

/** Qué camino se pide. */
export interface Journey {
  /** Los datos, (x, y) uno detrás de otro, y cuánto se emborrona cada uno. */
  data: Float32Array;
  bandwidth: number;
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

/** Da el camino entero. */
export async function travel(journey: Journey): Promise<Travelled> {
  const { data, bandwidth, schedule, timesteps, sampler, steps, eta, seed, particles } = journey;
  const table = makeSchedule(schedule, timesteps);
  const count = typeof particles === "number" ? particles : particles.length / 2;
  const indices = Array.from({ length: count }, (_, k) => k);
  const noises = samplingNoise(seed, indices, 2);
  if (journey.direction === "forward") {
    let x: Float32Array =
      typeof particles === "number" ? drawn(data, bandwidth, noises.next().value) : particles;
    const states = [x];
    for (let index = 0; index < timesteps; index++) {
      x = qStep(table, x, index, noises.next().value);
      states.push(x);
    }
    return { states, guesses: [], times: states.map((_, k) => k) };
  }
  const whole = makeDiffusion(table, { prediction: "epsilon", clip: false });
  const diffusion = respaced(whole, steps);
  const denoise = makeDenoiser(idealModel(whole, data, 2, bandwidth), diffusion, 2);
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
