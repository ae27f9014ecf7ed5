/** Forward process: se arrastra t sobre una imagen y se ve cuánta señal queda. */

import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { qSample } from "../ddpm_lit/forward";
import { samplingNoise } from "../ddpm_lit/noise";
import { makeSchedule } from "../ddpm_lit/scheduler";
import { chooser } from "../drawing/chooser";
import { fetchPictures, type Picture } from "../drawing/pixels";
import { bars, curve, histogram, normalDensity, plot, plotStyles, steps } from "../drawing/plot";
import { comma, significant } from "../numbers";
import { reasonOf } from "../problems";
import { choice, slider, Widget } from "../widget";

const SCHEDULE = makeSchedule("linear", 1000);
const RANGE = [-4, 4] as const;
const BINS = 48;
const OWN = "propia";
/** El lado al que se lleva la imagen de quien lee. */
const SIDE = 96;

@customElement("dl-forward")
export class ForwardWidget extends Widget {
  @state() private pictures: ReadonlyMap<string, { title: string; picture: Picture }> = new Map();
  @state() private chosen = "";
  @state() private t = 150;
  @state() private problem = "";
  private noise: Float32Array = new Float32Array();
  private xT: Float32Array = new Float32Array();

  static override styles: CSSResultGroup = [
    Widget.styles,
    plotStyles,
    css`
      .vistas {
        display: grid;
        grid-template-columns: minmax(8rem, 13rem) minmax(0, 1fr);
        gap: 1rem;
        align-items: center;
      }
      @media (max-width: 30em) {
        .vistas {
          grid-template-columns: 1fr;
        }
        dl-imagen {
          width: min(13rem, 100%);
          margin: auto;
        }
      }
    `,
  ];

  override async firstUpdated(): Promise<void> {
    try {
      const pictures = await fetchPictures(this.data);
      this.pictures = new Map(pictures.map(({ name, ...rest }) => [name, rest]));
      this.choose(pictures[0]!.name);
    } catch (error) {
      this.problem = `No han llegado las imágenes (${reasonOf(error)}). Podéis poner una vuestra.`;
    }
  }

  private choose(name: string): void {
    this.chosen = name;
    const { values } = this.pictures.get(name)!.picture;
    this.noise = samplingNoise(0, [0], values.length).next().value;
  }

  private own(picture: Picture): void {
    this.pictures = new Map([...this.pictures, [OWN, { title: "la vuestra", picture }]]);
    this.choose(OWN);
    this.problem = "";
  }

  /** ᾱ_t; en t = 0 todavía no se ha añadido nada. */
  private get bar(): number {
    return this.t > 0 ? SCHEDULE.alphasCumprod[this.t - 1]! : 1;
  }

  protected override view(): TemplateResult {
    const picture = this.pictures.get(this.chosen)?.picture;
    if (picture) {
      const { values } = picture;
      this.xT = this.t > 0 ? qSample(SCHEDULE, values, this.t - 1, this.noise) : values;
    }
    const options = [...this.pictures].map(([name, { title }]) => [name, title] as const);
    return html`
      <div class="fila">
        ${choice("Imagen:", options, this.chosen, (name) => this.choose(name))}
        ${chooser(
          "Poner una vuestra",
          SIDE,
          (picture) => this.own(picture),
          (problem) => {
            this.problem = problem;
          },
        )}
      </div>
      ${this.problem ? html`<p class="aviso" role="alert">${this.problem}</p>` : ""}
      ${slider({
        label: html`<i>t</i>`,
        name: "t",
        text: String(this.t),
        value: this.t,
        min: 0,
        max: SCHEDULE.length,
        onInput: (t) => {
          this.t = t;
        },
      })}
      <div class="vistas">
        <dl-imagen
          .picture=${picture ? { ...picture, values: this.xT } : null}
          label="La imagen en t = ${this.t}"
        ></dl-imagen>
        ${this.distribution()}
      </div>
      ${this.formula()}
    `;
  }

  private distribution(): TemplateResult {
    const heights = histogram(this.xT, RANGE, BINS);
    const width = (RANGE[1] - RANGE[0]) / BINS;
    const bell = steps(...RANGE, 121).map((x) => [x, normalDensity(x)] as const);
    const top = Math.max(0.5, ...heights.map(([, height]) => height)) * 1.05;
    return html`${plot(
      {
        width: Math.min(420, this.room),
        height: 210,
        x: RANGE,
        y: [0, top],
        xLabel: "valor de un píxel",
        title: "Histograma de los píxeles y, encima, la campana de la normal estándar",
      },
      (scales) => [...bars(scales, heights, width, "xt"), curve(scales, bell, "eps")],
    )}`;
  }

  private formula(): TemplateResult {
    const { bar } = this;
    return html`<p class="cuentas">
      <span class="xt"><i>x</i><sub>t</sub></span> =
      <b>${comma(Math.sqrt(bar), 3)}</b> · <span class="x0"><i>x</i><sub>0</sub></span> +
      <b>${comma(Math.sqrt(1 - bar), 3)}</b> · <span class="eps">ε</span> &emsp; relación señal-ruido (SNR) = ${squared(bar)} / ${squared(1 - bar)} = <b>${significant(bar / (1 - bar))}</b>
    </p>`;
  }

  protected override spoken(): string {
    const { bar } = this;
    return `t = ${this.t}: ${comma(Math.sqrt(bar))} de la imagen y ${comma(Math.sqrt(1 - bar))} de ruido; relación señal-ruido, ${significant(bar / (1 - bar))}.`;
  }
}

/** El cuadrado de un coeficiente: con tres decimales, salvo que así fuera cero sin serlo. */
function squared(value: number): string {
  return value > 0 && value < 0.0005 ? significant(value) : comma(value, 3);
}
