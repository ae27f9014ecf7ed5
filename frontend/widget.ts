/** Lo que comparten los widgets: su aspecto, sus mandos y lo que se dice a quien no ve la pantalla. */

import { type CSSResultGroup, css, html, LitElement, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";

/** Cuánto se espera, en milisegundos, a que un mando se quede quieto para decir su valor. */
const STILL = 500;
/** Lo más ancha que se dibuja una gráfica, en píxeles. */
const WIDEST = 640;

/** Lo que necesita un mando deslizante. */
export interface Slider {
  label: string | TemplateResult;
  /** Cómo se llama en voz alta, si no es lo que se ve. */
  name?: string;
  /** Cómo se lee el valor. */
  text: string;
  value: number;
  min: number;
  max: number;
  step?: number;
  onInput: (value: number) => void;
}

/** Un mando deslizante, con su nombre delante y su valor detrás. */
export function slider({
  label,
  name,
  text,
  value,
  min,
  max,
  step = 1,
  onInput,
}: Slider): TemplateResult {
  const input = (event: Event) => onInput((event.target as HTMLInputElement).valueAsNumber);
  // Con mayúsculas, las flechas van de diez en diez.
  const hurry = (event: KeyboardEvent) => {
    const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!event.shiftKey || way === undefined) return;
    event.preventDefault();
    onInput(Math.max(min, Math.min(max, Number((value + 10 * step * way).toFixed(6)))));
  };
  return html`<label class="mando">
    <span class="mando__nombre">${label}</span>
    <span class="mando__barra">
      <input
        type="range"
        min=${min}
        max=${max}
        step=${step}
        .value=${String(value)}
        aria-label=${name ?? label}
        aria-valuetext=${text}
        @input=${input}
        @keydown=${hurry}
      />
      <span class="mando__valor">${text}</span>
    </span>
  </label>`;
}

/** Una elección entre unas pocas cosas, por sus botones de radio. */
export function choice(
  legend: string,
  options: readonly (readonly [string, string])[],
  chosen: string,
  onChoose: (value: string) => void,
): TemplateResult {
  return html`<fieldset class="eleccion">
    <legend>${legend}</legend>
    ${options.map(
      ([value, text]) => html`<label>
        <input
          type="radio"
          name=${legend}
          .value=${value}
          .checked=${value === chosen}
          @change=${() => onChoose(value)}
        />
        <span>${text}</span>
      </label>`,
    )}
  </fieldset>`;
}

/**
 * Una caja para una semilla. A quien escribe otra cosa se le dice, y queda la que había.
 *
 * @param onProblem recibe lo que hay que decir; nada, si la semilla vale.
 */
export function seedBox(
  label: string,
  seed: number,
  onChange: (seed: number) => void,
  onProblem: (problem: string) => void,
): TemplateResult {
  const change = (event: Event) => {
    const box = event.target as HTMLInputElement;
    const typed = box.valueAsNumber;
    const fits = Number.isSafeInteger(typed) && typed >= 0;
    onProblem(
      fits
        ? ""
        : `La semilla tiene que ser un entero, de 0 a ${Number.MAX_SAFE_INTEGER}. Sigue la ${seed}.`,
    );
    if (fits) onChange(typed);
    else box.value = String(seed);
  };
  return html`<label class="campo semilla">
    ${label}
    <input
      type="number"
      min="0"
      max=${Number.MAX_SAFE_INTEGER}
      .value=${String(seed)}
      @change=${change}
    />
  </label>`;
}

/** Un botón, que apagado sigue en su sitio para quien va con el teclado. */
export function button(
  text: string,
  enabled: boolean,
  onPress: () => void,
  kind = "",
): TemplateResult {
  return html`<button
    class="boton ${kind}"
    type="button"
    aria-disabled=${!enabled}
    @click=${() => {
      if (enabled) onPress();
    }}
  >
    ${text}
  </button>`;
}

/** Algo que se enciende y se apaga. */
export function toggle(text: string, on: boolean, set: (on: boolean) => void): TemplateResult {
  return html`<label class="boton">
    <input
      type="checkbox"
      .checked=${on}
      @change=${(event: Event) => set((event.target as HTMLInputElement).checked)}
    />
    &nbsp;${text}
  </label>`;
}

/** La base de todos los widgets. */
export abstract class Widget extends LitElement {
  /** Dónde están los datos que le deja la construcción, si los necesita. */
  @property() data = "";

  /** Qué se puede probar con él. */
  @property() label = "";

  /** El ancho que hay para dibujar, en píxeles: así la letra de una gráfica no encoge con ella. */
  @state() protected room = WIDEST;

  private readonly fitting = new ResizeObserver(([entry]) => {
    if (entry) this.room = Math.min(WIDEST, Math.round(entry.contentRect.width));
  });
  private waiting = 0;
  /** Lo último que se ha pensado decir. */
  private said = "";

