/** U-Net: se toca un bloque y se ve su forma, lo que pesa y lo que ha aprendido a mirar. */

import {
  type CSSResultGroup,
  css,
  html,
  type SVGTemplateResult,
  svg,
  type TemplateResult,
} from "lit";
import { customElement, state } from "lit/decorators.js";
import "../drawing/pixels";
import type { Picture } from "../drawing/pixels";
import { comma, plural } from "../numbers";
import { fetchJson, reasonOf } from "../problems";
import { button, choice, Widget } from "../widget";

/** Un bloque de la red. */
interface Block {
  name: string;
  title: string;
  kind: string;
  side: string;
  shape: [number, number, number];
  parameters: number;
  /** El lado del cuadrado de la imagen, alrededor de una posición, que le llega; `null`, toda. */
  reach: number | null;
}

/** Lo que ve un bloque en un t: unos canales y, si es atención, adónde mira la posición del centro. */
interface Seen {
  channels: number[];
  values: string;
  looked?: string;
}

interface Anatomy {
  shape: [number, number, number];
  blocks: Block[];
  seen: { t: number; image: { values: string }; blocks: Seen[] }[];
}

/** El dibujo: lo que mide una columna, como mucho, la altura de un nivel y la del bloque más alto. */
const [COLUMN, LEVEL, TALLEST] = [44, 74, 62];

/** Los bytes que van en base64, como valores en [-1, 1]. */
function decoded(text: string): Float32Array {
  return Float32Array.from(atob(text), (each) => each.charCodeAt(0) / 127.5 - 1);
}

@customElement("dl-unet")
export class UnetWidget extends Widget {
  @state() private anatomy: Anatomy | null = null;
  @state() private chosen = 0;
  @state() private time = 1;
  @state() private problem = "";

  static override styles: CSSResultGroup = [
    Widget.styles,
    css`
      .bloque {
        cursor: pointer;
        outline: none;
      }
      .bloque rect {
        fill: var(--dl-papel);
        stroke: currentColor;
        stroke-width: 1.5;
      }
      .bloque .dedo {
        fill: transparent;
        stroke: none;
      }
      .bloque[aria-pressed="true"] rect:not(.dedo) {
        fill: currentColor;
        fill-opacity: 0.35;
        stroke-width: 3;
      }
      .bloque:focus-visible rect:not(.dedo) {
        stroke: var(--md-accent-fg-color);
        stroke-width: 4;
      }
      .atajo {
        fill: none;
        stroke: var(--dl-fig-rejilla);
        stroke-width: 1.5;
        stroke-dasharray: 4 4;
      }
      .rotulos .a-trazos::before {
        background: none;
        border-top: 2px dashed var(--dl-fig-rejilla);
        height: 0;
      }
      .conv {
        color: var(--dl-fig-1);
      }
      .attentions {
        color: var(--dl-fig-2);
      }
      .samplers {
        color: var(--dl-fig-3);
      }
      .ficha {
        display: grid;
        grid-template-columns: minmax(5rem, 8rem) minmax(0, 1fr);
        gap: 1rem;
        align-items: start;
      }
      .canales {
        display: grid;
        grid-template-columns: repeat(6, minmax(0, 1fr));
        gap: 0.3rem;
      }
      p {
        margin: 0 0 0.5rem;
      }
      figure {
        margin: 0;
      }
      figcaption {
        margin-top: 0.3rem;
        font-size: 0.66rem;
      }
      @media (max-width: 36em) {
        .ficha {
          grid-template-columns: 1fr;
        }
        .ficha > figure {
          max-width: 8rem;
        }
      }
    `,
  ];

  override async firstUpdated(): Promise<void> {
    try {
      this.anatomy = await fetchJson<Anatomy>(this.data);
    } catch (error) {
      this.problem = `No ha llegado la red (${reasonOf(error)}). Recargad la página.`;
    }
  }

  private choose(chosen: number): void {
    const last = (this.anatomy?.blocks.length ?? 1) - 1;
    this.chosen = Math.max(0, Math.min(last, chosen));
  }

