/** Los mandos con que se dice qué se quiere: la frase o la clase, y cómo se genera. */

import { html, type TemplateResult } from "lit";
import { nullTokens, tokenize } from "../ddpm_lit/conditioning";
import { comma } from "../numbers";
import { SAMPLER_OPTIONS } from "../samplers";
import { choice, slider } from "../widget";
import type { Network, Settings } from "./request";

/** Cuántas palabras se ofrecen al escribir. */
const OFFERED = 8;
/** Un emoji u otro símbolo, que la red no sabe leer. */
const SYMBOL = /[\p{So}\p{Me}]/u;
/** Cuántos pasos se ofrecen, si nadie ha pedido más. */
const STEPS = 200;

type Change = (changes: Partial<Settings>) => void;

/** El símbolo que hay en la frase, si hay alguno y la red lee frases. */
export function symbolIn({ vocabulary }: Network, { text }: Settings): string | undefined {
  return vocabulary.length > 0 ? text.match(SYMBOL)?.[0] : undefined;
}

/** Lo que se le pide a la red: una frase o una clase; a algunas, ninguna de las dos. */
export function wantedView(
  network: Network,
  settings: Settings,
  change: Change,
  onEnter: () => void,
): TemplateResult | string {
  if (network.vocabulary.length > 0) return phraseView(network, settings, change, onEnter);
  if (network.classes.length === 0) return "";
  return html`<label class="campo">
    Clase
    <select
      .value=${String(settings.label)}
      @change=${(event: Event) => change({ label: Number((event.target as HTMLSelectElement).value) })}
    >
      ${network.classes.map(
        (title, k) => html`<option value=${k} ?selected=${k === settings.label}>${title}</option>`,
      )}
    </select>
  </label>`;
}

/** La caja de la frase, que completa la última palabra con las que la red conoce. */
function phraseView(
  { vocabulary, examples }: Network,
  { text }: Settings,
  change: Change,
  onEnter: () => void,
): TemplateResult {
  const last = text.split(/\s+/).at(-1)?.toLowerCase() ?? "";
  const before = text.slice(0, text.length - last.length);
  const offered = last ? vocabulary.filter((word) => word.startsWith(last)).slice(0, OFFERED) : [];
  const options = offered.length > 0 ? offered.map((word) => before + word) : examples;
  return html`<label class="campo frase">
    Frase
    <input
      type="text"
      list="palabras"
      autocomplete="off"
      maxlength="120"
      .value=${text}
      @input=${(event: Event) => change({ text: (event.target as HTMLInputElement).value })}
      @keydown=${(event: KeyboardEvent) => {
        if (event.key === "Enter") onEnter();
      }}
    />
    <datalist id="palabras">
      ${options.map((text) => html`<option value=${text}></option>`)}
    </datalist>
  </label>`;
}

/** Lo que la red no entiende de la frase. */
export function unknownView(network: Network, settings: Settings): TemplateResult | string {
  if (network.vocabulary.length === 0) return "";
  if (settings.text.trim() === "") {
    return html`<p class="consejo">Sin frase, la red dibuja lo que le parezca.</p>`;
  }
  try {
    const { tokens, unknown } = tokenize(settings.text, network.vocabulary, network.textLength);
    if (unknown.length === 0) return "";
    if (tokens.join() === nullTokens(network.textLength).join()) {
      return html`<p class="aviso">La red no conoce ninguna de estas palabras: es como no escribir nada.</p>`;
    }
    const listed = unknown.map((word) => `«${word}»`).join(", ");
    return html`<p class="aviso">
      La red no conoce ${listed}: lee solo las demás. Conoce ${network.vocabulary.length} palabras.
    </p>`;
  } catch (error) {
    return html`<p class="aviso">${(error as Error).message}</p>`;
  }
}

/** Cómo se genera: el sampler, cuántas muestras, cuántos pasos y cuánto se guía. */
export function samplingView(network: Network, settings: Settings, change: Change): TemplateResult {
  return html`<details>
    <summary>Cómo se genera</summary>
    <div>
      ${choice("Sampler:", SAMPLER_OPTIONS, settings.sampler, (sampler) => change({ sampler }))}
      <div class="fila">
        ${slider({
          label: "muestras",
          text: String(settings.count),
          value: settings.count,
          min: 1,
          max: 9,
          onInput: (count) => change({ count }),
        })}
        ${slider({
          label: "pasos",
          text: String(settings.steps),
          value: settings.steps,
          min: 1,
          max: Math.min(Math.max(STEPS, settings.steps), network.timesteps),
          onInput: (steps) => change({ steps }),
        })}
        ${network.image ? "" : guidanceView(settings, change)}
        ${
          settings.sampler === "ddim"
            ? slider({
                label: html`<i>η</i>`,
                name: "η",
                text: comma(settings.eta, 1),
                value: settings.eta,
                min: 0,
                max: 1,
                step: 0.1,
                onInput: (eta) => change({ eta }),
              })
            : ""
        }
      </div>
    </div>
  </details>`;
}

/** Cuánto se guía; las redes que parten de una imagen no se entrenan sin ella, y no se guían. */
function guidanceView({ guidance, rescale }: Settings, change: Change): TemplateResult {
  return html`
    ${slider({
      label: html`guía, <i>w</i>`,
      name: "guía",
      text: comma(guidance, 1),
      value: guidance,
      min: Math.min(0, guidance),
      max: Math.max(8, guidance),
      step: 0.5,
      onInput: (guidance) => change({ guidance }),
    })}
    ${slider({
      label: html`guía reescalada, <i>φ</i>`,
      name: "guía reescalada",
      text: comma(rescale, 1),
      value: rescale,
      min: 0,
      max: 1,
      step: 0.1,
      onInput: (rescale) => change({ rescale }),
    })}
  `;
}
