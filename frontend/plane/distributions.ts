/** Los datos del plano: unos con nombre, y los que dibuja quien mira. */

/** El plano que se ve va de -EDGE a EDGE. */
export const EDGE = 2.2;
/** Los datos que dibuja quien mira, y cuántos caben. */
export const DRAWN = "dibujo";
export const MOST = 600;
/** Cada coordenada de un dibujo es un byte: así cabe en la dirección y se repite igual. */
const LEVELS = 255;
/** A qué distancia queda cada punto dibujado del anterior. */
const APART = 0.035;

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
    // Cada grupo se llena en espiral, como las pipas de un girasol.
    place: (u, k) => {
      const [group, angle] = [(turn * (k % 8)) / 8, 2.4 * Math.floor(k / 8)];
      const radius = 0.16 * Math.sqrt(u);
      return [
        Math.cos(group) + radius * Math.cos(angle),
        Math.sin(group) + radius * Math.sin(angle),
      ];
    },
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

/** La coordenada de un dibujo, como va en la dirección. */
export function toByte(x: number): number {
  return Math.round(((x / EDGE + 1) / 2) * LEVELS);
}

/** La coordenada que dice un byte. */
export function fromByte(byte: number): number {
  return EDGE * ((2 * byte) / LEVELS - 1);
}

/** Unos datos con un punto más, y con los que hagan falta desde el anterior si el trazo sigue. */
export function dotted(
  points: Float32Array,
  [x, y]: readonly [number, number],
  joined: boolean,
): Float32Array {
  const [fromX, fromY] = [points.at(-2) ?? x, points.at(-1) ?? y];
  const far = Math.hypot(x - fromX, y - fromY);
  if (points.length > 0 && far < APART) return points;
  const count = joined ? Math.max(1, Math.round(far / APART)) : 1;
  const added: number[] = [];
  for (let k = 1; k <= count && points.length + added.length < 2 * MOST; k++) {
    const part = k / count;
    added.push(fromX + part * (x - fromX), fromY + part * (y - fromY));
  }
  return Float32Array.of(...points, ...added.map((x) => fromByte(toByte(x))));
}
