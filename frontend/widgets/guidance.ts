/** Guía: la ley que se suele decir que se muestrea y la que se muestrea de verdad. */

import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { makeDenoiser } from "../ddpm_lit/backward";
import { makeDiffusion, respaced } from "../ddpm_lit/diffusion";
import { classifierFree } from "../ddpm_lit/guidance";
import { idealModel } from "../ddpm_lit/ideal";
import { samplingNoise } from "../ddpm_lit/noise";
import { algorithm2, SAMPLERS } from "../ddpm_lit/sampling";
import { makeSchedule } from "../ddpm_lit/scheduler";
import {
  bars,
  curve,
  filled,
  histogram,
  normalDensity,
  plot,
  plotStyles,
  steps,
} from "../drawing/plot";
import { comma } from "../numbers";
import { choice, slider, Widget } from "../widget";

/** Los datos son N(0, 1), y los de la clase, N(m, v). */
const [MEAN, VARIANCE] = [0.6, 0.25];
const RANGE = [-1.5, 2.5] as const;
const BINS = 60;
const [PARTICLES, STEPS] = [3000, 100];
const WHOLE = makeDiffusion(makeSchedule("cosine", 1000), { variance: "fixed_large", clip: false });

@customElement("dl-guidance")
export class GuidanceWidget extends Widget {
  @state() private w = 1;
  @state() private sampler = "ddpm";
  @state() private samples: Float32Array = new Float32Array();
  private asked = 0;

  static override styles: CSSResultGroup = [
    Widget.styles,
    plotStyles,
    css`
      table {
        border-collapse: collapse;
        margin: auto;
        font-variant-numeric: tabular-nums;
      }
      th,
      td {
        padding: 0.15rem 0.8rem;
        text-align: left;
        font-weight: 400;
      }
      td {
        white-space: nowrap;
      }
      caption {
        caption-side: bottom;
        padding-top: 0.4rem;
      }
      .condicionada {
        color: var(--dl-fig-6);
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.sample();
  }

  /** La media y la varianza de p(x|c) p(c|x)^w: el producto de unas normales es otra. */
  private get tilted(): { mean: number; variance: number } {
    const k = 1 + this.w * (1 - VARIANCE);
    return { mean: ((1 + this.w) * MEAN) / k, variance: VARIANCE / k };
  }

  /** Genera con la red ideal, guiada: lo que sale de verdad. */
  private async sample(): Promise<void> {
    this.asked += 1;
    const { asked, w } = this;
    const conditional = idealModel(WHOLE, Float32Array.of(MEAN), 1, Math.sqrt(VARIANCE));
    const unconditional = idealModel(WHOLE, Float32Array.of(0), 1, 1);
    const guided = async (xT: Float32Array, time: number) =>
      classifierFree(await conditional(xT, time), await unconditional(xT, time), { w }, 1);
    const denoise = makeDenoiser(guided, respaced(WHOLE, STEPS), 1);
    const noises = samplingNoise(
      0,
      Array.from({ length: PARTICLES }, (_, k) => k),
      1,
    );
    const sampler = SAMPLERS[this.sampler]!(0);
    let last = new Float32Array();
    for await (const step of algorithm2(denoise, noises.next().value, noises, sampler)) {
      if (asked !== this.asked) return;
      last = step.xT as Float32Array<ArrayBuffer>;
      // De cuando en cuando se deja dibujar a la página.
      if (step.t % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
    this.samples = last;
  }

  private get made(): { mean: number; deviation: number } {
    const { samples } = this;
    const mean = samples.reduce((sum, x) => sum + x, 0) / samples.length;
    const square = samples.reduce((sum, x) => sum + (x - mean) ** 2, 0) / samples.length;
    return { mean, deviation: Math.sqrt(square) };
  }

  protected override view(): TemplateResult {
    const row = (kind: string, title: TemplateResult | string, mean: number, deviation: number) =>
      html`<tr>
        <th class=${kind}>${title}</th>
        <td>${comma(mean)} ± ${comma(deviation)}</td>
      </tr>`;
    return html`
      ${slider({
        label: html`<i>w</i>`,
        name: "w",
        text: comma(this.w),
        value: this.w,
        min: 0,
        max: 6,
        step: 0.25,
        onInput: (w) => {
          this.w = w;
          void this.sample();
        },
      })}
      ${choice(
        "Sampler:",
        [
          ["ddpm", "DDPM"],
          ["ddim", "DDIM"],
        ],
        this.sampler,
        (sampler) => {
          this.sampler = sampler;
          void this.sample();
        },
      )}
      ${this.laws()}
      <table>
        <tbody>
          ${row("condicionada", html`la condicionada, <i>p</i>(<i>x</i>|<i>c</i>)`, MEAN, Math.sqrt(VARIANCE))}
          ${row(
            "mu",
            html`la inclinada, <i>p</i>(<i>x</i>|<i>c</i>) <i>p</i>(<i>c</i>|<i>x</i>)<sup><i>w</i></sup>`,
            this.tilted.mean,
            Math.sqrt(this.tilted.variance),
          )}
          ${this.samples.length > 0 ? row("xt", "lo que sale", this.made.mean, this.made.deviation) : ""}
        </tbody>
        <caption>
          Media ± desviación típica. «Lo que sale» son ${PARTICLES} muestras de ${STEPS} pasos: la segunda cifra
          decimal puede bailar.
        </caption>
      </table>
    `;
  }

  private laws(): TemplateResult {
    const grid = steps(...RANGE, 181);
    const bell = (mean: number, variance: number) =>
      grid.map((x) => [x, normalDensity(x, mean, variance)] as const);
    const heights = histogram(this.samples, RANGE, BINS);
    const { mean, variance } = this.tilted;
    const tops = [normalDensity(mean, mean, variance), ...heights.map(([, y]) => y)];
    const top = 1.08 * Math.max(...tops.filter(Number.isFinite));
    return html`${plot(
      { width: this.room, height: 260, x: RANGE, y: [0, top], xLabel: "x", title: this.spoken() },
      (scales) => [
        filled(scales, bell(mean, variance), "mu"),
        ...(this.samples.length > 0
          ? bars(scales, heights, (RANGE[1] - RANGE[0]) / BINS, "xt")
          : []),
        curve(scales, bell(MEAN, VARIANCE), "condicionada"),
        curve(scales, bell(mean, variance), "mu"),
      ],
    )}`;
  }

  protected override spoken(): string {
    const { mean, variance } = this.tilted;
    const made =
      this.samples.length > 0
        ? `; lo que sale, ${comma(this.made.mean)} ± ${comma(this.made.deviation)}`
        : "";
    return `w = ${comma(this.w)}. La ley inclinada es ${comma(mean)} ± ${comma(Math.sqrt(variance))}${made}.`;
  }
}
