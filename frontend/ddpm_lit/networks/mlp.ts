/**
 * MLP: la red para puntos del plano, y cómo se deriva. El gemelo de `ddpm_lit.networks.mlp`.
 *
 * Cada pieza devuelve su valor y su vuelta: la función que, de la derivada de lo que sale, da la de
 * lo que entra, y deja apuntadas las de sus pesos. Derivar la red es recorrer las vueltas al revés.
 */

import type { Values } from "../forward";
import { fourierFeatures, sinusoidalEmbedding } from "./embeddings";

/** Lo que define un MLP: las dimensiones, las neuronas, los bloques, los pasos y las ondas. */
export interface MLPConfig {
  readonly dim: number;
  readonly width: number;
  readonly depth: number;
  readonly timesteps: number;
  readonly frequencies: number;
}

/** Los pesos, o sus derivadas, por su nombre en el paquete. */
export type Weights = Record<string, Values>;

/** Un valor y su vuelta. */
type Pulled = readonly [Values, (slope: Values) => Values];

/** Las capas lineales: cuántos valores entran y cuántos salen de cada una. */
export function layersOf({
  dim,
  width,
  depth,
  frequencies,
}: MLPConfig): Record<string, [number, number]> {
  const layers: Record<string, [number, number]> = {
    "time_embedding.linear_1": [width, width],
    "time_embedding.linear_2": [width, width],
    linear_in: [dim * (1 + 2 * frequencies), width],
  };
  for (let k = 0; k < depth; k++) {
    for (const name of ["linear_1", "time_emb_proj", "linear_2"]) {
      layers[`blocks.${k}.${name}`] = [width, width];
    }
  }
  layers.linear_out = [width, dim];
  return layers;
}

/**
 * Evalúa la red.
 *
 * @param config su forma.
 * @param weights sus pesos.
 * @param x x_t, una muestra detrás de otra.
 * @param times el instante de cada una, o uno para todas.
 * @returns su respuesta y la vuelta, que de la derivada de la respuesta da las de los pesos.
 */
export function mlp(
  config: MLPConfig,
  weights: Weights,
  x: Values,
  times: readonly number[],
): [Values, (slope: Values) => Weights] {
  const { dim, width, depth, timesteps, frequencies } = config;
  const slopes: Weights = {};
  const linear = (name: string, input: Values): Pulled => {
    const [weight, bias] = [weights[`${name}.weight`]!, weights[`${name}.bias`]!];
    const [outputs, inputs] = [bias.length, weight.length / bias.length];
    const rows = input.length / inputs;
    const value = product(input, weight, rows, outputs, inputs);
    for (let k = 0; k < value.length; k++) value[k]! += bias[k % outputs]!;
    const back = (slope: Values) => {
      const across = transposed(slope, rows, outputs);
      const inside = transposed(input, rows, inputs);
      slopes[`${name}.weight`] = product(across, inside, outputs, inputs, rows);
      slopes[`${name}.bias`] = summed(slope, outputs);
      return product(slope, transposed(weight, outputs, inputs), rows, inputs, outputs);
    };
    return [value, back];
  };

  const instants = times.map((time) => (time * 1000) / timesteps);
  const [first, firstBack] = linear(
    "time_embedding.linear_1",
    sinusoidalEmbedding(instants, width),
  );
  const [active, activeBack] = silu(first);
  const [embedding, embeddingBack] = linear("time_embedding.linear_2", active);
  const [moved, movedBack] = silu(embedding);

  let [h, inBack] = linear("linear_in", fourierFeatures(x, dim, frequencies));
  const blocks: ((slope: Values, onTime: Values) => Values)[] = [];
  for (let k = 0; k < depth; k++) {
    const [lit, litBack] = silu(h);
    const [inner, innerBack] = linear(`blocks.${k}.linear_1`, lit);
    const [shift, shiftBack] = linear(`blocks.${k}.time_emb_proj`, moved);
    for (let i = 0; i < inner.length; i++) inner[i]! += shift[i % shift.length]!;
    const [bright, brightBack] = silu(inner);
    const [added, addedBack] = linear(`blocks.${k}.linear_2`, bright);
    h = added.map((value, i) => value + h[i]!);
    blocks.push((slope, onTime) => {
      const deep = brightBack(addedBack(slope));
      const time = shiftBack(summed(deep, shift.length));
      for (let i = 0; i < onTime.length; i++) onTime[i]! += time[i]!;
      const through = litBack(innerBack(deep));
      return slope.map((value, i) => value + through[i]!);
    });
  }
  const [last, lastBack] = silu(h);
  const [output, outputBack] = linear("linear_out", last);

  const back = (slope: Values): Weights => {
    const onTime = new Float32Array(moved.length);
    let onward = lastBack(outputBack(slope));
    for (const block of [...blocks].reverse()) onward = block(onward, onTime);
    inBack(onward);
    firstBack(activeBack(embeddingBack(movedBack(onTime))));
    return slopes;
  };
  return [output, back];
}

/** SiLU(x) = x σ(x). */
function silu(x: Values): Pulled {
  const gate = x.map((value) => 1 / (1 + Math.exp(-value)));
  const value = x.map((each, k) => each * gate[k]!);
  const back = (slope: Values) =>
    slope.map((each, k) => each * (gate[k]! + value[k]! * (1 - gate[k]!)));
  return [value, back];
}

// --- Las cuentas con matrices ---------------------------------------------------------------------

/**
 * A Bᵀ, con A de `rows` filas, B de `columns` y las dos de `inner` columnas.
 *
 * De dos en dos filas de cada una: cada número que se lee se usa dos veces.
 */
export function product(
  a: Values,
  b: Values,
  rows: number,
  columns: number,
  inner: number,
): Values {
  const result = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i += 2) {
    const [a0, a1] = [i * inner, Math.min(i + 1, rows - 1) * inner];
    for (let j = 0; j < columns; j += 2) {
      const [b0, b1] = [j * inner, Math.min(j + 1, columns - 1) * inner];
      let s00 = 0;
      let s01 = 0;
      let s10 = 0;
      let s11 = 0;
      for (let k = 0; k < inner; k++) {
        const x = a[a0 + k]!;
        const y = a[a1 + k]!;
        const u = b[b0 + k]!;
        const v = b[b1 + k]!;
        s00 += x * u;
        s01 += x * v;
        s10 += y * u;
        s11 += y * v;
      }
      const place = i * columns + j;
      result[place] = s00;
      if (j + 1 < columns) result[place + 1] = s01;
      if (i + 1 < rows) {
        result[place + columns] = s10;
        if (j + 1 < columns) result[place + columns + 1] = s11;
      }
    }
  }
  return result;
}

function transposed(a: Values, rows: number, columns: number): Values {
  const result = new Float32Array(a.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result[j * rows + i] = a[i * columns + j]!;
  }
  return result;
}

/** La suma de trozos seguidos de `size` valores. */
function summed(a: Values, size: number): Values {
  const total = new Float64Array(size);
  for (let k = 0; k < a.length; k++) total[k % size]! += a[k]!;
  return Float32Array.from(total);
}
