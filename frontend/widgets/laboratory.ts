/** El laboratorio: las redes que vienen entrenadas, generando en la página. */

import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { tokenize } from "../ddpm_lit/conditioning";
import { SAMPLERS } from "../ddpm_lit/sampling";
import { drawPicture, type Picture } from "../drawing/pixels";
import {
  fromAddress,
  type Network,
  type Settings,
  toAddress,
  toCommand,
  usual,
} from "../laboratory";
import { comma } from "../numbers";
import { choice, slider, Widget } from "../widget";
import type { News, Order } from "../workers/laboratory";

const SAMPLER_TITLES: Readonly<Record<string, string>> = {
  ddpm: "DDPM",
  ddim: "DDIM",
  "dpm++2m": "DPM-Solver++",
  heun: "Heun",
};
/** Cuánto se amplía cada píxel al guardar. */
const ZOOM = 8;
/** Cuántas palabras se ofrecen al escribir. */
const OFFERED = 8;

type Progress =
  | { kind: "idle" }
  | { kind: "loading"; part: number }
  | { kind: "running"; paused: boolean; done: number; t: number }
  | { kind: "finished"; seconds: number };

@customElement("dl-laboratory")
export class LaboratoryWidget extends Widget {
  @state() private networks: readonly Network[] = [];
  @state() private settings: Settings | null = null;
  @state() private progress: Progress = { kind: "idle" };
  @state() private problem = "";
  @state() private note = "";
  @state() private xT: Float32Array | null = null;
  @state() private xStart: Float32Array | null = null;
  /** Lo que se pidió para lo que se está viendo. */
  private shown: Settings | null = null;
  private worker: Worker | null = null;
  private asked = 0;

  @query("canvas.actual") private actual!: HTMLCanvasElement;
  @query("canvas.estimada") private guess!: HTMLCanvasElement;

  static override styles: CSSResultGroup = [
    Widget.styles,
    css`
      .obras {
        display: grid;
        grid-template-columns: 1fr 1fr;
        gap: 1rem;
      }
      figure {
        margin: 0;
      }
      figcaption {
        text-align: center;
        margin-top: 0.3rem;
      }
      canvas {
        display: block;
        width: 100%;
        image-rendering: pixelated;
        border-radius: 0.3rem;
        background: var(--dl-papel);
        border: 1px solid var(--dl-linea);
        box-sizing: border-box;
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
      .frase {
        flex: 1 1 16rem;
        display: flex;
        gap: 0.6rem;
        align-items: center;
      }
      .frase input {
        flex: 1;
        min-width: 8rem;
      }
      .semilla input {
        width: 7rem;
      }
      .principal {
        background: var(--md-accent-fg-color);
        color: var(--md-accent-bg-color);
        border-color: var(--md-accent-fg-color);
        font-weight: 600;
      }
      .boton[disabled] {
        opacity: 0.5;
        cursor: default;
      }
      progress {
        width: 100%;
        accent-color: var(--md-accent-fg-color);
      }
      code {
        font-family: var(--md-code-font);
        background: var(--md-code-bg-color);
        padding: 0.4rem 0.6rem;
        border-radius: 0.3rem;
        overflow-wrap: anywhere;
        display: block;
      }
      details > div {
        display: grid;
        gap: 0.7rem;
        margin-top: 0.7rem;
      }
      summary {
        cursor: pointer;
        min-height: 24px;
      }
      .estado {
        margin: 0;
        min-height: 1.5em;
        font-variant-numeric: tabular-nums;
      }
    `,
  ];

  override async firstUpdated(): Promise<void> {
    try {
      const answer = await fetch(this.data);
      if (!answer.ok) throw new Error(`el servidor ha contestado ${answer.status}`);
      this.networks = (await answer.json()) as Network[];
      const { settings, problems } = fromAddress(location.search, this.networks);
      this.settings = settings;
      if (problems.length > 0) {
        this.problem = `La dirección pide algo que no puede ser: ${problems.join("; ")}. Lo demás queda como pedía.`;
      }
    } catch (error) {
      this.problem = `No ha llegado la lista de las redes (${error instanceof Error ? error.message : error}). Recargad la página.`;
    }
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.worker?.terminate();
    this.worker = null;
  }

