/**
 * De dónde sale el azar: el gemelo de `ddpm_lit.noise`.
 *
 * Cada número es función de una clave (la semilla) y de su sitio (el sorteo y el índice de la
 * muestra), así que la muestra 7 de la semilla 0 es la misma aquí, en una CPU y en una GPU. El
 * generador es Philox 4×32-10 (Salmon et al. 2011); las normales, de Box y Muller en float32.
 */

/** Para qué se usa el azar: cada uso tiene su secuencia, aunque la semilla coincida. */
export const Stream = { TRAINING: 0, SAMPLING: 1, ORDER: 2, LAYERS: 3, TIMES: 5 } as const;

export type Words = [number, number, number, number];

/** Los 32 bits altos del producto de dos palabras sin signo. */
function multiplyHigh(a: number, b: number): number {
  const [a0, a1] = [a & 0xffff, a >>> 16];
  const [b0, b1] = [b & 0xffff, b >>> 16];
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const carry = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000)) >>> 0;
}

/** Philox 4×32-10: las cuatro palabras, sin signo, de un contador y una clave de dos. */
export function philox(counter: Words, key: readonly [number, number]): Words {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let done = 0; done < 10; done++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const [low0, low1] = [Math.imul(0xd2511f53, c0), Math.imul(0xcd9e8d57, c2)];
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c1 = low1 >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** De una palabra de 32 bits a un uniforme en (0, 1], float32. */
export function uniform(word: number): number {
  return Math.fround(word + 1) * 2 ** -32;
}

const TURN = Math.fround(2 * Math.PI);

/** Dos normales independientes de dos uniformes en (0, 1] (Box y Muller 1958). */
export function boxMuller(u: number, v: number): [number, number] {
  const radius = Math.fround(Math.sqrt(-2 * Math.fround(Math.log(u))));
  const angle = Math.fround(TURN * v);
  return [Math.fround(radius * Math.cos(angle)), Math.fround(radius * Math.sin(angle))];
}

/** La clave de una semilla de 64 bits: sus 32 bits bajos y sus 32 bits altos. */
export function seedKey(seed: number | bigint): [number, number] {
  const whole = BigInt(seed);
  if (whole < 0n || whole >= 1n << 64n) {
    throw new RangeError(`La semilla debe estar entre 0 y 2**64 - 1 y ha llegado ${seed}.`);
  }
  return [Number(whole & 0xffffffffn), Number(whole >> 32n)];
}

/**
 * El ruido normal estándar de un sorteo.
 *
 * @param seed la semilla.
 * @param stream para qué se va a usar.
 * @param number el paso o el número de sorteo, desde 0.
 * @param indices el índice de cada muestra.
 * @param size cuántos valores tiene una muestra.
 * @returns las normales, una muestra detrás de otra.
 */
export function normals(
  seed: number | bigint,
  stream: number,
  number: number,
  indices: readonly number[],
  size: number,
): Float32Array {
  const key = seedKey(seed);
  const values = new Float32Array(indices.length * size);
  indices.forEach((index, row) => {
    for (let first = 0; first < size; first += 4) {
      const [w0, w1, w2, w3] = philox([first / 4, number, index, stream], key);
      const four = [...boxMuller(uniform(w0), uniform(w1)), ...boxMuller(uniform(w2), uniform(w3))];
      for (let k = 0; k < 4 && first + k < size; k++) values[row * size + first + k] = four[k]!;
    }
  });
  return values;
}

/** La primera palabra del bloque 0 de un ejemplo; como `normals`. */
export function firstWord(
  seed: number | bigint,
  stream: number,
  number: number,
  index: number,
): number {
  return philox([0, number, index, stream], seedKey(seed))[0];
}

/** El ruido de la generación: primero x_T y después, cada vez que se pide, otro z. */
export function* samplingNoise(
  seed: number | bigint,
  indices: readonly number[],
  size: number,
): Generator<Float32Array, never> {
  for (let number = 0; ; number++) yield normals(seed, Stream.SAMPLING, number, indices, size);
}
