/** El laboratorio: las redes que vienen entrenadas, generando en la página. */

import { applyPalette, GIFEncoder, quantize } from "gifenc";
import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { tokenize } from "../ddpm_lit/conditioning";
import { SAMPLERS } from "../ddpm_lit/sampling";
import type { Board } from "../drawing/board";
import "../drawing/board";
import { drawPicture, type Picture, readPicture } from "../drawing/pixels";
import {
  type Edit,
  FILES,
  fromAddress,
  lengthOf,
  type Network,
  type Settings,
  summaryOf,
  toAddress,
  toCommand,
  usual,
} from "../laboratory";
import { comma } from "../numbers";
import { fetchJson, impossible, reasonOf } from "../problems";
import { button, choice, slider, Widget } from "../widget";
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

const MODES = [
  ["whole", "desde el ruido"],
  ["inpaint", "rellenar un hueco"],
  ["redraw", "rehacer un dibujo"],
  ["between", "entre dos semillas"],
] as const;
/** Cuántos niveles se desandan al rellenar, y cuántas veces se da cada tramo. */
const [JUMP, RESAMPLINGS] = [5, 5];
/** Lo que dura cada paso de un GIF, y el último, en milisegundos. */
const [FRAME, LAST] = [60, 1500];

/** Un emoji u otro símbolo, que la red no sabe leer. */
const SYMBOL = /[\p{So}\p{Me}]/u;

/** Un paso que se ha dado. */
type Seen = Extract<News, { kind: "step" }>;

type Progress =
  | { kind: "idle" }
  | { kind: "loading"; part: number }
  | { kind: "running"; paused: boolean }
  | { kind: "finished"; seconds: number };

@customElement("dl-laboratory")
export class LaboratoryWidget extends Widget {
  @state() private networks: readonly Network[] = [];
  @state() private settings: Settings | null = null;
  @state() private progress: Progress = { kind: "idle" };
  @state() private problem = "";
  @state() private note = "";
  @state() private mode: Edit["kind"] = "whole";
  @state() private strength = 0.6;
  @state() private colour = "#d22f27";
  @state() private brush = 4;
  @state() private base: Picture | null = null;
  /** La otra semilla, y cuánto se anda hacia ella. */
  @state() private other = 1;
  @state() private fraction = 0.5;
  /** Lo que se ha dejado al lado para comparar. */
  @state() private pinned: { picture: Picture; told: string } | null = null;
  /** Los pasos que se han dado, y cuál de ellos se mira. */
  @state() private path: readonly Seen[] = [];
  @state() private viewed = 0;
  /** Lo que se pidió para lo que se está viendo. */
  private shown: Settings | null = null;
  private edit: Edit = { kind: "whole" };
  private worker: Worker | null = null;
  private asked = 0;

  @query("canvas.actual") private actual!: HTMLCanvasElement;
  @query("canvas.estimada") private guess!: HTMLCanvasElement;
  @query("dl-tablero") private board!: Board | null;

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
      .mandos {
        display: grid;
        gap: 0.7rem;
        align-content: start;
      }
      @media (max-width: 36em) {
        .pintar {
          grid-template-columns: 1fr;
        }
      }
      .consejo {
        margin: 0;
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
      this.networks = await fetchJson<Network[]>(this.data);
      const { settings, walk, problems } = fromAddress(location.search, this.networks);
      this.settings = settings;
      if (walk) {
        this.mode = "between";
        this.other = walk.seed;
        this.fraction = walk.fraction;
      }
      this.problem = impossible(problems);
    } catch (error) {
      this.problem = `No ha llegado la lista de las redes (${reasonOf(error)}). Recargad la página.`;
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
    const [symbol] = network.vocabulary.length > 0 ? (settings.text.match(SYMBOL) ?? []) : [];
    if (symbol !== undefined) {
      this.problem = `La red lee palabras, y la frase lleva «${symbol}»: escribid cómo se llama.`;
      return;
    }
    const edit = this.asEdit(settings);
    if (!edit) return;
    this.asked += 1;
    this.problem = this.note = "";
    this.shown = { ...settings };
    this.edit = edit;
    this.path = [];
    this.progress = { kind: "loading", part: 0 };
    history.replaceState(history.state, "", toAddress(settings, network, edit) + location.hash);
    const address = new URL(network.file, new URL(this.data, document.baseURI)).href;
    this.order({ kind: "generate", id: this.asked, network, address, settings: this.shown, edit });
  }