  private get network(): Network | undefined {
    return this.networks.find(({ name }) => name === this.settings?.network);
  }

  // --- Las órdenes --------------------------------------------------------------------------------

  private order(order: Order): void {
    this.worker?.postMessage(order);
  }

  private generate(): void {
    const { network, settings } = this;
    if (!network || !settings) return;
    if (!this.worker) {
      this.worker = new Worker(new URL("./laboratory.js", import.meta.url), { type: "module" });
      this.worker.onmessage = (event: MessageEvent<News>) => this.hear(event.data);
      this.worker.onerror = (event) => {
        event.preventDefault();
        this.lose(event.message || "el hilo de cálculo se ha parado");
      };
    }
    this.asked += 1;
    this.problem = this.note = "";
    this.shown = { ...settings };
    this.progress = { kind: "loading", part: 0 };
    history.replaceState(history.state, "", toAddress(settings, network) + location.hash);
    const address = new URL(network.file, new URL(this.data, document.baseURI)).href;
    this.order({ kind: "generate", id: this.asked, network, address, settings: this.shown });
  }

  /** Algo ha fallado: se dice, y lo siguiente empieza con otro hilo. */
  private lose(reason: string): void {
    this.worker?.terminate();
    this.worker = null;
    this.progress = { kind: "idle" };
    this.problem = `No se ha podido generar: ${reason}. Podéis volver a intentarlo.`;
  }

  private hear(news: News): void {
    if (news.id !== this.asked) return;
    if (news.kind === "loading") {
      this.progress = { kind: "loading", part: news.loaded / news.total };
    } else if (news.kind === "note") {
      this.note = news.text;
    } else if (news.kind === "problem") {
      this.lose(news.text);
    } else if (news.kind === "finished") {
      this.progress = { kind: "finished", seconds: news.seconds };
    } else {
      const paused = this.progress.kind === "running" && this.progress.paused;
      this.progress = { kind: "running", paused, done: news.done, t: news.t };
      this.xT = news.xT;
      this.xStart = news.xStart;
    }
  }

  private pause(paused: boolean): void {
    if (this.progress.kind !== "running") return;
    this.order({ kind: paused ? "pause" : "resume" });
    this.progress = { ...this.progress, paused };
  }

  private stop(): void {
    this.order({ kind: "stop" });
    this.asked += 1;
    this.progress = { kind: "idle" };
  }

  private async save(): Promise<void> {
    const source = this.actual;
    const canvas = document.createElement("canvas");
    canvas.width = source.width * ZOOM;
    canvas.height = source.height * ZOOM;
    const context = canvas.getContext("2d");
    if (!context) return;
    context.imageSmoothingEnabled = false;
    context.drawImage(source, 0, 0, canvas.width, canvas.height);
    const link = document.createElement("a");
    link.href = canvas.toDataURL("image/png");
    link.download = `${this.shown?.network}-${this.shown?.seed}.png`;
    link.click();
  }

  private change(changes: Partial<Settings>): void {
    if (this.settings) this.settings = { ...this.settings, ...changes };
  }

  private chooseNetwork(name: string): void {
    const network = this.networks.find((each) => each.name === name);
    if (!network || !this.settings) return;
    this.stop();
    this.settings = { ...usual(network), seed: this.settings.seed, count: this.settings.count };
    this.xT = this.xStart = this.shown = null;
  }

  // --- Lo que se ve -------------------------------------------------------------------------------