  private key(event: KeyboardEvent): void {
    const moves: Record<string, number> = {
      ArrowLeft: this.chosen - 1,
      ArrowRight: this.chosen + 1,
      Home: 0,
      End: (this.anatomy?.blocks.length ?? 1) - 1,
    };
    const moved = moves[event.key];
    if (moved === undefined) return;
    event.preventDefault();
    this.choose(moved);
    void this.updateComplete.then(() => {
      this.renderRoot.querySelector<SVGElement>(".bloque[tabindex='0']")?.focus();
    });
  }

  protected override view(): TemplateResult {
    const { anatomy } = this;
    if (!anatomy) {
      return html`${this.problem ? html`<p class="aviso" role="alert">${this.problem}</p>` : "Cargando…"}`;
    }
    const times = anatomy.seen.map(({ t }, k) => [String(k), String(t)] as const);
    return html`
      ${this.drawing(anatomy)}
      <p class="rotulos">
        <span class="conv"><em>convolución</em></span>
        <span><em>bloque residual</em></span>
        <span class="attentions"><em>atención</em></span>
        <span class="samplers"><em>cambio de tamaño</em></span>
        <span class="a-trazos"><em>atajo</em></span>
      </p>
      <div class="fila ordenes">
        ${button("← El anterior", this.chosen > 0, () => this.choose(this.chosen - 1))}
        ${button("El siguiente →", this.chosen < anatomy.blocks.length - 1, () =>
          this.choose(this.chosen + 1),
        )}
      </div>
      ${choice("La prenda, en t:", times, String(this.time), (time) => {
        this.time = Number(time);
      })}
      ${this.card(anatomy)}
    `;
  }

  /** El lado de lo que sale de un bloque dice en qué nivel está. */
  private levelOf(anatomy: Anatomy, block: Block): number {
    const largest = anatomy.blocks[0]!.shape[1];
    return Math.round(Math.log2(largest / block.shape[1]));
  }

  private drawing(anatomy: Anatomy): TemplateResult {
    const { blocks } = anatomy;
    const deepest = Math.max(...blocks.map((block) => this.levelOf(anatomy, block)));
    const column = Math.min(COLUMN, (this.room - 10) / blocks.length);
    const [width, height] = [column * blocks.length + 10, LEVEL * (deepest + 1) + 8];
    const place = (k: number) => {
      const level = this.levelOf(anatomy, blocks[k]!);
      const tall = TALLEST / 2 ** (level / 2);
      return { x: column * k + 10, y: LEVEL * level + (TALLEST - tall) / 2 + 6, tall, level };
    };
    const wide = 0.7 * column;
    const path = blocks.map((_, k) => {
      const { x, y, tall } = place(k);
      return `${k === 0 ? "M" : "L"}${x + wide / 2},${y + tall / 2}`;
    });
    return html`<svg viewBox="0 0 ${width} ${height}" role="group" aria-label="La red, bloque a bloque">
      <path class="atajo" style="stroke-dasharray: none" d=${path.join("")}></path>
      ${this.shortcuts(blocks).map(([from, to], k) => {
        const [a, b] = [place(from), place(to)];
        // Los de un mismo nivel, uno encima de otro.
        const y = Math.min(a.y, b.y) - 3 - 4 * (k % 2);
        return svg`<path class="atajo" d="M${a.x + wide},${y} H${b.x}"></path>`;
      })}
      ${blocks.map((block, k) => {
        const { x, y, tall, level } = place(k);
        const kind = block.kind.includes("samplers") ? "samplers" : block.kind;
        return svg`<g class="bloque ${kind.startsWith("conv") ? "conv" : kind}" role="button"
          tabindex=${k === this.chosen ? 0 : -1} aria-pressed=${k === this.chosen}
          aria-label="${nameOf(block)}, ${k + 1} de ${blocks.length}"
          @click=${() => this.choose(k)} @keydown=${this.key}>
          <rect class="dedo" x=${x - 0.15 * column} y=${LEVEL * level} width=${column} height=${LEVEL}></rect>
          <rect x=${x} y=${y} width=${wide} height=${tall} rx="4"></rect>
        </g>` as SVGTemplateResult;
      })}
    </svg>`;
  }