  static override styles: CSSResultGroup = css`
    :host {
      display: block;
      font-family: var(--dl-sans);
      font-size: 0.72rem;
      line-height: 1.5;
      color: var(--md-default-fg-color);
      border: 1px solid var(--dl-linea);
      border-radius: 0.4rem;
      background: var(--dl-suave);
      padding: 0.8rem;
    }
    section {
      display: grid;
      grid-template-columns: minmax(0, 1fr);
      gap: 0.8rem;
    }
    .fila {
      display: flex;
      flex-wrap: wrap;
      gap: 0.6rem 1.2rem;
      align-items: center;
    }
    .ordenes {
      gap: 0.5rem;
    }
    .mando {
      display: flex;
      flex-wrap: wrap;
      column-gap: 0.7rem;
      align-items: center;
      flex: 1 1 14rem;
    }
    /* Un nombre largo deja la barra para la línea siguiente. */
    .mando__barra {
      display: flex;
      flex: 1 1 10rem;
      gap: 0.7rem;
      align-items: center;
    }
    .mando__valor {
      min-width: 3.2em;
      font-variant-numeric: tabular-nums;
      text-align: right;
    }
    .prueba {
      margin: 0;
      font-weight: 600;
    }
    /* Lo que recibe el foco no queda debajo de la cabecera, que no se mueve. */
    input,
    button,
    select,
    summary,
    [tabindex] {
      scroll-margin-block: 4rem 1rem;
    }
    /* En una pantalla pequeña, con lo que se mueve se ve también lo que cambia debajo. */
    @media (max-width: 36em) {
      input,
      button,
      select,
      [tabindex] {
        scroll-margin-block: 4rem min(45vh, 20rem);
      }
    }
    input[type="range"] {
      flex: 1;
      min-width: 0;
      width: 100%;
      min-height: 24px;
      margin: 0;
      accent-color: var(--md-accent-fg-color);
      cursor: pointer;
    }
    input[type="text"],
    input[type="number"],
    select {
      font: inherit;
      color: inherit;
      background: var(--dl-papel);
      border: 1px solid var(--dl-linea);
      border-radius: 0.3rem;
      min-height: 28px;
      padding: 0 0.5rem;
      box-sizing: border-box;
    }
    .campo {
      display: inline-flex;
      gap: 0.5rem;
      align-items: center;
    }
    .semilla input {
      width: 7rem;
    }
    input[type="checkbox"] {
      accent-color: var(--md-accent-fg-color);
    }
    .eleccion {
      min-width: 0;
      display: flex;
      flex-wrap: wrap;
      gap: 0.35rem;
      align-items: center;
      border: 0;
      margin: 0;
      padding: 0;
    }
    .eleccion legend {
      float: left;
      padding: 0 0.5rem 0 0;
    }
    .eleccion label,
    .boton {
      position: relative;
      display: inline-flex;
      align-items: center;
      min-height: 26px;
      padding: 0 0.7rem;
      border: 1px solid var(--dl-linea);
      border-radius: 1rem;
      background: var(--dl-papel);
      color: inherit;
      font: inherit;
      cursor: pointer;
    }
    .eleccion input {
      position: absolute;
      opacity: 0;
      pointer-events: none;
    }
    .eleccion label:has(:checked) {
      border-color: var(--md-accent-fg-color);
      box-shadow: inset 0 0 0 1px var(--md-accent-fg-color);
      font-weight: 600;
    }
    .eleccion label:has(:focus-visible),
    .boton:focus-visible,
    .boton:has(:focus-visible),
    input:focus-visible,
    select:focus-visible,
    canvas:focus-visible,
    summary:focus-visible,
    [tabindex="0"]:focus-visible {
      outline: 2px solid var(--md-accent-fg-color);
      outline-offset: 2px;
    }
    .boton[aria-disabled="true"] {
      opacity: 0.5;
      cursor: default;
    }
    .oculto {
      position: absolute;
      width: 1px;
      height: 1px;
      margin: -1px;
      overflow: hidden;
      clip-path: inset(50%);
      white-space: nowrap;
    }
    .x0 {
      color: var(--dl-x0);
    }
    .xt {
      color: var(--dl-xt);
    }
    .eps {
      color: var(--dl-eps);
    }
    .mu {
      color: var(--dl-mu);
    }
    .beta {
      color: var(--dl-beta);
    }
    i + sub {
      font-style: italic;
    }
    .rotulos {
      display: flex;
      flex-wrap: wrap;
      gap: 0.2rem 1.2rem;
      margin: 0;
    }
    .rotulos em {
      font-style: normal;
      color: var(--md-default-fg-color);
    }
    .rotulos span::before {
      content: "";
      display: inline-block;
      width: 1rem;
      height: 0.2rem;
      margin-right: 0.4rem;
      vertical-align: middle;
      background: currentColor;
    }
    .cuentas {
      font-size: 0.82rem;
      font-variant-numeric: tabular-nums;
      text-align: center;
      margin: 0;
    }
    .aviso {
      margin: 0;
      color: var(--md-accent-fg-color);
    }
    svg {
      display: block;
      width: 100%;
      height: auto;
    }
    @media (pointer: coarse) {
      .boton,
      .eleccion label,
      summary,
      input[type="range"],
      input[type="text"],
      input[type="number"],
      select {
        min-height: 40px;
      }
      summary {
        align-content: center;
      }
    }
    @media print {
      :host {
        display: none;
      }
    }
  `;

  /** Lo que se ve. */
  protected abstract view(): TemplateResult;

  /** Lo que se le dice a quien no ve la pantalla, cuando todo se queda quieto. */
  protected abstract spoken(): string;

  override render(): TemplateResult {
    return html`<section aria-labelledby=${this.label ? "prueba" : nothing}>
      ${this.label ? html`<p class="prueba" id="prueba">${this.label}</p>` : ""}
      ${this.view()}
      <p class="oculto voz" role="status"></p>
    </section>`;
  }

  protected override updated(): void {
    const text = this.spoken();
    // Lo que sigue igual no vuelve a esperar.
    if (text === this.said) return;
    this.said = text;
    window.clearTimeout(this.waiting);
    this.waiting = window.setTimeout(() => {
      const place = this.renderRoot.querySelector(".voz");
      if (place) place.textContent = text;
    }, STILL);
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.fitting.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.fitting.disconnect();
    window.clearTimeout(this.waiting);
    this.said = "";
  }
}
