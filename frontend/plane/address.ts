/** Lo que se ha elegido en el plano, en la dirección de la página. */

import { SAMPLERS } from "../ddpm_lit/sampling";
import { DISTRIBUTIONS, DRAWN, dataOf, EDGE, fromByte, MOST, toByte } from "./distributions";
import { type Journey, SETUP } from "./journey";

/** Lo que se ha elegido en el plano. */
export interface Shown {
  distribution: string;
  points: Float32Array;
  sampler: string;
  rival: string;
  steps: number;
  eta: number;
  direction: Journey["direction"];
  /** De dónde sale la partícula que alguien ha soltado, si ha soltado alguna. */
  launched: Float32Array | null;
}

/** Lo que hay al abrir la página. */
export const USUAL: Omit<Shown, "points" | "launched"> = {
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
  if (shown.launched)
    query.set("particula", Array.from(shown.launched, (x) => x.toFixed(2)).join("_"));
  note("camino", shown.direction === "forward" ? "ida" : "vuelta", "vuelta");
  return query.size > 0 ? `?${query}` : "";
}

/** Lo que pide una dirección, y lo que hay en ella que no se puede pedir. */
export function fromAddress(address: string): { shown: Shown; problems: string[] } {
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
  const distribution = read(
    "datos",
    USUAL.distribution,
    known([...DISTRIBUTIONS.map(([name]) => name), DRAWN]),
  );
  const points =
    distribution === DRAWN ? read("puntos", new Float32Array(), unpacked) : dataOf(distribution);
  const way = read("camino", "vuelta", known(["ida", "vuelta"]));
  const shown: Shown = {
    distribution,
    points,
    sampler: read("sampler", USUAL.sampler, known(Object.keys(SAMPLERS))),
    rival: read("al-lado", USUAL.rival, known(["", ...Object.keys(SAMPLERS)])),
    steps: read("pasos", USUAL.steps, between(1, SETUP.timesteps, true)),
    eta: read("eta", USUAL.eta, between(0, 1, false)),
    direction: way === "ida" ? "forward" : "reverse",
    launched: read<Float32Array | null>("particula", null, placed),
  };
  return { shown, problems };
}

/** De dónde sale una partícula que se suelta: en centésimas, para que quepa en la dirección. */
export function launchedAt(place: readonly [number, number]): Float32Array {
  return Float32Array.from(place, (x) => Math.round(100 * x) / 100);
}

/** Unos puntos en letras, con un byte por coordenada. */
function packed(points: Float32Array): string {
  const bytes = Array.from(points, toByte);
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
    return Float32Array.from(bytes, (byte) => fromByte(byte.charCodeAt(0)));
  } catch {
    return undefined;
  }
}

/** El sitio de una partícula, si son dos coordenadas del plano. */
function placed(text: string): Float32Array | undefined {
  const place = text.split("_").map((part) => (part === "" ? Number.NaN : Number(part)));
  const fits = place.length === 2 && place.every((x) => Math.abs(x) <= EDGE);
  return fits ? launchedAt([place[0]!, place[1]!]) : undefined;
}