  /** Las conexiones de atajo: de quien guarda una activación a quien la gasta, la última primero. */
  private shortcuts(blocks: readonly Block[]): [number, number][] {
    const kept: number[] = [];
    const found: [number, number][] = [];
    blocks.forEach(({ name, kind }, k) => {
      if (name.startsWith("up_blocks") && kind === "resnets") {
        const from = kept.pop();
        if (from !== undefined) found.push([from, k]);
      } else if (name === "conv_in" || name.startsWith("down_blocks")) {
        if (kind === "attentions") kept.pop();
        kept.push(k);
      }
    });
    return found;
  }

  private card(anatomy: Anatomy): TemplateResult {
    const block = anatomy.blocks[this.chosen]!;
    const { image, blocks } = anatomy.seen[this.time]!;
    const seen = blocks[this.chosen]!;
    const [channels, height, width] = anatomy.shape;
    const [, high, wide] = block.shape;
    const values = decoded(seen.values);
    const plane = high * wide;
    const map = (data: Float32Array): Picture => ({
      channels: 1,
      height: high,
      width: wide,
      values: data,
    });
    return html`<div class="ficha">
      <figure>
        <dl-imagen
          .picture=${{ channels: channels as 1 | 3, height, width, values: decoded(image.values) }}
          label="La prenda que entra en la red"
        ></dl-imagen>
        <figcaption class="xt">lo que entra, <i>x</i><sub>t</sub></figcaption>
      </figure>
      <div>
        <p><b>${block.title}</b>${sideOf(block)}</p>
        <p>
          Salen ${channelsOf(block)} de ${block.shape[1]} × ${block.shape[2]}. Tiene
          ${comma(block.parameters, 0)} parámetros. A cada posición ${reachOf(block, anatomy)}
          (contando solo las convoluciones y la atención).
        </p>
        <div class="canales">
          ${seen.channels.map(
            (channel, k) => html`<dl-imagen
              .picture=${map(values.slice(k * plane, (k + 1) * plane))}
              label="El canal ${channel}"
            ></dl-imagen>`,
          )}
        </div>
        <p>
          ${
            seen.channels.length < block.shape[0]
              ? html`Los canales que más cambian de un sitio a otro con <i>t</i> = ${anatomy.seen[0]!.t}.`
              : "Sus canales."
          }
        </p>
        ${
          seen.looked
            ? html`<div class="canales">
                  <dl-imagen
                    .picture=${map(decoded(seen.looked))}
                    label="Adónde mira la posición del centro"
                  ></dl-imagen>
                </div>
                <p>Adónde mira la posición del centro: cuanto más claro, más.</p>`
            : ""
        }
      </div>
    </div>`;
  }

  protected override spoken(): string {
    const { anatomy } = this;
    if (!anatomy) return "";
    const block = anatomy.blocks[this.chosen]!;
    return `${nameOf(block)}, ${this.chosen + 1} de ${anatomy.blocks.length}: ${block.shape.join(" por ")}, ${comma(block.parameters, 0)} parámetros; a cada posición ${reachOf(block, anatomy)}. t = ${anatomy.seen[this.time]!.t}.`;
  }
}

function channelsOf({ shape }: Block): string {
  return plural(shape[0], "canal", "canales");
}

/** Qué parte de la imagen le llega a una posición de lo que sale de un bloque. */
function reachOf({ reach }: Block, { shape }: Anatomy): string {
  if (reach === null) return "le llega toda la imagen";
  const square = `${reach}\u00a0×\u00a0${reach} píxeles`;
  if (reach < shape[1]) return `le llega un cuadrado de ${square} de la imagen`;
  return `le llega lo que haya en un cuadrado de ${square} a su alrededor (a las del centro, toda la imagen)`;
}

/** En qué lado de la red está un bloque. */
function sideOf({ side }: Block): string {
  if (!side) return "";
  return side === "centro" ? ", en el centro" : `, en la ${side}`;
}

/** Un bloque y su lado, que los hay con el mismo título. */
function nameOf(block: Block): string {
  return `${block.title}${sideOf(block)}`;
}
