/** Lo que se pide, en la dirección de la página y en la orden de la terminal. */

import { SAMPLERS } from "../ddpm_lit/sampling";
import { type Network, type Outline, type Settings, usual } from "./request";

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
export function toAddress(settings: Settings, network: Network, edit: Outline): string {
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
  if (asked !== null && network.name !== asked) problems.push(`no hay ninguna red «${asked}»`);
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
  if (network.image && settings.guidance !== 0) {
    problems.push("una red que parte de una imagen no se puede guiar");
    settings.guidance = 0;
  }
  const [seed, fraction] = [query.get("hacia"), Number(query.get("tramo") || Number.NaN)];
  let walk: Walk | null = null;
  if (seed !== null) {
    const whole = seed !== "" && Number.isSafeInteger(Number(seed)) && Number(seed) >= 0;
    if (network.image) problems.push("una red que parte de una imagen no anda entre semillas");
    else if (whole && fraction >= 0 && fraction <= 1) walk = { seed: Number(seed), fraction };
    else if (!whole)
      problems.push(
        `«hacia» vale «${seed}» y tiene que ser una semilla, un entero de 0 en adelante`,
      );
    else problems.push(told(query.get("tramo")));
  }
  return { settings, walk, problems };
}

function told(fraction: string | null): string {
  if (!fraction) return "falta «tramo», que va de 0 a 1";
  return `«tramo» vale «${fraction}» y va de 0 a 1`;
}

/** Hacia qué otra semilla se va, y qué parte del camino. */
export type Walk = { seed: number; fraction: number };

/** Los ficheros con que la orden recibe lo que se ha pintado. */
export const FILES = { picture: "imagen.png", hole: "hueco.png" } as const;

/** La orden de la terminal que da las mismas muestras. */
export function toCommand(settings: Settings, network: Network, edit: Outline): string {
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
  if (!network.image) parts.push("--guidance", String(settings.guidance));
  if (settings.guidance !== 0 && settings.rescale > 0) {
    parts.push("--guidance-rescale", String(settings.rescale));
  }
  if (edit.kind === "inpaint") {
    parts.push("--inpaint", FILES.picture, "--mask", FILES.hole);
    parts.push("--jump", String(edit.jump), "--resamplings", String(edit.resamplings));
  } else if (edit.kind === "redraw") {
    parts.push("--from-image", FILES.picture, "--strength", String(edit.strength));
  } else if (edit.kind === "image") {
    parts.push("--image", FILES.picture);
  }
  return parts.join(" ");
}
