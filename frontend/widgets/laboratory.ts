/** El laboratorio: las redes que vienen entrenadas, generando en la página. */

import { type CSSResultGroup, html, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import type { Board } from "../drawing/board";
import { drawPicture, type Picture, tiled } from "../drawing/pixels";
import { fromAddress, toAddress, toCommand } from "../laboratory/address";
import { samplingView, symbolIn, unknownView, wantedView } from "../laboratory/controls";
import {
  baseFor,
  drawSeen,
  type Editing,
  type EditingHands,
  editingView,
  editOf,
  outlineOf,
  paints,
  startWith,
  UNTOUCHED,
} from "../laboratory/editing";
import { type Network, pictureOf, type Settings, summaryOf, usual } from "../laboratory/request";
import { saveGif, savePainted, savePng } from "../laboratory/saving";
import { Session } from "../laboratory/session";
import { laboratoryStyles } from "../laboratory/styles";
import { comma, plural } from "../numbers";
import { fetchJson, impossible, reasonOf } from "../problems";
import { Runner, type Step } from "../runner";
import { titleOf } from "../samplers";
import { button, choice, seedBox, slider, Widget } from "../widget";

@customElement("dl-laboratory")
export class LaboratoryWidget extends Widget {
  @state() private networks: readonly Network[] = [];
  @state() private settings: Settings | null = null;
  @state() private editing: Editing = UNTOUCHED;
  @state() private problem = "";
  /** Por qué no vale la semilla que se ha escrito. */
  @state() private wrongSeed = "";
  /** La orden que se ha copiado. */
  @state() private copied = "";
  /** Lo que se ha dejado al lado para comparar. */
  @state() private pinned: { picture: Picture; told: string } | null = null;
  private readonly session = new Session(this);
  private runner: Runner | null = null;

  @query("canvas.actual") private actual!: HTMLCanvasElement;
  @query("canvas.estimada") private guess!: HTMLCanvasElement;
  @query("canvas.dejada") private beside!: HTMLCanvasElement | null;
  @query("canvas.condicion") private condition!: HTMLCanvasElement | null;
  @query("dl-tablero") private board!: Board | null;

  static override styles: CSSResultGroup = [Widget.styles, laboratoryStyles];

  override async firstUpdated(): Promise<void> {
    try {
      this.networks = await fetchJson<Network[]>(this.data);
      this.runner = new Runner(new URL(this.data, document.baseURI).href);
      const { settings, walk, problems } = fromAddress(location.search, this.networks);
      this.settings = settings;
      this.edit(startWith(this.network!));
      if (walk) this.edit({ mode: "between", walk });
      this.problem = impossible(problems);
    } catch (error) {
      this.problem = `No ha llegado la lista de las redes (${reasonOf(error)}). Recargad la página.`;
    }
  }

  private get network(): Network | undefined {
    return this.networks.find(({ name }) => name === this.settings?.network);
  }

  /** El paso que se mira. */
  private get seen(): Step | undefined {
    return this.session.seen;
  }

  // --- Lo que se hace -----------------------------------------------------------------------------

  private async generate(): Promise<void> {
    const { network, settings, session, runner } = this;
    if (!network || !settings || !runner) return;
    const symbol = symbolIn(network, settings);
    if (symbol !== undefined) {
      this.problem = `La red solo lee palabras, y la frase lleva «${symbol}»: escribid su nombre.`;
      return;
    }
    const edit = editOf(this.editing, this.board, settings.steps);
    if (!edit) {
      this.problem = "No hay ningún hueco: pintad encima de lo que queráis que la red invente.";
      return;
    }
    this.problem = "";
    this.note();
    try {
      await session.start(runner, network, settings, edit);
    } catch (error) {
      const reason = (error as Error).message.replace(/\.$/, "");
      this.problem = `No se ha podido generar (${reason}). Podéis volver a intentarlo.`;
    }
  }

  private change(changes: Partial<Settings>): void {
    if (this.settings) this.settings = { ...this.settings, ...changes };
    this.problem = "";
    this.note();
  }

  private edit(changes: Partial<Editing>): void {
    this.editing = { ...this.editing, ...changes };
  }

  /** Apunta en la dirección lo que se pide. */
  private note(): void {
    const { network, settings, editing } = this;
    if (!network || !settings) return;
    const address = toAddress(settings, network, outlineOf(editing, settings.steps));
    try {
      history.replaceState(history.state, "", address + location.hash);
    } catch {
      // Safari admite cien cambios cada medio minuto: lo dirá el siguiente.
    }
  }

  private chooseNetwork(name: string): void {
    const network = this.networks.find((each) => each.name === name);
    if (!network || !this.settings) return;
    this.session.forget();
    this.settings = { ...usual(network), seed: this.settings.seed, count: this.settings.count };
    this.edit(startWith(network));
    this.problem = "";
    this.note();
    for (const canvas of [this.actual, this.guess]) canvas.width = canvas.height = 1;
  }

  /** Lo que los mandos de la edición saben hacer. */
  private readonly hands: EditingHands = {
    set: (changes) => {
      this.edit(changes);
      if (changes.walk) this.note();
    },
    choose: (mode) => {
      this.edit({ mode });
      this.problem = "";
      if (paints(this.editing)) this.edit({ base: baseFor(this.network!, this.session) });
      this.note();
    },
    painted: () => {
      if (this.board?.holed) this.problem = "";
      this.requestUpdate();
    },
    clear: () => this.board?.clear(),
    undo: () => this.board?.undo(),
    tell: (problem) => {
      this.problem = problem;
    },
  };

  /** Deja al lado lo que se ve, con lo que se pidió. */
  private pin(): void {
    const { network, seen } = this;
    const { shown } = this.session;
    if (!network || !shown || !seen) return;
    const picture = tiled(seen.xT, network.shape, shown.count);
    this.pinned = { picture, told: this.summary(network) };
  }

  /** Lo que se pidió para lo que se ve; nada, si no se ve nada. */
  private summary(network: Network): string {
    const { shown, edit, viewed, path } = this.session;
    if (!shown) return "";
    const whole = summaryOf(shown, network, edit, titleOf(shown.sampler));
    return viewed < path.length ? `${whole}; paso ${viewed}` : whole;
  }

  // --- Lo que se ve -------------------------------------------------------------------------------

  protected override view(): TemplateResult {
    const { network, settings } = this;
    const problem = this.problem ? html`<p class="aviso" role="alert">${this.problem}</p>` : "";
    if (!network || !settings) return html`${problem || "Cargando…"}`;
    const { note } = this.session;
    const titles = this.networks.map(({ name, title }) => [name, title] as const);
    const change = (changes: Partial<Settings>) => this.change(changes);
    const tellSeed = (problem: string) => {
      this.wrongSeed = problem;
    };
    return html`
      ${choice("Red:", titles, settings.network, (name) => this.chooseNetwork(name))}
      <div class="fila">
        ${wantedView(network, settings, change, () => void this.generate())}
        ${seedBox("Semilla", settings.seed, (seed) => change({ seed }), tellSeed)}
      </div>
      ${this.wrongSeed ? html`<p class="aviso" role="alert">${this.wrongSeed}</p>` : ""}
      ${unknownView(network, settings)}
      ${editingView(network, this.editing, settings.steps, this.hands)}
      ${this.orders(network)}
      ${problem}
      ${note ? html`<p class="aviso">${note}</p>` : ""}
      ${this.status(network)}
      ${this.works(network)}
      ${this.walk()}
      ${samplingView(network, settings, change)}
      ${this.command(network, settings)}
    `;
  }

  private orders(network: Network): TemplateResult {
    const { session, seen } = this;
    const { busy, paused, finished, progress } = session;
    return html`<div class="fila ordenes">
      ${button("Generar", !busy, () => void this.generate(), "principal")}
      ${button(paused ? "Seguir" : "Pausar", progress.kind === "running", () =>
        paused ? session.goOn("resume") : session.pause(),
      )}
      ${button("Un paso", paused, () => session.goOn("step"))}
      ${button("Cancelar", busy, () => session.leave())}
      ${button("Guardar PNG", seen !== undefined, () => savePng(network, session))}
      ${button("Guardar GIF", finished, () => saveGif(network, session))}
      ${button(this.pinned ? "Cambiar la de al lado" : "Poner al lado", finished, () => this.pin())}
    </div>`;
  }

  private status({ bytes }: Network): TemplateResult {
    const { progress, told } = this.session;
    const hint = `La primera vez se traen la red, ${comma(bytes / 1e6, 1)} MB, y el programa que la ejecuta, 14 MB.`;
    return html`<p class="estado">
      ${told || hint}
      ${
        progress.kind === "loading"
          ? html`<progress aria-label="Lo que ha llegado" max="1" value=${progress.part}></progress>`
          : ""
      }
    </p>`;
  }

  /** Los lienzos: lo que hay, lo que se ve venir y lo que se ha dejado al lado. */
  private works(network: Network): TemplateResult {
    const summary = this.summary(network);
    return html`${summary && html`<p class="consejo resumen">${summary}</p>`}
    <div class="obras ${this.pinned ? "tres" : ""}">
      <figure>
        <canvas class="actual" width="1" height="1" role="img" aria-label=${this.described(network, "x sub t")}></canvas>
        <figcaption class="xt"><i>x</i><sub>t</sub></figcaption>
      </figure>
      <figure>
        <canvas class="estimada" width="1" height="1" role="img" aria-label=${this.described(network, "la estimación")}></canvas>
        <figcaption class="x0"><i>x̂</i><sub>0</sub></figcaption>
      </figure>
      ${
        this.pinned
          ? html`<figure>
                <canvas class="dejada" width="1" height="1" role="img" aria-label="Al lado: ${this.pinned.told}"></canvas>
                <figcaption>${this.pinned.told}</figcaption>
              </figure>
              <div class="mandos">
                <p class="consejo">
                  ${this.pinned.told === summary ? "Cambiad algo y generad otra vez, para comparar." : ""}
                </p>
                <div class="fila">
                  ${button("Quitar la de al lado", true, () => {
                    this.pinned = null;
                  })}
                </div>
              </div>`
          : ""
      }
    </div>`;
  }

  private described({ image, classes }: Network, what: string): string {
    const { shown } = this.session;
    if (!shown) return `Aquí se verá ${what}`;
    const many = `${what} de ${plural(shown.count, "muestra", "muestras")}`;
    const asked = classes[shown.label] ? `la clase ${classes[shown.label]}` : `«${shown.text}»`;
    return image || asked === "«»" ? many : `${many} de ${asked}`;
  }

  /** El camino recorrido, para volver sobre él. */
  private walk(): TemplateResult | string {
    const { path, viewed } = this.session;
    if (path.length < 2) return "";
    return slider({
      label: "el camino",
      text: `paso ${viewed}`,
      value: viewed,
      min: 1,
      max: path.length,
      onInput: (step) => this.session.look(step),
    });
  }

  private command(network: Network, settings: Settings): TemplateResult {
    const { edit, shown } = this.session;
    const next = toCommand(settings, network, outlineOf(this.editing, settings.steps));
    const seen = shown && toCommand(shown, network, edit);
    const walks = (shown ? edit.kind : this.editing.mode) === "between";
    return html`<details>
      <summary>La misma generación, en la terminal</summary>
      <div>
        ${
          walks
            ? html`<p class="consejo">La terminal parte siempre de una sola semilla. En Python, <code class="palabra">slerp</code> mezcla los dos ruidos: está en el capítulo de DDIM.</p>`
            : this.order(seen ?? next)
        }
        ${!walks && seen && seen !== next ? html`<p class="consejo">Es la orden de lo que se ve: lo que habéis cambiado después aún no se ha generado.</p>` : ""}
        ${!seen && paints(this.editing) ? html`<p class="consejo">Lo pintado se puede guardar después de generar, con el nombre que lleva en la orden.</p>` : ""}
        ${
          pictureOf(edit)
            ? html`<p class="consejo">La orden lee lo pintado de la carpeta en que se ejecuta: guardadlo y llevadlo a ella.</p>
                <div class="fila">${button("Guardar lo pintado", true, () => savePainted(network, this.session))}</div>`
            : ""
        }
      </div>
    </details>`;
  }

  /** Una orden de la terminal, que se puede copiar donde el navegador deje. */
  private order(text: string): TemplateResult {
    const copy = async () => {
      await navigator.clipboard.writeText(text);
      this.copied = text;
    };
    // Ninguna opción se parte por sus guiones.
    const words = text.split(" ").map((word) => html`<span>${word}</span> `);
    return html`${
      this.network?.shipped
        ? ""
        : html`<p class="consejo">Esta red no viene en el paquete: antes, <code class="palabra">ddpm-lit train ${this.network?.name}</code>.</p>`
    }<code class="orden">${words}</code>
      ${
        navigator.clipboard
          ? html`<div class="fila">
              ${button(this.copied === text ? "Copiada" : "Copiar la orden", true, () => void copy())}
            </div>`
          : ""
      }`;
  }

  protected override spoken(): string {
    const { progress, paused, told } = this.session;
    return progress.kind === "running" && !paused ? "Generando…" : told;
  }

  protected override updated(): void {
    super.updated();
    const { network, seen, board, beside, pinned } = this;
    const { shown } = this.session;
    if (network && board && this.condition) drawSeen(this.condition, network, board);
    if (!network || !shown || !seen) return;
    drawPicture(this.actual, tiled(seen.xT, network.shape, shown.count));
    drawPicture(this.guess, tiled(seen.xStart, network.shape, shown.count));
    if (beside && pinned) drawPicture(beside, pinned.picture);
  }
}
