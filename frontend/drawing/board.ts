/** Un tablero: una imagen de pocos píxeles en la que se pinta, con color o para hacer un hueco. */

import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { plural } from "../numbers";
import { drawPicture, type Picture } from "./pixels";
import { ARROWS, within } from "./pointing";

/** Lo que hay en el tablero: la imagen, y la máscara, 1 en lo conocido y 0 en el hueco. */
export interface Painted {
  values: Float32Array;
  mask: Float32Array;
}

/** De «#rrggbb» a tres valores en [-1, 1]. */
function levels(colour: string): [number, number, number] {
  const channel = (k: number) =>
    Number.parseInt(colour.slice(1 + 2 * k, 3 + 2 * k), 16) / 127.5 - 1;
  return [channel(0), channel(1), channel(2)];
}

@customElement("dl-tablero")
export class Board extends LitElement {
  /** La imagen de la que se parte. */
  @property({ attribute: false }) picture: Picture | null = null;
  /** Si se pinta un hueco o un color. */
  @property() mode: "mask" | "brush" = "brush";
  @property() colour = "#d22f27";
  /** El grueso del pincel, en píxeles de la imagen. */
  @property({ type: Number }) size = 3;

  @state() private cursor: [number, number] = [0, 0];
  /** Dónde está el pincel y cuánto hueco hay, para quien va con el teclado. */
  @state() private said = "";
  /** Lo que había antes de cada trazo. */
  private past: Painted[] = [];
  private values: Float32Array = new Float32Array();
  private mask: Float32Array = new Float32Array();
  private held = false;

  static override styles = css`
    :host {
      display: block;
      position: relative;
    }
    canvas {
      display: block;
      width: 100%;
      image-rendering: pixelated;
      border-radius: 0.3rem;
      border: 1px solid var(--dl-linea);
      box-sizing: border-box;
      cursor: crosshair;
      touch-action: none;
    }
    .oculto {
      position: absolute;
      width: 1px;
      height: 1px;
      overflow: hidden;
      clip-path: inset(50%);
    }
    /* A los lados queda sitio para mover la página con el dedo. */
    @media (pointer: coarse) {
      canvas {
        max-width: 80%;
        margin: auto;
      }
    }
    canvas:focus-visible {
      outline: 2px solid var(--md-accent-fg-color);
      outline-offset: 2px;
    }
  `;

  protected override willUpdate(changed: Map<string, unknown>): void {
    if (changed.has("picture")) this.clear();
  }

  /** Vuelve a la imagen de la que se partía, sin hueco. */
  clear(): void {
    if (!this.picture) return;
    this.past = [];
    this.values = this.picture.values.slice();
    this.mask = new Float32Array(this.values.length).fill(1);
    this.cursor = [Math.floor(this.picture.width / 2), Math.floor(this.picture.height / 2)];
    this.requestUpdate();
    this.dispatchEvent(new Event("change"));
  }

  /** Quita el último trazo. */
  undo(): void {
    const before = this.past.pop();
    if (!before) return;
    this.values = before.values;
    this.mask = before.mask;
    this.requestUpdate();
    this.dispatchEvent(new Event("change"));
  }

  private remember(): void {
    this.past = [...this.past, { values: this.values.slice(), mask: this.mask.slice() }];
  }

  /** Lo que se ha pintado, con los 256 niveles que caben en un PNG. */
  get painted(): Painted {
    const level = (value: number) => Math.max(0, Math.min(255, Math.round((value + 1) * 127.5)));
    return { values: this.values.map((x) => level(x) / 127.5 - 1), mask: this.mask.slice() };
  }

  /** Si hay algún hueco. */
  get holed(): boolean {
    return this.mask.some((each) => each === 0);
  }

  private paint(x: number, y: number): void {
    const { picture } = this;
    if (!picture) return;
    const { width, height, channels } = picture;
    const radius = this.size / 2;
    const colour = levels(this.colour);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        if (Math.hypot(column - x, row - y) > radius) continue;
        for (let c = 0; c < channels; c++) {
          const k = (c * height + row) * width + column;
          if (this.mode === "mask") this.mask[k] = 0;
          else
            this.values[k] = channels === 1 ? (colour[0] + colour[1] + colour[2]) / 3 : colour[c]!;
        }
      }
    }
    this.requestUpdate();
    this.dispatchEvent(new Event("change"));
  }

  private stroke(event: PointerEvent): void {
    const { picture } = this;
    if (!this.held || !picture) return;
    const box = (event.currentTarget as Element).getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * picture.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * picture.height);
    this.cursor = [x, y];
    this.paint(x, y);
  }

  private key(event: KeyboardEvent): void {
    const { picture } = this;
    if (!picture) return;
    const move = ARROWS[event.key];
    if (move) {
      const [x, y] = this.cursor;
      this.cursor = [
        within(x + move[0], 0, picture.width - 1),
        within(y - move[1], 0, picture.height - 1),
      ];
    } else if (event.key === " " || event.key === "Enter") {
      this.remember();
      this.paint(...this.cursor);
    } else {
      return;
    }
    event.preventDefault();
    const hole = this.mask.filter((known) => known === 0).length / picture.channels;
    const also = this.mode === "mask" ? ` Hueco: ${plural(hole, "píxel", "píxeles")}.` : "";
    this.said = `Pincel en (${this.cursor.join(", ")}).${also}`;
  }

  override render(): TemplateResult {
    const what = this.mode === "mask" ? "hacer un hueco" : "pintar";
    return html`<canvas
      tabindex="0"
      role="application"
      aria-label="Tablero para ${what}: las flechas mueven el pincel y la barra espaciadora pinta."
      @pointerdown=${(event: PointerEvent) => {
        this.held = true;
        this.remember();
        (event.currentTarget as Element).setPointerCapture(event.pointerId);
        this.stroke(event);
      }}
      @pointermove=${this.stroke}
      @pointerup=${() => {
        this.held = false;
      }}
      @pointercancel=${() => {
        this.held = false;
      }}
      @keydown=${this.key}
      @focus=${() => this.requestUpdate()}
      @blur=${() => this.requestUpdate()}
    ></canvas>
    <p class="oculto" role="status">${this.said}</p>`;
  }

  protected override updated(): void {
    const canvas = this.renderRoot.querySelector("canvas");
    const { picture } = this;
    if (!canvas || !picture) return;
    drawPicture(canvas, { ...picture, values: this.values });
    const context = canvas.getContext("2d");
    if (!context) return;
    // El hueco, a cuadros, como se enseña lo transparente.
    for (let y = 0; y < picture.height; y++) {
      for (let x = 0; x < picture.width; x++) {
        if (this.mask[y * picture.width + x] !== 0) continue;
        context.fillStyle = (x + y) % 2 === 0 ? "#ff9d5c" : "#ffd2b0";
        context.fillRect(x, y, 1, 1);
      }
    }
    if (this.shadowRoot?.activeElement === canvas) {
      context.fillStyle = "#a3233a";
      const [x, y] = this.cursor;
      context.fillRect(x - 1, y, 3, 1);
      context.fillRect(x, y - 1, 1, 3);
    }
  }
}
