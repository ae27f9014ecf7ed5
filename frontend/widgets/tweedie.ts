/** Tweedie: x̂_0 es la media de todo lo que podría haber sido, cada cosa con lo probable que es. */

import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { idealWeights, idealXStart } from "../ddpm_lit/ideal";
import { makeSchedule } from "../ddpm_lit/scheduler";
import { ARROWS, placeIn, planeStyles, within } from "../drawing/pointing";
import { cross, sheetOf } from "../drawing/sheet";
import { comma, reaching } from "../numbers";
import { DISTRIBUTIONS, dataOf } from "../plane/distributions";
import { choice, slider, Widget } from "../widget";

const TIMESTEPS = 200;
const SCHEDULE = makeSchedule("linear", TIMESTEPS);
const POINTS = 64;
/** El plano que se ve va de -EDGE a EDGE, y el lienzo tiene SIDE píxeles de lado. */
const [EDGE, SIDE] = [1.6, 560];
/** El radio del dato que más pesa y el del que no pesa, en píxeles. */
const [LARGEST, SMALLEST] = [13, 2.5];

@customElement("dl-tweedie")
export class TweedieWidget extends Widget {
  @state() private distribution = "lunas";
  @state() private t = 30;
  @state() private place: readonly [number, number] = [0.15, 0.55];
  private held = false;

  static override styles: CSSResultGroup = [
    Widget.styles,
    planeStyles,
    css`
      canvas {
        touch-action: pan-y;
      }
      .vistas {
        display: grid;
        grid-template-columns: minmax(0, 1fr) minmax(12rem, 0.6fr);
        gap: 1rem;
        align-items: center;
      }
      .datos {
        color: var(--dl-fig-6);
      }
      ul {
        list-style: none;
        margin: 0;
        padding: 0;
        display: grid;
        gap: 0.5rem;
      }
      @media (max-width: 40em) {
        .vistas {
          grid-template-columns: 1fr;
        }
      }
    `,
  ];

  private get points(): Float32Array {
    return dataOf(this.distribution, POINTS);
  }

  private get x(): Float32Array {
    return Float32Array.from(this.place);
  }

  private get weights(): Float64Array {
    return idealWeights(SCHEDULE, this.points, this.x, this.t - 1, 2);
  }

  private get guess(): Float32Array {
    return idealXStart(SCHEDULE, this.points, this.x, this.t - 1, 2);
  }

  /** Cuántos datos, los más probables, suman nueve décimas partes. */
  private get several(): number {
    const sorted = [...this.weights].sort((a, b) => b - a);
    return reaching(sorted, 0.9) + 1;
  }

  private get shared(): string {
    const { several } = this;
    return several === 1
      ? "Uno solo pesa ya más del 90 %."
      : `Entre los ${several} que más pesan suman el 90 %.`;
  }

  private key(event: KeyboardEvent): void {
    const move = ARROWS[event.key];
    if (!move) return;
    event.preventDefault();
    const moved = (k: 0 | 1) => {
      const value = Math.round((this.place[k] + 0.05 * move[k]) * 100) / 100;
      return within(value, -EDGE, EDGE);
    };
    this.place = [moved(0), moved(1)];
  }

  protected override view(): TemplateResult {
    const most = Math.max(...this.weights);
    const [x, y] = this.guess;
    return html`
      ${choice("Datos:", DISTRIBUTIONS, this.distribution, (name) => {
        this.distribution = name;
      })}
      ${slider({
        label: html`<i>t</i>`,
        name: "t",
        text: `${this.t} de ${TIMESTEPS}`,
        value: this.t,
        min: 1,
        max: TIMESTEPS,
        onInput: (t) => {
          this.t = t;
        },
      })}
      <div class="vistas">
        <canvas
          width=${SIDE}
          height=${SIDE}
          tabindex="0"
          role="application"
          aria-label="El plano. Con las flechas se mueve x sub t."
          @pointerdown=${(event: PointerEvent) => {
            this.held = true;
            (event.currentTarget as Element).setPointerCapture(event.pointerId);
            this.place = placeIn(event, EDGE);
          }}
          @pointermove=${(event: PointerEvent) => {
            if (this.held) this.place = placeIn(event, EDGE);
          }}
          @pointerup=${() => {
            this.held = false;
          }}
          @pointercancel=${() => {
            this.held = false;
          }}
          @keydown=${this.key}
        ></canvas>
        <ul>
          <li><span class="xt">✚ <i>x</i><sub>t</sub></span>, lo que la red ve</li>
          <li>
            <span class="datos">● los datos</span>: cuanto más grande, más probable es que
            <i>x</i><sub>t</sub> salga de él
          </li>
          <li>
            <span class="x0">◆ <i>x̂</i><sub>0</sub></span>, la media de todos, cada uno con su peso: (${comma(x!)}; ${comma(y!)})
          </li>
          <li>El más probable pesa <b>${percent(most)}</b>.</li>
          <li>${this.shared}</li>
        </ul>
      </div>
    `;
  }

  protected override spoken(): string {
    const [x, y] = this.guess;
    const [seenX, seenY] = this.place;
    return `t = ${this.t}. x sub t está en (${comma(seenX)}; ${comma(seenY)}); la estimación, en (${comma(x!)}; ${comma(y!)}). ${this.shared}`;
  }

  protected override updated(): void {
    super.updated();
    const sheet = sheetOf(this.renderRoot.querySelector("canvas"), EDGE);
    if (!sheet) return;
    const { context, colour, pixel } = sheet;
    const { points: data, weights, guess, place } = this;
    const most = Math.max(...weights);
    context.fillStyle = colour("fig-6");
    weights.forEach((weight, k) => {
      const part = Math.sqrt(weight / most);
      context.globalAlpha = 0.45 + 0.35 * part;
      context.beginPath();
      const radius = SMALLEST + (LARGEST - SMALLEST) * part;
      context.arc(pixel(data[2 * k]!), pixel(-data[2 * k + 1]!), radius, 0, 2 * Math.PI);
      context.fill();
    });
    context.globalAlpha = 1;
    const [fromX, fromY] = [pixel(place[0]), pixel(-place[1])];
    const [toX, toY] = [pixel(guess[0]!), pixel(-guess[1]!)];
    context.strokeStyle = context.fillStyle = colour("x0");
    context.lineWidth = 2;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(fromX, fromY);
    context.lineTo(toX, toY);
    context.stroke();
    context.setLineDash([]);
    context.save();
    context.translate(toX, toY);
    context.rotate(Math.PI / 4);
    context.fillRect(-8, -8, 16, 16);
    context.restore();
    context.strokeStyle = colour("xt");
    context.lineWidth = 5;
    cross(sheet, place, 10);
  }
}

/** Una parte, en tanto por ciento; lo que casi es todo no se redondea a todo. */
function percent(part: number): string {
  return part >= 0.995 && part < 1
    ? "casi el 100 %"
    : `el ${comma(100 * part, part < 0.1 ? 1 : 0)} %`;
}
