/** El camino de unas partículas por el plano. */

import { type Model, makeDenoiser } from "../ddpm_lit/backward";
import { type Diffusion, makeDiffusion, respaced } from "../ddpm_lit/diffusion";
import { qStep } from "../ddpm_lit/forward";
import { idealModel } from "../ddpm_lit/ideal";
import { mlp, type Weights } from "../ddpm_lit/networks/mlp";
import { samplingNoise } from "../ddpm_lit/noise";
import { algorithm2, SAMPLERS } from "../ddpm_lit/sampling";
import { makeSchedule } from "../ddpm_lit/scheduler";
import { networkConfig } from "../learning";

/** El proceso del plano: su schedule, con cuántos pasos, y cuánto se emborrona cada dato. */
export const SETUP = { schedule: "linear", timesteps: 200, bandwidth: 0.04 } as const;

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
