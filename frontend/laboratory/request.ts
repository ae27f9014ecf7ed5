/** Qué se pide a una red que viene entrenada. */

import { greyscale, lowResolution } from "../ddpm_lit/data/conditions";
import { type Known, noisedLevels, repaintPath } from "../ddpm_lit/editing";
import type { Spacing } from "../ddpm_lit/scheduler";
import { comma, plural } from "../numbers";

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
  /** Si parte de una imagen: qué ve de ella, y una con que empezar, de 0 a 255. */
  image: { kind: "low_resolution" | "greyscale"; factor: number; example: number[] } | null;
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
 * Qué camino se recorre: el de siempre, rellenar un hueco, rehacer una imagen, partir de entre el
 * ruido de la semilla y el de otra, o el de siempre viendo una imagen.
 */
export type Edit =
  | { kind: "whole" }
  | ({ kind: "inpaint" } & Known)
  | { kind: "redraw"; initial: Float32Array; strength: number }
  | { kind: "between"; seed: number; fraction: number }
  | { kind: "image"; image: Float32Array };

/** Un camino, sin lo que se ha pintado. */
export type Outline =
  | { kind: "whole" }
  | { kind: "image" }
  | { kind: "inpaint"; jump: number; resamplings: number }
  | { kind: "redraw"; strength: number }
  | { kind: "between"; seed: number; fraction: number };

/** La imagen de que se parte, si se parte de alguna. */
export function pictureOf(edit: Edit): Float32Array | null {
  if (edit.kind === "inpaint") return edit.known;
  if (edit.kind === "redraw") return edit.initial;
  return edit.kind === "image" ? edit.image : null;
}

/** Lo que ve de una imagen (C, H, W) una red que parte de ella, y con cuántos canales. */
export function seenOf(network: Network, image: Float32Array): [Float32Array, number] {
  const { shape, image: condition } = network;
  if (condition?.kind === "greyscale") return [greyscale(image), 1];
  return [lowResolution(image, shape, condition?.factor ?? 1), shape[0]];
}

/** Cuántos pasos da un camino. */
export function lengthOf(edit: Outline, steps: number): number {
  if (edit.kind === "inpaint") return repaintPath(steps, edit.jump, edit.resamplings).length;
  return edit.kind === "redraw" ? noisedLevels(steps, edit.strength) : steps;
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

/** Lo que se pidió, en una línea, para ponerlo al pie. */
export function summaryOf(
  settings: Settings,
  network: Network,
  edit: Edit,
  sampler: string,
): string {
  const name = network.classes[settings.label];
  const asked = name ? `clase ${name}` : settings.text.trim() && `«${settings.text}»`;
  const eta =
    settings.sampler === "ddim" && settings.eta > 0 ? `η = ${comma(settings.eta, 1)}` : "";
  const given = lengthOf(edit, settings.steps);
  const long = given === settings.steps ? "" : `, de los que se dan ${given}`;
  const repeated = given > settings.steps ? ` (${given} con las repeticiones)` : long;
  const parts = [
    asked,
    edit.kind === "inpaint" ? "hueco rellenado" : "",
    edit.kind === "redraw" ? `dibujo rehecho al ${comma(100 * edit.strength, 0)} %` : "",
    edit.kind === "between"
      ? `de la semilla ${settings.seed} a la ${edit.seed}, al ${comma(100 * edit.fraction, 0)} % del camino`
      : `semilla ${settings.seed}`,
    `${sampler}, ${plural(settings.steps, "paso", "pasos")}${repeated}`,
    eta,
    network.image ? "" : `w = ${comma(settings.guidance, 1)}`,
    settings.rescale > 0 ? `φ = ${comma(settings.rescale, 1)}` : "",
  ];
  return parts.filter(Boolean).join("; ");
}