  /** Lo que hay en el tablero, como se le pide a la red; si falta algo, se dice. */
  private asEdit({ steps }: Settings): Edit | null {
    if (this.mode === "between") {
      return { kind: "between", seed: this.other, fraction: this.fraction };
    }
    if (this.mode === "whole" || !this.board) return { kind: "whole" };
    const { values, mask } = this.board.painted;
    if (this.mode === "redraw") return { kind: "redraw", initial: values, strength: this.strength };
    if (!this.board.holed) {
      this.problem = "No hay ningún hueco: pintad encima de lo que queráis que la red invente.";
      return null;
    }
    const resamplings = steps > 1 ? RESAMPLINGS : 1;
    const jump = Math.max(1, Math.min(JUMP, steps - 1));
    return { kind: "inpaint", known: values, mask, jump, resamplings };
  }

  /** Algo ha fallado: se dice, y lo siguiente empieza con otro hilo. */
  private lose(reason: string): void {
    this.worker?.terminate();
    this.worker = null;
    this.progress = { kind: "idle" };
    this.problem = `No se ha podido generar: ${reason.replace(/\.$/, "")}. Podéis volver a intentarlo.`;
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
      this.progress = { kind: "running", paused };
      const following = this.viewed === this.path.length;
      this.path = [...this.path, news];
      if (following || this.path.length === 1) this.viewed = this.path.length;
    }
  }

  private pause(): void {
    if (this.progress.kind !== "running") return;
    this.order({ kind: "pause" });
    this.progress = { ...this.progress, paused: true };
  }

  /** Sigue desde el último paso, que es el que se vuelve a mirar. */
  private goOn(kind: "resume" | "step"): void {
    if (this.progress.kind !== "running") return;
    this.viewed = this.path.length;
    this.order({ kind });
    this.progress = { ...this.progress, paused: kind === "step" };
  }

  private stop(): void {
    this.order({ kind: "stop" });
    this.asked += 1;
    this.progress = { kind: "idle" };
  }

  /** El paso que se mira. */
  private get seen(): Seen | undefined {
    return this.path[this.viewed - 1];
  }

  /** Las muestras de un paso, ampliadas. */
  private enlarged(seen: Seen): HTMLCanvasElement | null {
    const { network, shown } = this;
    if (!network || !shown) return null;
    return enlarge(tiled(seen.xT, network.shape, shown.count));
  }

  private savePng(): void {
    const canvas = this.seen && this.enlarged(this.seen);
    if (canvas) download(canvas.toDataURL("image/png"), `${this.fileName}.png`);
  }

  private saveGif(): void {
    const gif = GIFEncoder();
    for (const seen of this.path) {
      const canvas = this.enlarged(seen);
      const image = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height);
      if (!image) return;
      const palette = quantize(image.data, 256);
      const delay = seen === this.path.at(-1) ? LAST : FRAME;
      gif.writeFrame(applyPalette(image.data, palette), image.width, image.height, {
        palette,
        delay,
      });
    }
    gif.finish();
    const address = URL.createObjectURL(new Blob([gif.bytes()], { type: "image/gif" }));
    download(address, `${this.fileName}.gif`);
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }

  private get fileName(): string {
    const { shown, edit } = this;
    const walk = edit.kind === "between" ? `-a-${edit.seed}-al-${edit.fraction}` : "";
    return `${shown?.network}-${shown?.seed}${walk}`;
  }

  /** Guarda lo pintado como lo lee la terminal: la imagen, y el hueco en blanco. */
  private savePainted(): void {
    const { network, edit } = this;
    if (!network || edit.kind === "whole" || edit.kind === "between") return;
    const [channels, height, width] = network.shape;
    const picture = (values: Float32Array) =>
      enlarge({ channels: channels as 1 | 3, height, width, values }, 1).toDataURL("image/png");
    download(picture(edit.kind === "inpaint" ? edit.known : edit.initial), FILES.picture);
    if (edit.kind === "inpaint") {
      download(picture(edit.mask.map((known) => (known ? -1 : 1))), FILES.hole);
    }
  }

  /** La semilla de una caja o, si no es ninguna, la que había. */
  private readSeed(box: HTMLInputElement, before: number): number {
    const seed = box.valueAsNumber;
    const fits = Number.isSafeInteger(seed) && seed >= 0;
    this.problem = fits
      ? ""
      : `«${box.value}» no es una semilla: un entero de 0 a ${Number.MAX_SAFE_INTEGER}. Queda la ${before}.`;
    if (!fits) box.value = String(before);
    return fits ? seed : before;
  }

  private change(changes: Partial<Settings>): void {
    if (this.settings) this.settings = { ...this.settings, ...changes };
  }

  private chooseNetwork(name: string): void {
    const network = this.networks.find((each) => each.name === name);
    if (!network || !this.settings) return;
    this.stop();
    this.settings = { ...usual(network), seed: this.settings.seed, count: this.settings.count };
    this.path = [];
    this.shown = this.base = null;
    this.mode = "whole";
    this.problem = this.note = "";
    for (const canvas of [this.actual, this.guess]) canvas.width = canvas.height = 1;
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
              const box = event.target as HTMLInputElement;
              this.change({ seed: this.readSeed(box, settings.seed) });
            }}
          />
        </label>
      </div>
      ${this.unknown(network, settings)}
      ${choice("Se genera:", MODES, this.mode, (mode) => this.chooseMode(mode as Edit["kind"]))}
      ${this.mode === "inpaint" || this.mode === "redraw" ? this.drawing(network) : ""}
      ${this.mode === "between" ? this.walk() : ""}
      <div class="fila">
        ${button("Generar", !busy, () => this.generate(), "principal")}
        ${button(running?.paused ? "Seguir" : "Parar", running !== null, () =>
          running?.paused ? this.goOn("resume") : this.pause(),
        )}
        ${button("Un paso", running?.paused === true, () => this.goOn("step"))}
        ${button("Dejarlo", busy, () => this.stop())}
        ${button("Guardar PNG", this.seen !== undefined, () => this.savePng())}
        ${button("Guardar GIF", this.progress.kind === "finished", () => this.saveGif())}
        ${button("Dejar al lado", this.progress.kind === "finished", () => this.pin())}
      </div>
      ${problem}
      ${this.note ? html`<p class="aviso">${this.note}</p>` : ""}
      ${this.status()}
      <div class="obras">
        <figure>
          <canvas class="actual" width="1" height="1" role="img" aria-label=${this.described("x en t")}></canvas>
          <figcaption class="xt"><i>x</i><sub>t</sub></figcaption>
        </figure>
        <figure>
          <canvas class="estimada" width="1" height="1" role="img" aria-label=${this.described("la estimación")}></canvas>
          <figcaption class="x0"><i>x̂</i><sub>0</sub></figcaption>
        </figure>
        ${
          this.pinned
            ? html`<figure>
                  <canvas class="dejada" width="1" height="1" role="img" aria-label="Al lado: ${this.pinned.told}"></canvas>
                  <figcaption>${this.pinned.told}</figcaption>
                </figure>
                <div class="mandos">
                  <p class="consejo">Cambiad algo y generad otra vez, para comparar.</p>
                  <div class="fila">
                    ${button("Quitar la de al lado", true, () => {
                      this.pinned = null;
                    })}
                  </div>
                </div>`
            : ""
        }
      </div>
      ${
        this.path.length > 1
          ? slider({
              label: "el camino",
              text: `paso ${this.viewed}`,
              value: this.viewed,
              min: 1,
              max: this.path.length,
              onInput: (viewed) => {
                this.pause();
                this.viewed = viewed;
              },
            })
          : ""
      }
      ${this.options(network, settings)}
      <details>
        <summary>La misma generación, en la terminal</summary>
        <div>
          ${
            this.edit.kind === "between"
              ? html`<p class="consejo">La terminal parte siempre de una sola semilla. En el capítulo de DDIM está cómo dar el paseo en Python.</p>`
              : html`<code>${toCommand(this.shown ?? settings, network, this.edit)}</code>`
          }
          ${
            this.edit.kind === "inpaint" || this.edit.kind === "redraw"
              ? button("Guardar lo pintado", true, () => this.savePainted())
              : ""
          }
        </div>
      </details>
    `;
  }

  private chooseMode(mode: Edit["kind"]): void {
    const { network, shown } = this;
    this.mode = mode;
    this.problem = "";
    if (mode === "whole" || mode === "between" || !network) return;
    // Se parte de la primera muestra: la que haya acabado o, si no, la que se veía venir.
    const [channels, height, width] = network.shape;
    const last = this.path.at(-1);
    const whole = this.progress.kind === "finished" ? last?.xT : last?.xStart;
    if (!shown || !whole) this.blank();
    else {
      const values = whole.slice(0, channels * height * width);
      this.base = { channels: channels as 1 | 3, height, width, values };
    }
  }

  /** Deja al lado lo que se ve, con lo que se pidió. */
  private pin(): void {
    const { network, shown } = this;
    const { seen, edit } = this;
    if (!network || !shown || !seen) return;
    const whole = summaryOf(shown, network, edit, SAMPLER_TITLES[shown.sampler]!);
    const told = this.viewed < this.path.length ? `${whole}; paso ${this.viewed}` : whole;
    this.pinned = { picture: tiled(seen.xT, network.shape, shown.count), told };
  }

  /** Hacia qué otra semilla se anda, y cuánto. */
  private walk(): TemplateResult {
    return html`<div class="fila">
      <label class="semilla">
        Otra semilla
        <input
          type="number"
          min="0"
          step="1"
          .value=${String(this.other)}
          @change=${(event: Event) => {
            const box = event.target as HTMLInputElement;
            this.other = this.readSeed(box, this.other);
          }}
        />
      </label>
      ${slider({
        label: "cuánto se anda hacia ella",
        text: comma(this.fraction),
        value: this.fraction,
        min: 0,
        max: 1,
        step: 0.05,
        onInput: (fraction) => {
          this.fraction = fraction;
        },
      })}
    </div>`;
  }

  /** Pone en el tablero un papel en blanco; en negro, si la red dibuja en claro. */
  private blank(): void {
    const { network } = this;
    if (!network) return;
    const [channels, height, width] = network.shape;
    const paper = network.vocabulary.length > 0 ? 1 : -1;
    const values = new Float32Array(channels * height * width).fill(paper);
    this.base = { channels: channels as 1 | 3, height, width, values };
  }

  /** El tablero y lo que hace falta para pintar en él. */
  private drawing(network: Network): TemplateResult {
    const hole = this.mode === "inpaint";
    return html`<div class="obras pintar">
      <dl-tablero
        .picture=${this.base}
        .mode=${hole ? "mask" : "brush"}
        .colour=${this.colour}
        .size=${this.brush}
      ></dl-tablero>
      <div class="mandos">
        <p class="consejo">
          ${
            hole
              ? "Pintad encima de lo que la red deba inventar. Cada tramo se repite cinco veces, para que case: tarda más."
              : "Pintad un boceto: la red lo termina."
          }
        </p>
        ${slider({
          label: "pincel",
          text: String(this.brush),
          value: this.brush,
          min: 1,
          max: 12,
          onInput: (brush) => {
            this.brush = brush;
          },
        })}
        ${
          hole
            ? ""
            : html`${
                network.shape[0] === 3
                  ? html`<label>
                      Color
                      <input
                        type="color"
                        .value=${this.colour}
                        @input=${(event: Event) => {
                          this.colour = (event.target as HTMLInputElement).value;
                        }}
                      />
                    </label>`
                  : ""
              }
              ${slider({
                label: "cuánto se rehace",
                text: comma(this.strength),
                value: this.strength,
                min: 0.1,
                max: 1,
                step: 0.05,
                onInput: (strength) => {
                  this.strength = strength;
                },
              })}`
        }
        <div class="fila">
          ${hole ? "" : button("En blanco", true, () => this.blank())}
          ${button("Empezar otra vez", true, () => this.board?.clear())}
          <label class="boton">
            Poner una imagen
            <input class="oculto" type="file" accept="image/*" @change=${this.ownPicture} />
          </label>
        </div>
      </div>
    </div>`;
  }

  private async ownPicture(event: Event): Promise<void> {
    const input = event.target as HTMLInputElement;
    const file = input.files?.[0];
    const { network } = this;
    if (!file || !network) return;
    try {
      const [channels, side] = network.shape;
      const { values, ...size } = await readPicture(file, side);
      const plane = side * side;
      const grey = (_: number, k: number) =>
        0.299 * values[k]! + 0.587 * values[plane + k]! + 0.114 * values[2 * plane + k]!;
      this.base =
        channels === 3
          ? { ...size, values }
          : { ...size, channels: 1, values: new Float32Array(plane).map(grey) };
      this.problem = "";
    } catch {
      this.problem = `«${file.name}» no es una imagen que este navegador sepa leer: probad con un PNG o un JPEG.`;
    }
    input.value = "";
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
    if (settings.text.trim() === "") {
      return html`<p class="consejo">Sin frase, la red dibuja lo que le parezca.</p>`;
    }
    try {
      const { unknown } = tokenize(settings.text, network.vocabulary, network.textLength);
      if (unknown.length === 0) return "";
      const listed = unknown.map((word) => `«${word}»`).join(", ");
      return html`<p class="aviso">
        La red no conoce ${listed}: lee solo las demás. Conoce ${network.vocabulary.length} palabras.
      </p>`;
    } catch (error) {
      return html`<p class="aviso">${(error as Error).message}</p>`;
    }
  }

  private status(): TemplateResult {
    const { progress } = this;
    if (progress.kind === "loading") {
      return html`<p class="estado">
        ${this.told()}
        <progress aria-label="Lo que ha llegado" max="1" value=${progress.part}></progress>
      </p>`;
    }
    return html`<p class="estado">${this.told()}</p>`;
  }

  private told(): string {
    const { progress, shown } = this;
    const total = shown ? lengthOf(this.edit, shown.steps) : 0;
    const looked = `Paso ${this.viewed} de ${total}, t = ${this.seen?.t ?? ""}`;
    if (progress.kind === "running") return `${looked}${progress.paused ? " (parado)" : ""}.`;
    if (progress.kind === "finished" && this.viewed < this.path.length) return `${looked}.`;
    if (progress.kind === "finished") {
      const many = plural(shown?.count ?? 0, "muestra", "muestras");
      const long = plural(total, "paso", "pasos");
      return `${many} en ${long}: ${comma(progress.seconds, 1)} s en este navegador.`;
    }
    if (progress.kind === "loading") return "Trayendo la red…";
    return this.path.length > 0 ? `Dejado. ${looked}.` : "";
  }

  private described(what: string): string {
    const { shown, network } = this;
    if (!shown || !network) return `Aquí se verá ${what}`;
    const asked = network.classes[shown.label] ?? `«${shown.text}»`;
    return `${what} de ${plural(shown.count, "muestra", "muestras")} de ${asked}`;
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
            max: Math.min(Math.max(200, settings.steps), network.timesteps),
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
    const { network, shown, seen } = this;
    if (!network || !shown || !seen) return;
    drawPicture(this.actual, tiled(seen.xT, network.shape, shown.count));
    drawPicture(this.guess, tiled(seen.xStart, network.shape, shown.count));
    const beside = this.renderRoot.querySelector<HTMLCanvasElement>("canvas.dejada");
    if (beside && this.pinned) drawPicture(beside, this.pinned.picture);
  }
}

/** Cuántas cosas son: 1 muestra, 4 muestras. */
function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** Una imagen ampliada, sin suavizar. */
function enlarge(picture: Picture, zoom = ZOOM): HTMLCanvasElement {
  const [small, large] = [document.createElement("canvas"), document.createElement("canvas")];
  drawPicture(small, picture);
  large.width = small.width * zoom;
  large.height = small.height * zoom;
  const context = large.getContext("2d");
  if (context) {
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, large.width, large.height);
  }
  return large;
}

/** Guarda un fichero en el ordenador de quien lee. */
function download(address: string, name: string): void {
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
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