  protected override view(): TemplateResult {
    const { network, settings } = this;
    const problem = this.problem ? html`<p class="aviso" role="alert">${this.problem}</p>` : "";
    if (!network || !settings) return html`${problem || "Cargando…"}`;
    const busy = this.progress.kind === "loading" || this.progress.kind === "running";
    const running = this.progress.kind === "running" ? this.progress : null;
    return html`
      ${choice(
        "Red:",
        this.networks.map(({ name, title }) => [name, title] as const),
        settings.network,
        (name) => this.chooseNetwork(name),
      )}
      <div class="fila">
        ${this.wanted(network, settings)}
        <label class="semilla">
          Semilla
          <input
            type="number"
            min="0"
            max=${Number.MAX_SAFE_INTEGER}
            .value=${String(settings.seed)}
            @change=${(event: Event) => {
              const seed = Math.floor((event.target as HTMLInputElement).valueAsNumber);
              this.change({ seed: Number.isSafeInteger(seed) && seed >= 0 ? seed : 0 });
            }}
          />
        </label>
      </div>
      ${this.unknown(network, settings)}
      <div class="fila">
        <button class="boton principal" type="button" ?disabled=${busy} @click=${this.generate}>
          Generar
        </button>
        <button
          class="boton"
          type="button"
          ?disabled=${!running}
          @click=${() => this.pause(!running?.paused)}
        >
          ${running?.paused ? "Seguir" : "Parar"}
        </button>
        <button
          class="boton"
          type="button"
          ?disabled=${!running?.paused}
          @click=${() => this.order({ kind: "step" })}
        >
          Un paso
        </button>
        <button class="boton" type="button" ?disabled=${!busy} @click=${this.stop}>Dejarlo</button>
        <button class="boton" type="button" ?disabled=${!this.xT} @click=${this.save}>
          Guardar PNG
        </button>
      </div>
      ${problem}
      ${this.note ? html`<p class="aviso">${this.note}</p>` : ""}
      ${this.status()}
      <div class="obras">
        <figure>
          <canvas class="actual" role="img" aria-label=${this.described("x en t")}></canvas>
          <figcaption class="xt"><i>x</i><sub>t</sub></figcaption>
        </figure>
        <figure>
          <canvas class="estimada" role="img" aria-label=${this.described("la estimación")}></canvas>
          <figcaption class="x0"><i>x̂</i><sub>0</sub></figcaption>
        </figure>
      </div>
      ${this.options(network, settings)}
      <details>
        <summary>La orden que da lo mismo</summary>
        <div><code>${toCommand(this.shown ?? settings, network)}</code></div>
      </details>
    `;
  }

  /** Lo que se le pide: una frase o una clase. */
  private wanted(network: Network, settings: Settings): TemplateResult | string {
    if (network.vocabulary.length > 0) {
      const last = settings.text.split(/\s+/).at(-1)?.toLowerCase() ?? "";
      const before = settings.text.slice(0, settings.text.length - last.length);
      const offered = last
        ? network.vocabulary.filter((word) => word.startsWith(last)).slice(0, OFFERED)
        : [];
      const options = offered.length > 0 ? offered.map((word) => before + word) : network.examples;
      return html`<label class="frase">
        Frase
        <input
          type="text"
          list="palabras"
          autocomplete="off"
          maxlength="120"
          .value=${settings.text}
          @input=${(event: Event) => this.change({ text: (event.target as HTMLInputElement).value })}
          @keydown=${(event: KeyboardEvent) => {
            if (event.key === "Enter") this.generate();
          }}
        />
        <datalist id="palabras">
          ${options.map((text) => html`<option value=${text}></option>`)}
        </datalist>
      </label>`;
    }
    if (network.classes.length === 0) return "";
    return html`<label>
      Clase
      <select
        .value=${String(settings.label)}
        @change=${(event: Event) => this.change({ label: Number((event.target as HTMLSelectElement).value) })}
      >
        ${network.classes.map(
          (title, k) =>
            html`<option value=${k} ?selected=${k === settings.label}>${title}</option>`,
        )}
      </select>
    </label>`;
  }

  private unknown(network: Network, settings: Settings): TemplateResult | string {
    if (network.vocabulary.length === 0) return "";
    try {
      const { unknown } = tokenize(settings.text, network.vocabulary, network.textLength);
      if (unknown.length === 0) return "";
      const listed = unknown.map((word) => `«${word}»`).join(", ");
      return html`<p class="aviso" role="status">
        No conoce ${listed}: lee solo las demás palabras. Conoce ${network.vocabulary.length}.
      </p>`;
    } catch (error) {
      return html`<p class="aviso" role="status">${(error as Error).message}</p>`;
    }
  }

