/** Posterior: se arrastran x_0 y x_t y se mueven la previa, la verosimilitud y el posterior. */

import { type CSSResultGroup, css, html, svg, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { qPosterior } from "../ddpm_lit/posterior";
import { makeSchedule } from "../ddpm_lit/scheduler";
import {
  curve,
  filled,
  normalDensity,
  plot,
  plotStyles,
  type Scales,
  steps,
} from "../drawing/plot";
import { comma } from "../numbers";
import { slider, Widget } from "../widget";

/** Con pocos pasos las campanas son anchas y se ven las tres a la vez. */
const SCHEDULE = makeSchedule("linear", 50);
const RANGE = [-3, 3] as const;
/** Lo que se ve: las campanas se salen de donde pueden estar x_0 y x_t. */
const SEEN = [-4, 4] as const;
const GRID = steps(...SEEN, 321);
const HEIGHT = 280;

type Handle = "x0" | "xT";

@customElement("dl-posterior")
export class PosteriorWidget extends Widget {
  @state() private x0 = -0.8;
  @state() private xT = 1.2;
  @state() private t = 20;
  private held: Handle | null = null;
  private scales: Scales | null = null;

  static override styles: CSSResultGroup = [
    Widget.styles,
    plotStyles,
    css`
      .asa {
        fill: currentColor;
        stroke: var(--dl-papel);
        stroke-width: 2;
        cursor: grab;
      }
      /* El dedo que arrastra de lado es nuestro; el que sube o baja, de la página. */
      .grafica {
        touch-action: pan-y;
      }
      .balanza {
        display: grid;
        grid-template-columns: auto 1fr auto;
        gap: 0.4rem 0.7rem;
        align-items: center;
      }
      .balanza .barra {
        height: 0.8rem;
        border-radius: 0.4rem;
        background: currentColor;
        min-width: 2px;
      }
    `,
  ];

  /** La media y la varianza del posterior, con las funciones del paquete. */
  private get posterior(): { mean: number; variance: number } {
    const [x0, xT] = [Float32Array.of(this.x0), Float32Array.of(this.xT)];
    const { mean, variance } = qPosterior(SCHEDULE, x0, xT, this.t - 1);
    return { mean: mean[0]!, variance };
  }

  protected override view(): TemplateResult {
    const [coef1, coef2] = [
      SCHEDULE.posteriorMeanCoef1[this.t - 1]!,
      SCHEDULE.posteriorMeanCoef2[this.t - 1]!,
    ];
    const place = (name: Handle, label: TemplateResult) =>
      slider({
        label,
        name: name === "x0" ? "x sub cero" : "x sub t",
        text: comma(this[name]),
        value: this[name],
        min: RANGE[0],
        max: RANGE[1],
        step: 0.05,
        onInput: (value) => {
          this[name] = value;
        },
      });
    return html`
      <div class="fila">
        ${place("x0", html`<span class="x0"><i>x</i><sub>0</sub></span>`)}
        ${place("xT", html`<span class="xt"><i>x</i><sub>t</sub></span>`)}
        ${slider({
          label: html`<i>t</i>`,
          name: "t",
          text: `${this.t} de ${SCHEDULE.length}`,
          value: this.t,
          min: 2,
          max: SCHEDULE.length,
          onInput: (t) => {
            this.t = t;
          },
        })}
      </div>
      <div
        @pointermove=${this.drag}
        @pointerup=${() => {
          this.held = null;
        }}
      >
        ${this.densities()}
      </div>
      <p class="rotulos">
        <span class="x0">la pista de <i>x</i><sub>0</sub></span>
        <span class="xt">la pista de <i>x</i><sub>t</sub>, dividida entre √α porque el paso la encogió</span>
        <span class="mu">las dos juntas: el posterior</span>
      </p>
      <div class="balanza">
        <span class="x0">peso de <i>x</i><sub>0</sub></span>
        <div class="barra x0" style="width: ${Math.min(100, 100 * coef1)}%"></div>
        <b>${comma(coef1, 3)}</b>
        <span class="xt">peso de <i>x</i><sub>t</sub></span>
        <div class="barra xt" style="width: ${Math.min(100, 100 * coef2)}%"></div>
        <b>${comma(coef2, 3)}</b>
      </div>
      ${this.sum(coef1, coef2)}
    `;
  }

  private densities(): TemplateResult {
    const k = this.t - 1;
    const [alpha, before] = [SCHEDULE.alphas[k]!, SCHEDULE.alphasCumprodPrev[k]!];
    const { mean, variance } = this.posterior;
    // Lo que dice x_t: su verosimilitud, mirada como función de x_{t-1}.
    const likelihood = { mean: this.xT / Math.sqrt(alpha), variance: (1 - alpha) / alpha };
    const bell = (m: number, v: number) => GRID.map((x) => [x, normalDensity(x, m, v)] as const);
    const prior = bell(Math.sqrt(before) * this.x0, 1 - before);
    const seen = bell(likelihood.mean, likelihood.variance);
    const both = bell(mean, variance);
    const top = 1.1 * Math.max(...[prior, seen, both].flat().map(([, y]) => y));
    return html`${plot(
      {
        width: this.room,
        height: HEIGHT,
        x: SEEN,
        y: [0, top],
        xLabel: "x en t − 1",
        title: this.spoken(),
      },
      (scales) => {
        this.scales = scales;
        const handle = (name: Handle, kind: string) => svg`<circle class="asa ${kind}" r="9"
          cx=${scales.x(this[name])} cy=${scales.y(0)}
          @pointerdown=${(event: PointerEvent) => this.hold(name, event)}></circle>`;
        return [
          filled(scales, both, "mu"),
          curve(scales, prior, "x0"),
          curve(scales, seen, "xt"),
          curve(scales, both, "mu"),
          handle("x0", "x0"),
          handle("xT", "xt"),
        ];
      },
    )}`;
  }

  private sum(coef1: number, coef2: number): TemplateResult {
    const { mean, variance } = this.posterior;
    return html`<p class="cuentas">
      <span class="mu">μ̃<sub>t</sub></span> = ${comma(coef1, 3)} ·
      <span class="x0">${comma(this.x0)}</span> + ${comma(coef2, 3)} ·
      <span class="xt">${comma(this.xT)}</span> = <b>${comma(mean, 3)}</b> &emsp;
      <span class="beta">β̃<sub>t</sub></span> = <b>${comma(variance, 4)}</b>
    </p>`;
  }

  private hold(name: Handle, event: PointerEvent): void {
    this.held = name;
    (event.target as Element).setPointerCapture(event.pointerId);
    event.preventDefault();
  }

  private drag(event: PointerEvent): void {
    const drawing = this.renderRoot.querySelector("svg");
    if (!this.held || !this.scales || !drawing) return;
    const box = drawing.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * this.room;
    const value = Math.round(this.scales.xAt(place) * 20) / 20;
    this[this.held] = Math.max(RANGE[0], Math.min(RANGE[1], value));
  }

  protected override spoken(): string {
    const { mean, variance } = this.posterior;
    return `Con x sub cero ${comma(this.x0)} y x sub t ${comma(this.xT)}, en t = ${this.t}, el posterior tiene media ${comma(mean)} y desviación típica ${comma(Math.sqrt(variance))}.`;
  }
}
