/** DDIM: un mismo ruido con más o menos pasos y más o menos azar, y el paseo entre dos ruidos. */

import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { asPicture, type Picture } from "../drawing/pixels";
import { type Edit, type Network, type Settings, usual } from "../laboratory/request";
import { comma } from "../numbers";
import { fetchJson, reasonOf } from "../problems";
import { type Finished, ReplacedError, Runner } from "../runner";
import { button, choice, seedBox, slider, Widget } from "../widget";

const NETWORK = "digits-class";
const STEPS = [5, 10, 20, 50] as const;
const ETAS = [0, 0.5, 1] as const;
/** Cuántos pasos se dan mientras se pasea entre dos ruidos. */
const WALK_STEPS = 20;

@customElement("dl-ddim")
export class DdimWidget extends Widget {
  @state() private network: Network | null = null;
  @state() private label_ = 3;
  @state() private seed = 0;
  @state() private other = 1;
  @state() private fraction = 0.5;
  @state() private cells: ReadonlyMap<string, Picture> = new Map();
  @state() private between: Picture | null = null;
  @state() private busy = false;
  /** Qué parte de los pesos ha llegado, mientras llegan. */
  @state() private loaded: number | null = null;
  @state() private problem = "";
  /** Por qué no vale la semilla que se ha escrito. */
  @state() private wrongSeed = "";
  /** Si la red ya ha llegado. */
  private brought = false;
  private runner: Runner | null = null;

  static override styles: CSSResultGroup = [
    Widget.styles,
    css`
      table {
        border-collapse: separate;
        border-spacing: 0.3rem;
        margin-inline: auto;
        width: 100%;
        max-width: 26rem;
        table-layout: fixed;
      }
      th {
        font-weight: 400;
      }
      th:first-child {
        width: 3.6rem;
      }
      thead th {
        text-align: center;
      }
      tbody th {
        text-align: left;
      }
      .paseo {
        display: grid;
        grid-template-columns: minmax(4rem, 7rem) minmax(0, 1fr);
        gap: 1rem;
        align-items: center;
      }
      .mandos {
        display: grid;
        gap: 0.7rem;
        justify-items: start;
      }
      .mandos .mando {
        width: 100%;
      }
      dl-imagen {
        min-height: 2rem;
      }
      .vacia {
        aspect-ratio: 1;
        border: 1px dashed var(--dl-linea);
        border-radius: 0.2rem;
      }
      .estado {
        margin: 0;
        font-variant-numeric: tabular-nums;
      }
      @media (max-width: 36em) {
        .paseo {
          grid-template-columns: minmax(0, 1fr);
        }
        .paseo > :first-child {
          width: 7rem;
          margin: auto;
        }
      }
    `,
  ];

  override async firstUpdated(): Promise<void> {
    try {
      const networks = await fetchJson<Network[]>(this.data);
      this.network = networks.find(({ name }) => name === NETWORK) ?? null;
      this.runner = new Runner(new URL(this.data, document.baseURI).href);
    } catch (error) {
      this.problem = `No ha llegado la lista de las redes (${reasonOf(error)}). Recargad la página.`;
    }
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.runner?.end();
  }

  private tell(error: unknown): void {
    if (error instanceof ReplacedError) return;
    this.loaded = null;
    this.problem = `No se ha podido generar (${reasonOf(error)}). Podéis volver a intentarlo.`;
  }

  private settings(changes: Partial<Settings>): Settings {
    const asked = { label: this.label_, seed: this.seed, count: 1, sampler: "ddim" };
    return { ...usual(this.network!), ...asked, ...changes };
  }

  /** Rellena la tabla, casilla a casilla. */
  private async fill(): Promise<void> {
    const { network, runner } = this;
    if (!network || !runner) return;
    this.problem = "";
    this.busy = true;
    this.cells = new Map();
    try {
      for (const eta of ETAS) {
        for (const steps of STEPS) {
          const { samples } = await this.run(this.settings({ steps, eta }));
          const picture = asPicture(samples, network.shape);
          this.cells = new Map([...this.cells, [`${eta} ${steps}`, picture]]);
        }
      }
      await this.walk();
    } catch (error) {
      this.tell(error);
    } finally {
      this.busy = false;
      this.loaded = null;
    }
  }

  /** Genera, y cuenta cómo va llegando la red. */
  private run(settings: Settings, edit?: Edit): Promise<Finished> {
    return this.runner!.run(this.network!, settings, edit, {
      loading: (part) => {
        this.loaded = part;
      },
      step: () => {
        this.loaded = null;
        this.brought = true;
      },
    });
  }