  private status(): TemplateResult {
    const { progress } = this;
    if (progress.kind === "loading") {
      return html`<progress
        aria-label="Trayendo la red"
        max="1"
        value=${progress.part}
      ></progress>`;
    }
    return html`<p class="estado">${this.told()}</p>`;
  }

  private told(): string {
    const { progress, shown } = this;
    if (progress.kind === "running") {
      return `Paso ${progress.done} de ${shown?.steps}, t = ${progress.t + 1}${progress.paused ? " (parado)" : ""}.`;
    }
    if (progress.kind === "finished") {
      return `${shown?.count} muestras en ${shown?.steps} pasos: ${comma(progress.seconds, 1)} s en este navegador.`;
    }
    return progress.kind === "loading" ? "Trayendo la red…" : "";
  }

  private described(what: string): string {
    const { shown, network } = this;
    if (!shown || !network) return `Aquí se verá ${what}`;
    const asked = network.classes[shown.label] ?? `«${shown.text}»`;
    return `${what} de ${shown.count} muestras de ${asked}`;
  }

  private options(network: Network, settings: Settings): TemplateResult {
    const samplers = Object.keys(SAMPLERS).map((name) => [name, SAMPLER_TITLES[name]!] as const);
    return html`<details>
      <summary>Cómo se genera</summary>
      <div>
        ${choice("Sampler:", samplers, settings.sampler, (sampler) => this.change({ sampler }))}
        <div class="fila">
          ${slider({
            label: "muestras",
            text: String(settings.count),
            value: settings.count,
            min: 1,
            max: 9,
            onInput: (count) => this.change({ count }),
          })}
          ${slider({
            label: "pasos",
            text: String(settings.steps),
            value: settings.steps,
            min: 1,
            max: Math.min(200, network.timesteps),
            onInput: (steps) => this.change({ steps }),
          })}
          ${slider({
            label: html`guía, <i>w</i>`,
            name: "guía",
            text: comma(settings.guidance, 1),
            value: settings.guidance,
            min: 0,
            max: 8,
            step: 0.5,
            onInput: (guidance) => this.change({ guidance }),
          })}
          ${slider({
            label: html`guía reescalada, <i>φ</i>`,
            name: "guía reescalada",
            text: comma(settings.rescale, 1),
            value: settings.rescale,
            min: 0,
            max: 1,
            step: 0.1,
            onInput: (rescale) => this.change({ rescale }),
          })}
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
                  onInput: (eta) => this.change({ eta }),
                })
              : ""
          }
        </div>
      </div>
    </details>`;
  }

  protected override spoken(): string {
    return this.progress.kind === "running" && !this.progress.paused ? "Generando…" : this.told();
  }

  protected override updated(): void {
    super.updated();
    const { network, shown } = this;
    if (!network || !shown || !this.xT || !this.xStart) return;
    drawPicture(this.actual, tiled(this.xT, network.shape, shown.count));
    drawPicture(this.guess, tiled(this.xStart, network.shape, shown.count));
  }
}

/** Unas muestras en una rejilla lo más cuadrada que se pueda, con un píxel entre ellas. */
function tiled(
  values: Float32Array,
  [channels, height, width]: readonly [number, number, number],
  count: number,
): Picture {
  const columns = Math.ceil(Math.sqrt(count));
  const rows = Math.ceil(count / columns);
  const [high, wide] = [rows * (height + 1) - 1, columns * (width + 1) - 1];
  const all = new Float32Array(channels * high * wide).fill(1);
  for (let n = 0; n < count; n++) {
    const [top, left] = [Math.floor(n / columns) * (height + 1), (n % columns) * (width + 1)];
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        const from = ((n * channels + c) * height + y) * width;
        all.set(values.subarray(from, from + width), (c * high + top + y) * wide + left);
      }
    }
  }
  return { channels: channels as 1 | 3, height: high, width: wide, values: all };
}
