/** Pérdidas: en qué t está el error de una red, y qué mira cada manera de pesarlo. */

import { type CSSResultGroup, css, html, svg, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { curve, filled, plot, plotStyles } from "../drawing/plot";
import { comma, plural, reaching, significant } from "../numbers";
import { fetchJson, reasonOf } from "../problems";
import { choice, Widget } from "../widget";

/** Lo que midió la construcción con un modelo y datos apartados, en unos cuantos t. */
interface Measured {
  t: number[];
  /** Cuántos t representa cada uno. */
  width: number[];
  /** El error medio en ε. */
  error: number[];
  /** Los términos de la cota, en bits por dimensión, y el último, L_T. */
  terms: number[];
  prior: number;
  /** El peso medio de cada tramo, por el nombre de la manera de pesar. */
  weights: Record<string, number[]>;
}

const WEIGHTINGS = [
  ["uniform", "L simple"],
  ["vlb", "el peso de la cota"],
  ["min_snr", "min-SNR"],
] as const;

@customElement("dl-losses")
export class LossesWidget extends Widget {
  @state() private measured: Measured | null = null;
  @state() private weighting = "uniform";
  @state() private pointed = 0;
  @state() private problem = "";

  static override styles: CSSResultGroup = [
    Widget.styles,
    plotStyles,
    css`
      .columna {
        fill: var(--dl-eps);
        opacity: 0.45;
      }
      .toque {
        fill: transparent;
        cursor: pointer;
        touch-action: pan-y;
      }
      .columna.elegida {
        opacity: 1;
      }
      .termino {
        fill: var(--dl-mu);
      }
    `,
  ];

  override async firstUpdated(): Promise<void> {
    try {
      this.measured = await fetchJson<Measured>(this.data);
      this.pointed = Math.floor(this.measured.t.length / 2);
    } catch (error) {
      this.problem = `No han llegado las medidas (${reasonOf(error)}). Recargad la página.`;
    }
  }

  /** Qué parte de la pérdida pone cada t: su peso por su error por cuántos t representa. */
  private shares({ error, width, weights }: Measured): number[] {
    const parts = error.map((value, k) => value * width[k]! * weights[this.weighting]![k]!);
    const total = parts.reduce((sum, part) => sum + part, 0);
    return parts.map((part) => part / total);
  }

  /** El t hasta el que se junta la mitad de la pérdida. */
  private half(measured: Measured): number {
    return halfway(this.shares(measured), measured.width);
  }

  private key(event: KeyboardEvent): void {
    const last = (this.measured?.t.length ?? 1) - 1;
    const moves: Record<string, number> = {
      ArrowLeft: this.pointed - 1,
      ArrowRight: this.pointed + 1,
      Home: 0,
      End: last,
      PageUp: this.pointed + 4,
      PageDown: this.pointed - 4,
    };
    const moved = moves[event.key];
    if (moved === undefined) return;
    event.preventDefault();
    this.pointed = Math.max(0, Math.min(last, moved));
  }

  private point(event: PointerEvent): void {
    if (event.type === "pointermove" && event.buttons === 0) return;
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const count = this.measured?.t.length ?? 1;
    const k = Math.floor(((event.clientX - box.left) / box.width) * count);
    this.pointed = Math.max(0, Math.min(count - 1, k));
  }

  protected override view(): TemplateResult {
    const { measured } = this;
    if (!measured) {
      return html`${this.problem ? html`<p class="aviso" role="alert">${this.problem}</p>` : "Cargando…"}`;
    }
    const k = this.pointed;
    return html`
      ${choice("Se pesa con:", WEIGHTINGS, this.weighting, (weighting) => {
        this.weighting = weighting;
      })}
      <div
        tabindex="0"
        role="slider"
        aria-label="El t que se mira"
        aria-valuemin=${measured.t[0]!}
        aria-valuemax=${measured.t.at(-1)!}
        aria-valuenow=${measured.t[k]!}
        aria-valuetext=${this.pointedText(measured)}
        @keydown=${this.key}
      >
        ${this.parts(measured)}
      </div>
      <p class="rotulos">
        <span class="eps">lo que pone cada tramo de <i>t</i></span>
        <span class="xt">el error en ε, sin pesar (eje de la derecha)</span>
      </p>
      <p class="cuentas">${this.pointedText(measured)}</p>
      <p class="cuentas">
        La mitad de la pérdida la ponen, más o menos, los <i>t</i> ≤ <b>${this.half(measured)}</b>.
        ${
          this.weighting === "vlb"
            ? html`La mitad de los bits de la cota la ponen los <i>t</i> ≤
                <b>${this.halfOfBits(measured)}</b>. No coinciden: con <i>t</i> = 1 se decodifica casi sin error y apenas cuesta
                bits, y con <i>t</i> grande el peso crece pero los bits no, porque <i>x̂</i><sub>0</sub> se recorta.`
            : ""
        }
      </p>
    `;
  }

  /** Los t del tramo que se mira. */
  private stretch({ width }: Measured): string {
    const last = width.slice(0, this.pointed + 1).reduce((sum, each) => sum + each, 0);
    const first = last - width[this.pointed]! + 1;
    return first === last ? `t = ${last}` : `t de ${first} a ${last}`;
  }

  private pointedText(measured: Measured): string {
    const k = this.pointed;
    const share = this.shares(measured)[k]!;
    const { error, weights, terms, width } = measured;
    const weight = weights[this.weighting]![k]!;
    return `${this.stretch(measured)}: error ${significant(error[k]!)} × peso ${significant(weight)} × ${plural(width[k]!, "instante", "instantes")}: el ${comma(100 * share, 1)} % de la pérdida; en la cota, ${significant(terms[k]!)} bits por dimensión cada uno.`;
  }

  /** El t hasta el que se junta la mitad de los bits de la cota, que no son su peso por el error. */
  private halfOfBits({ terms, width }: Measured): number {
    return halfway(
      terms.map((bits, k) => bits * width[k]!),
      width,
    );
  }

  private parts(measured: Measured): TemplateResult {
    const shares = this.shares(measured);
    const count = shares.length;
    const top = 1.1 * Math.max(...shares);
    const errors = measured.error.map((error, k) => [k + 0.5, error] as const);
    const [width, height] = [this.room, 240];
    return html`${plot(
      {
        width,
        height,
        x: [0, count],
        y: [0, 100 * top],
        yLabel: "% de la pérdida",
        title: this.spoken(),
        xTicks: measured.t.flatMap((t, k) =>
          (k % 4 === 0 && k < count - 2) || k === count - 1 ? [[k + 0.5, String(t)] as const] : [],
        ),
        xLabel: "t, en tramos cada vez más anchos",
        right: { range: [0, 1.1 * Math.max(...measured.error)], label: "error en ε" },
      },
      ({ x, y, yRight }) => [
        filled({ x, y: yRight }, errors, "xt"),
        ...shares.map(
          (share, k) => svg`<rect class="columna ${k === this.pointed ? "elegida" : ""}"
            x=${x(k) + 1} width=${x(k + 1) - x(k) - 2}
            y=${y(100 * share)} height=${y(0) - y(100 * share)}
          ></rect>`,
        ),
        curve({ x, y: yRight }, errors, "xt"),
        // Se toca o se arrastra a cualquier altura, también donde la columna no se ve.
        svg`<rect class="toque" x=${x(0)} width=${x(count) - x(0)} y="0" height=${y(0)}
          @pointerdown=${this.point} @pointermove=${this.point}></rect>`,
      ],
    )}`;
  }

  protected override spoken(): string {
    const { measured } = this;
    if (!measured) return "";
    const name = WEIGHTINGS.find(([weighting]) => weighting === this.weighting)![1];
    return `Con ${name}, la mitad de la pérdida la ponen, más o menos, los t hasta ${this.half(measured)}. ${this.pointedText(measured)}`;
  }
}

/** El t hasta el que se junta la mitad de unas partes, si en cada tramo se reparten por igual. */
function halfway(parts: readonly number[], width: readonly number[]): number {
  const total = parts.reduce((sum, part) => sum + part, 0);
  const shares = parts.map((part) => part / total);
  const at = reaching(shares, 0.5);
  const before = (values: readonly number[]) =>
    values.slice(0, at).reduce((sum, value) => sum + value, 0);
  const part = (0.5 - before(shares)) / shares[at]!;
  return before(width) + Math.ceil(part * width[at]!);
}