  /** La imagen que sale de entre los dos ruidos. */
  private async walk(): Promise<void> {
    const { network, runner, other, fraction, label_, seed } = this;
    if (!network || !runner) return;
    try {
      const settings = this.settings({ steps: WALK_STEPS, eta: 0 });
      const edit = { kind: "between", seed: other, fraction } as const;
      const { samples } = await this.run(settings, edit);
      // Mientras tanto se puede haber pedido otra cosa.
      if (label_ !== this.label_ || seed !== this.seed) return;
      this.between = asPicture(samples, network.shape);
    } catch (error) {
      this.tell(error);
    }
  }

  protected override view(): TemplateResult {
    const { network } = this;
    const problem = this.problem ? html`<p class="aviso" role="alert">${this.problem}</p>` : "";
    if (!network) return html`${problem || "Cargando…"}`;
    const tell = (problem: string) => {
      this.wrongSeed = problem;
    };
    const wrong = this.wrongSeed ? html`<p class="aviso" role="alert">${this.wrongSeed}</p>` : "";
    const classes = network.classes.map((title, k) => [String(k), title] as const);
    return html`
      ${choice("Dígito:", classes, String(this.label_), (label) => {
        this.label_ = Number(label);
        this.cells = new Map();
        this.between = null;
      })}
      <div class="fila">
        ${seedBox(
          "Semilla",
          this.seed,
          (seed) => {
            this.seed = seed;
            this.cells = new Map();
            this.between = null;
          },
          tell,
        )}
        ${button("Generar", !this.busy, () => void this.fill())}
      </div>
      ${wrong} ${problem}
      <p class="estado">${this.told(network)}</p>
      <table>
        <thead>
          <tr>
            <th scope="col">pasos</th>
            ${STEPS.map((steps) => html`<th scope="col">${steps}</th>`)}
          </tr>
        </thead>
        <tbody>
          ${ETAS.map(
            (eta) => html`<tr>
              <th scope="row"><i>η</i> = ${comma(eta, 1)}</th>
              ${STEPS.map(
                (steps) => html`<td>
                  ${pictured(
                    this.cells.get(`${eta} ${steps}`),
                    `La muestra con ${steps} pasos y η = ${comma(eta, 1)}`,
                  )}
                </td>`,
              )}
            </tr>`,
          )}
        </tbody>
      </table>
      <p class="estado">
        El paseo: con <i>η</i> = 0 y ${WALK_STEPS} pasos, del ruido de la semilla ${this.seed} al de
        la ${this.other}.
      </p>
      <div class="paseo">
        ${pictured(this.between ?? undefined, "Lo que sale de entre los dos ruidos")}
        <div class="mandos">
          ${slider({
            label: "de un ruido al otro",
            text: comma(this.fraction),
            value: this.fraction,
            min: 0,
            max: 1,
            step: 0.02,
            onInput: (fraction) => {
              this.fraction = fraction;
              if (!this.busy) void this.walk();
            },
          })}
          ${seedBox(
            "Semilla del otro ruido",
            this.other,
            (other) => {
              this.other = other;
              if (!this.busy) void this.walk();
            },
            tell,
          )}
        </div>
      </div>
    `;
  }

  /** Cómo va. */
  private told({ bytes }: Network): string {
    const { cells, busy, loaded } = this;
    const all = ETAS.length * STEPS.length;
    if (loaded !== null) return `Trayendo la red: ${comma(100 * loaded, 0)} %.`;
    if (busy) return `Generando la muestra ${Math.min(all, cells.size + 1)} de ${all}…`;
    if (cells.size > 0) return `Las ${cells.size} muestras parten del mismo ruido.`;
    const first = this.brought
      ? ""
      : ` La primera vez se traen la red, ${comma(bytes / 1e6, 1)} MB, y el programa que la ejecuta, 14 MB.`;
    return `«Generar» llena la tabla con una muestra de cada manera.${first}`;
  }

  protected override spoken(): string {
    if (this.busy) return "Generando…";
    return this.cells.size > 0
      ? `Dígito ${this.label_} de la semilla ${this.seed}, de ${this.cells.size} maneras; el paseo va por ${comma(this.fraction)}.`
      : "";
  }
}

/** Una muestra o, si aún no la hay, su sitio. */
function pictured(picture: Picture | undefined, label: string): TemplateResult {
  return picture
    ? html`<dl-imagen .picture=${picture} label=${label}></dl-imagen>`
    : html`<div class="vacia"></div>`;
}
