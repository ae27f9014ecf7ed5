/** Los mandos del plano: qué red guía, hacia dónde se va y cómo. */

import { html, type TemplateResult } from "lit";
import { comma } from "../numbers";
import { SAMPLER_OPTIONS } from "../samplers";
import { button, choice, slider } from "../widget";
import type { Shown } from "./address";
import { type Journey, SETUP } from "./journey";
import type { Lessons } from "./lessons";

/** Lo que se puede hacer con la red que aprende. */
export interface Tutor {
  /** Que guíe la ideal, o la que aprende aquí. */
  hire: (kind: string) => void;
  teach: () => void;
  leave: () => void;
}

/**
 * Qué red guía y, si aprende aquí, cómo va.
 *
 * @param told cómo va, en una frase.
 * @param ready si hay datos que aprender.
 */
export function guideView(
  lessons: Lessons,
  told: string,
  ready: boolean,
  tutor: Tutor,
): TemplateResult {
  const order = lessons.progress ? "Seguir entrenando" : "Entrenar";
  const learning = () => html`<div class="fila">
      ${lessons.going ? button("Dejar de entrenar", true, tutor.leave) : button(order, ready, tutor.teach)}
      <span class="leccion">${told}</span>
    </div>
    ${curveView(lessons)}`;
  return html`
    ${choice(
      "Red:",
      [
        ["ideal", "la ideal"],
        ["aprende", "una que aprende aquí"],
      ],
      lessons.weights ? "aprende" : "ideal",
      tutor.hire,
    )}
    ${lessons.weights ? learning() : ""}
  `;
}

/** La pérdida según aprende, y a trazos la de la red ideal. */
function curveView({ curve, progress }: Lessons): TemplateResult | string {
  if (!progress || curve.length < 2) return "";
  const [low, high] = [Math.min(progress.floor, ...curve), Math.max(...curve)];
  const y = (loss: number) => 42 - (40 * (loss - low)) / (high - low || 1);
  const line = curve.map((loss, k) => `${(200 * k) / (curve.length - 1)},${y(loss)}`).join(" ");
  return html`<svg class="curva" viewBox="0 0 200 44" aria-hidden="true">
    <line x1="0" x2="200" y1=${y(progress.floor)} y2=${y(progress.floor)}></line>
    <polyline points=${line}></polyline>
  </svg>`;
}

/** Hacia dónde van las partículas. */
export function directionView(
  direction: Journey["direction"],
  choose: (direction: Journey["direction"]) => void,
): TemplateResult {
  return choice(
    "Camino:",
    [
      ["reverse", "del ruido a los datos"],
      ["forward", "de los datos al ruido"],
    ],
    direction,
    (way) => choose(way as Journey["direction"]),
  );
}

/** Con qué sampler se vuelve y en cuántos pasos, y cuál corre al lado. */
export function samplingView(
  { sampler, rival, steps, eta }: Shown,
  change: (changes: Partial<Shown>) => void,
): TemplateResult {
  return html`
    ${choice("Sampler:", SAMPLER_OPTIONS, sampler, (name) => change({ sampler: name }))}
    ${choice("Al lado:", [["", "nada"], ...SAMPLER_OPTIONS], rival, (name) => change({ rival: name }))}
    ${slider({
      label: "pasos",
      text: String(steps),
      value: steps,
      min: 1,
      max: SETUP.timesteps,
      onInput: (many) => change({ steps: many }),
    })}
    ${
      [sampler, rival].includes("ddim")
        ? slider({
            label: html`<i>η</i>`,
            name: "η",
            text: comma(eta, 1),
            value: eta,
            min: 0,
            max: 1,
            step: 0.1,
            onInput: (value) => change({ eta: value }),
          })
        : ""
    }
  `;
}
