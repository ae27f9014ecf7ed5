/** Scheduler: los schedules, uno al lado de otro, con sus parámetros y la misma imagen debajo. */

import { type CSSResultGroup, css, html, svg, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { qSample } from "../ddpm_lit/forward";
import { samplingNoise } from "../ddpm_lit/noise";
import { BETAS, makeSchedule, type Schedule } from "../ddpm_lit/scheduler";
import { fetchPictures, type Picture } from "../drawing/pixels";
import { curve, plot, plotStyles } from "../drawing/plot";
import { comma, significant } from "../numbers";
import { choice, slider, toggle, Widget } from "../widget";

const TITLES: Readonly<Record<string, string>> = {
  linear: "lineal",
  scaled_linear: "lineal en √β (no se ajusta a T)",
  quadratic: "cuadrático",
  constant: "constante",
  cosine: "coseno",
  sigmoid: "sigmoide",
};

/** Qué se dibuja: su nombre, su valor en un paso y si el eje es logarítmico. */
const QUANTITIES: Readonly<
  Record<string, { title: string; value: (schedule: Schedule, k: number) => number }>
> = {
  bar: { title: "ᾱ", value: (schedule, k) => schedule.alphasCumprod[k]! },
  beta: { title: "β", value: (schedule, k) => schedule.betas[k]! },
  snr: { title: "log₁₀ SNR", value: (schedule, k) => Math.log10(schedule.snr(k)) },
};
const LENGTHS = [25, 50, 100, 250, 500, 1000] as const;
const LOWEST = -7;
/** En qué partes del camino se enseña la imagen. */
const MOMENTS = [0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1] as const;

@customElement("dl-scheduler")
export class SchedulerWidget extends Widget {
  @state() private shown: ReadonlySet<string> = new Set(["linear", "cosine"]);
  @state() private quantity = "bar";
  @state() private length = 5;
  @state() private rescaled = false;
  @state() private s = 0.008;
  @state() private betaEnd = 0.02;
  @state() private picture: Picture | null = null;
  private noise: Float32Array = new Float32Array();

  static override styles: CSSResultGroup = [
    Widget.styles,
    plotStyles,
    css`
      .tira {
        display: grid;
        grid-template-columns: repeat(${MOMENTS.length}, minmax(0, 1fr));
        gap: 0.25rem;
        align-items: center;
      }
      .tira .muestra {
        grid-column: 1 / -1;
      }
      .tiempos {
        text-align: center;
        font-variant-numeric: tabular-nums;
      }
      .muestra::before {
        content: "";
        display: inline-block;
        width: 0.7rem;
        height: 0.7rem;
        margin-right: 0.4rem;
        border-radius: 50%;
        background: var(--muestra);
      }
    `,
  ];

  override async firstUpdated(): Promise<void> {
    if (!this.data) return;
    try {
      const [first] = await fetchPictures(this.data);
      this.picture = first!.picture;
      this.noise = samplingNoise(0, [0], this.picture.values.length).next().value;
    } catch {
      // Sin imagen quedan las curvas, que son lo que importa.
    }
  }

  private get timesteps(): number {
    return LENGTHS[this.length]!;
  }

  /** La β del final; con otro T se multiplica por 1000/T, para que la señal que queda sea la misma. */
  private get stretched(): string {
    const times = 1000 / this.timesteps;
    const own = comma(this.betaEnd, 3);
    return times === 1 ? own : `${own} × ${comma(times, 0)} = ${comma(this.betaEnd * times, 3)}`;
  }

  private schedule(name: string): Schedule {
    const own: Record<string, number> = name === "cosine" ? { s: this.s } : {};
    if (name === "linear" || name === "quadratic") own.betaEnd = this.betaEnd;
    return makeSchedule(name, this.timesteps, { ...own, zeroTerminalSnr: this.rescaled } as never);
  }

  private schedules(): { name: string; colour: string; schedule: Schedule }[] {
    return Object.keys(BETAS).flatMap((name, k) =>
      this.shown.has(name)
        ? [{ name, colour: `var(--dl-fig-${k + 1})`, schedule: this.schedule(name) }]
        : [],
    );
  }

  protected override view(): TemplateResult {
    const all = this.schedules();
    const quantities = Object.entries(QUANTITIES).map(
      ([name, { title }]) => [name, title] as const,
    );
    return html`
      <fieldset class="eleccion">
        <legend>Schedules:</legend>
        ${Object.keys(BETAS).map(
          (name, k) => html`<label class="muestra" style="--muestra: var(--dl-fig-${k + 1})">
            <input
              type="checkbox"
              .checked=${this.shown.has(name)}
              @change=${() => this.toggle(name)}
            />
            <span>${TITLES[name]}</span>
          </label>`,
        )}
      </fieldset>
      <div class="fila">
        ${choice("Se dibuja:", quantities, this.quantity, (quantity) => {
          this.quantity = quantity;
        })}
        ${toggle("sin señal en T", this.rescaled, (rescaled) => {
          this.rescaled = rescaled;
        })}
      </div>
      <div class="fila">
        ${slider({
          label: html`<i>T</i>`,
          name: "T",
          text: String(this.timesteps),
          value: this.length,
          min: 0,
          max: LENGTHS.length - 1,
          onInput: (length) => {
            this.length = length;
          },
        })}
        ${slider({
          label: html`<i>s</i>, del coseno`,
          name: "s, del coseno",
          text: comma(this.s, 3),
          value: this.s,
          min: 0.001,
          max: 0.2,
          step: 0.001,
          onInput: (s) => {
            this.s = s;
          },
        })}
        ${slider({
          label: html`<i>β</i><sub>T</sub>, del lineal y el cuadrático`,
          name: "β T, del lineal y el cuadrático",
          text: this.stretched,
          value: this.betaEnd,
          min: 0.002,
          max: 0.024,
          step: 0.001,
          onInput: (betaEnd) => {
            this.betaEnd = betaEnd;
          },
        })}
      </div>
      ${this.curves(all)} ${this.pictures(all)}
    `;
  }

  private toggle(name: string): void {
    const shown = new Set(this.shown);
    if (!shown.delete(name)) shown.add(name);
    this.shown = shown;
  }

  private curves(all: ReturnType<SchedulerWidget["schedules"]>): TemplateResult {
    const { title, value } = QUANTITIES[this.quantity]!;
    const lines = all.map(({ colour, schedule }) => {
      // Por debajo de la gráfica, la curva se acaba: no se queda en el borde.
      const points = Array.from(schedule.betas, (_, k) => [k + 1, value(schedule, k)] as const);
      const shown = points.filter(([, y]) => this.quantity !== "snr" || y >= LOWEST);
      return { colour, points: shown };
    });
    const values = lines.flatMap(({ points }) => points.map(([, y]) => y));
    const y =
      this.quantity === "snr"
        ? ([
            Math.max(LOWEST, Math.min(-4, Math.floor(Math.min(...values)))),
            Math.max(4, ...values),
          ] as const)
        : ([0, this.quantity === "bar" ? 1 : Math.max(0.02, ...values)] as const);
    return html`${plot(
      {
        width: this.room,
        height: 260,
        x: [1, this.timesteps],
        y,
        xLabel: "t",
        yLabel: title,
        title: this.spoken(),
      },
      (scales) =>
        lines.map(
          ({ colour, points }) => svg`<g style="color: ${colour}">${curve(scales, points)}</g>`,
        ),
    )}`;
  }

  private pictures(all: ReturnType<SchedulerWidget["schedules"]>): TemplateResult | string {
    const { picture } = this;
    if (!picture) return "";
    const times = MOMENTS.map((moment) => Math.max(1, Math.round(moment * this.timesteps)));
    return html`<div class="tira tiempos" aria-hidden="true">
        ${times.map((t) => html`<span>${t === this.timesteps ? html`<i>T</i>` : t}</span>`)}
      </div>
      ${all.map(
        ({ name, colour, schedule }) => html`<div class="tira">
        <span class="muestra" style="--muestra: ${colour}">
          ${TITLES[name]}: en <i>t</i> = <i>T</i> queda √ᾱ = ${significant(leftIn(schedule))}
        </span>
        ${times.map((t) => {
          const values = qSample(schedule, picture.values, t - 1, this.noise);
          return html`<dl-imagen
            .picture=${{ ...picture, values }}
            label="La imagen en t = ${t} con el schedule ${TITLES[name]}"
          ></dl-imagen>`;
        })}
      </div>`,
      )}`;
  }

  protected override spoken(): string {
    const last = this.schedules().map(
      ({ name, schedule }) => `${TITLES[name]}, ${significant(leftIn(schedule))}`,
    );
    if (last.length === 0) return "No se dibuja ninguno.";
    return `T = ${this.timesteps}. Señal que queda en t = T, √ᾱ: ${last.join("; ")}.`;
  }
}

/** Lo que queda de la imagen al final. */
function leftIn(schedule: Schedule): number {
  return Math.sqrt(schedule.alphasCumprod[schedule.length - 1]!);
}
