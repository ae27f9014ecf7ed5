/** El plano: partículas que van y vuelven bajo el score exacto de lo que se haya dibujado. */

import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import type { Values } from "../ddpm_lit/forward";
import type { Weights } from "../ddpm_lit/networks/mlp";
import { ARROWS, placeIn, planeStyles, toPixel, within } from "../drawing/pointing";
import { networkConfig, newWeights, type Progress } from "../learning";
import { comma } from "../numbers";
import {
  DISTRIBUTIONS,
  DRAWN,
  dataOf,
  EDGE,
  fromAddress,
  type Journey,
  MOST,
  modelOf,
  processOf,
  type Travelled,
  toAddress,
  USUAL,
} from "../plane";
import { impossible } from "../problems";
import { button, choice, slider, toggle, Widget } from "../widget";
import type { Request as Learn, Reply as Lesson } from "../workers/learning";
import type { Reply, Request } from "../workers/plane";

const SAMPLERS = [
  ["ddpm", "DDPM"],
  ["ddim", "DDIM"],
  ["heun", "Heun"],
  ["dpm++2m", "DPM-Solver++"],
] as const;
const [SCHEDULE, TIMESTEPS] = ["linear", 200] as const;
const PROCESS = processOf({ schedule: SCHEDULE, timesteps: TIMESTEPS });
const BANDWIDTH = 0.04;
const PARTICLES = 2000;
/** Cuántas se ven mientras la red aprende, y cuántos segundos tiene. */
const [FEWER, SECONDS] = [600, 10];
/** El lienzo tiene SIDE píxeles de lado. */
const SIDE = 640;
/** Cuánto dura el camino entero, en milisegundos. */
const DURATION = 5000;
/** A qué distancia queda cada punto dibujado del anterior. */
const APART = 0.035;
/** Cuántos caminos se piden de una vez, como mucho. */
const REQUESTS = 4;
const FIELD = 19;
const TRAIL = 12;

@customElement("dl-plane")
export class PlaneWidget extends Widget {
  @state() private distribution = USUAL.distribution;
  @state() private points: Float32Array = dataOf(USUAL.distribution);
  @state() private sampler = USUAL.sampler;
  @state() private steps = USUAL.steps;
  @state() private eta = USUAL.eta;
  @state() private direction: Journey["direction"] = "reverse";
  @state() private position = 0;
  @state() private playing = false;
  @state() private trails = false;
  @state() private field = false;
  @state() private guesses = false;
  @state() private travelled: Travelled | null = null;
  @state() private problem = "";
  /** Lo que la dirección pide y no puede ser, hasta que se cambia algo. */
  @state() private wrong = "";
  /** Con datos propios, si el dedo suelta partículas en vez de dibujar. */
  @state() private drops = false;
  /** La partícula que alguien ha soltado, y su camino. */
  @state() private launched: Float32Array | null = null;
  private own: Travelled | null = null;
  /** El sampler que corre al lado con el mismo ruido, si se quiere, y sus caminos. */
  @state() private rival = USUAL.rival;
  private other: Travelled | null = null;
  private otherOwn: Travelled | null = null;
  private worker: Worker | null = null;
  /** Los pesos de la red que aprende aquí, si es la que guía, y cómo va. */
  @state() private weights: Weights | null = null;
  @state() private progress: Progress | null = null;
  @state() private school: Worker | null = null;
  private asked = 0;
  private answered = 0;
  /** Si se va a reproducir en cuanto llegue el camino de la que se ha soltado. */
  private starting = false;
  /** Lo que aprendió la red, mientras guía la ideal. */
  private learned: { weights: Weights; progress: Progress } | null = null;
  private last = 0;
  private frame = 0;
  private drawing = false;
  private cursor: [number, number] = [0, 0];
  /** Si lo último ha sido mover la cruz con las flechas. */
  private pointing = false;

  static override styles: CSSResultGroup = [
    Widget.styles,
    planeStyles,
    css`
      .plano {
        display: grid;
        grid-template-columns: minmax(0, 1fr) minmax(13rem, 0.7fr);
        gap: 1rem;
        align-items: start;
      }
      .cuadros {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(min(13rem, 100%), 1fr));
        gap: 0.6rem;
      }
      canvas {
        touch-action: pan-y;
      }
      canvas.dibuja {
        touch-action: none;
      }
      .plano.doble {
        grid-template-columns: 1fr;
      }
      .mandos {
        display: grid;
        gap: 0.8rem;
      }
      @media (max-width: 44em) {
        .plano {
          grid-template-columns: 1fr;
        }
      }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    const { shown, problems } = fromAddress(location.search, TIMESTEPS);
    Object.assign(this, shown);
    this.wrong = impossible(problems);
    this.travel();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    cancelAnimationFrame(this.frame);
    this.playing = false;
    this.worker?.terminate();
    this.worker = null;
    this.dismiss();
  }

  // --- El camino ----------------------------------------------------------------------------------

  private journey(particles: number | Float32Array, sampler: string): Journey {
    return {
      data: this.points,
      bandwidth: BANDWIDTH,
      weights: this.weights,
      schedule: SCHEDULE,
      timesteps: TIMESTEPS,
      sampler,
      steps: this.steps,
      eta: this.eta,
      seed: 0,
      particles,
      direction: this.direction,
    };
  }

  /** Pide al hilo de cálculo el camino de todas y el de la que se haya soltado, con cada sampler. */
  private travel(): void {
    if (this.points.length < 2) return;
    if (!this.worker) {
      this.worker = new Worker(new URL("./plane.js", import.meta.url), { type: "module" });
      this.worker.onmessage = (event: MessageEvent<Reply>) => this.receive(event.data);
      this.worker.onerror = () => {
        this.problem = "El cálculo se ha parado. Cambiad algo para empezarlo otra vez.";
        this.worker?.terminate();
        this.worker = null;
      };
    }
    this.asked += REQUESTS;
    const particles = this.school ? FEWER : PARTICLES;
    this.ask(this.asked, particles, this.sampler);
    if (this.launched) this.ask(this.asked + 1, this.launched, this.sampler);
    if (!this.compares) return;
    this.ask(this.asked + 2, particles, this.rival);
    if (this.launched) this.ask(this.asked + 3, this.launched, this.rival);
  }

  private ask(id: number, particles: number | Float32Array, sampler: string): void {
    this.worker?.postMessage({ id, journey: this.journey(particles, sampler) } satisfies Request);
  }

  private receive(reply: Reply): void {
    const part = reply.id - this.asked;
    if (part < 0 || part >= REQUESTS) return;
    if ("problem" in reply) {
      this.problem = reply.problem;
    } else if (part === 0) {
      this.problem = "";
      this.answered = reply.id;
      this.travelled = reply.travelled;
      // Mientras aprende se mira adónde llegan.
      this.position = this.school ? this.end : Math.min(this.position, this.end);
      if (!this.launched) this.own = this.otherOwn = null;
    } else {
      if (part === 1) this.own = reply.travelled;
      else if (part === 2) this.other = reply.travelled;
      else this.otherOwn = reply.travelled;
      this.requestUpdate();
      const known = this.own && (this.otherOwn || !this.compares);
      if (this.starting && known && this.travelled) {
        this.starting = false;
        this.play();
      }
    }
  }

  /** Si hay otro sampler al lado. */
  private get compares(): boolean {
    return this.rival !== "" && this.direction === "reverse";
  }

  /** Algo se ha cambiado: hay otro camino que dar, y otra dirección que lo dice. */
  private change(): void {
    this.position = 0;
    this.pointing = false;
    this.wrong = "";
    const { distribution, points, sampler, rival, steps, eta, direction } = this;
    const shown = { distribution, points, sampler, rival, steps, eta, direction };
    const address = toAddress(shown) || location.pathname;
    try {
      history.replaceState(history.state, "", address + location.hash);
    } catch {
      // Safari admite cien cambios cada medio minuto: lo dirá el siguiente.
    }
    this.travel();
  }

  // --- La red que aprende -------------------------------------------------------------------------

  /** Cambia quién guía: la red ideal, o una sin entrenar todavía. */
  private hire(kind: string): void {
    this.dismiss();
    if (kind === "ideal") {
      const { weights, progress } = this;
      this.learned = weights && progress && { weights, progress };
      this.weights = this.progress = null;
    } else {
      this.weights = this.learned?.weights ?? newWeights(networkConfig(TIMESTEPS), 0);
      this.progress = this.learned?.progress ?? null;
    }
    this.change();
  }

  /** Entrena la red con los datos que se ven; si ya sabe algo de ellos, sigue por donde iba. */
  private teach(): void {
    this.dismiss();
    this.playing = false;
    this.problem = "";
    const { progress } = this;
    this.progress = progress && { ...progress, left: SECONDS };
    const school = new Worker(new URL("./learning.js", import.meta.url), { type: "module" });
    school.onmessage = ({ data }: MessageEvent<Lesson>) => {
      if (this.school === school) this.learnt(data);
    };
    school.onerror = () => {
      this.problem = "El entrenamiento se ha parado. Pulsad «Entrenar» para empezarlo otra vez.";
      this.dismiss();
    };
    this.school = school;
    school.postMessage({
      lesson: {
        data: this.points,
        bandwidth: BANDWIDTH,
        schedule: SCHEDULE,
        timesteps: TIMESTEPS,
        seconds: SECONDS,
        seed: 0,
        weights: progress && this.weights,
        step: progress?.step ?? 0,
      },
    } satisfies Learn);
  }

  private learnt(reply: Lesson): void {
    if ("problem" in reply) {
      this.problem = reply.problem;
      this.dismiss();
      return;
    }
    this.progress = reply.progress;
    this.weights = reply.weights;
    if (reply.progress.left === 0) this.dismiss();
    // Si aún se está calculando el camino de antes, este espera al siguiente.
    if (!this.school || this.answered === this.asked) this.travel();
  }

  /** Deja de entrenar. */
  private dismiss(): void {
    this.school?.terminate();
    this.school = null;
  }

  /** Cómo va la red que aprende. */
  private get lesson(): string {
    if (!this.progress && this.points.length < 2) return "Dibujad antes unos datos.";
    if (!this.progress) return this.school ? "Empezando…" : "Aún no sabe nada.";
    const { step, loss, left } = this.progress;
    const rest = this.school ? `; quedan ${Math.ceil(left)} s` : "";
    return `${step} pasos, pérdida ${comma(loss, 3)}${rest}.`;
  }

  private get end(): number {
    return (this.travelled?.states.length ?? 1) - 1;
  }

  private play(): void {
    if (this.playing) {
      this.playing = false;
      return;
    }
    if (this.end === 0) return;
    if (this.position >= this.end) this.position = 0;
    this.playing = true;
    this.last = performance.now();
    const advance = (now: number) => {
      if (!this.playing) return;
      this.position = Math.min(
        this.end,
        this.position + (Math.max(0, now - this.last) / DURATION) * this.end,
      );
      this.last = now;
      if (this.position >= this.end) this.playing = false;
      else this.frame = requestAnimationFrame(advance);
    };
    this.frame = requestAnimationFrame(advance);
  }

  // --- Lo que se toca -----------------------------------------------------------------------------

  /** Si lo que se toca en el plano es para dibujar los datos. */
  private get draws(): boolean {
    return this.distribution === DRAWN && !this.drops;
  }

  private press(event: PointerEvent): void {
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    if (!this.draws) return;
    this.drawing = true;
    this.dot(placeIn(event, EDGE));
  }

  /** Sin dibujar, un toque suelta una partícula; arrastrar el dedo mueve la página. */
  private tap(event: MouseEvent): void {
    if (!this.draws) this.launch(placeIn(event, EDGE));
  }

  private stroke(event: PointerEvent): void {
    if (this.drawing) this.dot(placeIn(event, EDGE), true);
  }

  private lift(): void {
    if (!this.drawing) return;
    this.drawing = false;
    this.redrawn();
  }

  /** Los datos son otros: si la red está aprendiendo, que los vea. */
  private redrawn(): void {
    this.change();
    if (this.school) this.teach();
  }

  /** Pone un dato, y los que hagan falta desde el anterior si el trazo sigue. */
  private dot([x, y]: readonly [number, number], joined = false): void {
    const { points } = this;
    const [fromX, fromY] = [points.at(-2) ?? x, points.at(-1) ?? y];
    const far = Math.hypot(x - fromX, y - fromY);
    if (points.length > 0 && far < APART) return;
    const count = joined ? Math.max(1, Math.round(far / APART)) : 1;
    const added: number[] = [];
    for (let k = 1; k <= count && points.length + added.length < 2 * MOST; k++) {
      const part = k / count;
      added.push(fromX + part * (x - fromX), fromY + part * (y - fromY));
    }
    this.points = Float32Array.of(...points, ...added);
  }

  /** Suelta una partícula en un sitio y sigue su camino. */
  private launch([x, y]: readonly [number, number]): void {
    this.launched = Float32Array.of(x, y);
    this.own = this.otherOwn = null;
    this.position = 0;
    this.playing = this.pointing = false;
    // Las demás no cambian: solo se pide su camino, y se echa a andar cuando se sabe.
    this.starting = true;
    this.ask(this.asked + 1, this.launched, this.sampler);
    if (this.compares) this.ask(this.asked + 3, this.launched, this.rival);
  }

  private pressKey(event: KeyboardEvent): void {
    const move = ARROWS[event.key];
    if (move) {
      const moved = (k: 0 | 1) => within(this.cursor[k] + 0.1 * move[k], -EDGE, EDGE);
      this.cursor = [moved(0), moved(1)];
      this.pointing = true;
      this.requestUpdate();
    } else if (event.key === "Enter" || event.key === " ") {
      if (this.draws) {
        this.dot(this.cursor);
        this.redrawn();
      } else {
        this.launch(this.cursor);
      }
    } else {
      return;
    }
    event.preventDefault();
  }

  private choose(name: string): void {
    this.distribution = name;
    this.points = name === DRAWN ? new Float32Array() : dataOf(name);
    this.launched = null;
    this.own = this.otherOwn = this.other = null;
    this.playing = false;
    this.position = 0;
    this.drops = false;
    if (this.weights) this.weights = newWeights(networkConfig(TIMESTEPS), 0);
    this.progress = this.learned = null;
    this.dismiss();
    // Lo que esté de camino ya no se espera.
    this.asked += REQUESTS;
    if (name === DRAWN) this.travelled = null;
    else this.change();
  }

  // --- Lo que se ve -------------------------------------------------------------------------------

  /** El t del artículo en que se está; si no hay camino, el del final. */
  private get t(): number {
    return this.travelled?.times[Math.floor(this.position)] ?? TIMESTEPS;
  }

  protected override view(): TemplateResult {
    const reverse = this.direction === "reverse";
    return html`
      ${choice(
        "Datos:",
        [...DISTRIBUTIONS, [DRAWN, "los que dibujéis"]],
        this.distribution,
        (name) => this.choose(name),
      )}
      <div class="plano ${this.compares ? "doble" : ""}">
        <div class="cuadros">
        <canvas
          class="mio ${this.draws ? "dibuja" : ""}"
          width=${SIDE}
          height=${SIDE}
          tabindex="0"
          role="application"
          aria-label="El plano. Con las flechas se mueve la cruz; con Intro se pone un punto o se suelta una partícula."
          @pointerdown=${this.press}
          @click=${this.tap}
          @pointermove=${this.stroke}
          @pointerup=${this.lift}
          @pointercancel=${this.lift}
          @keydown=${this.pressKey}
          @focus=${() => this.requestUpdate()}
          @blur=${() => this.requestUpdate()}
        ></canvas>
        ${
          this.compares
            ? html`<canvas
                class="otro"
                width=${SIDE}
                height=${SIDE}
                role="img"
                aria-label="El mismo ruido de partida, con ${titleOf(this.rival)}"
                @click=${this.tap}
              ></canvas>`
            : ""
        }
        </div>
        <div class="mandos">
          <div class="fila">
            ${button(this.playing ? "❚❚ Parar" : "▶ Reproducir", this.travelled !== null, () =>
              this.play(),
            )}
            ${button("Un paso", this.travelled !== null && this.position < this.end, () => {
              this.playing = false;
              this.position = Math.min(this.end, Math.floor(this.position) + 1);
            })}
            ${
              this.distribution === DRAWN
                ? html`${button("Borrar", true, () => this.choose(DRAWN))}
                  ${toggle("soltar partículas", this.drops, (on) => {
                    this.drops = on;
                  })}`
                : ""
            }
          </div>
          ${slider({
            label: html`<i>t</i>`,
            name: "t",
            text: String(this.t),
            value: this.position,
            min: 0,
            max: Math.max(this.end, 1),
            step: 1,
            onInput: (position) => {
              this.playing = false;
              this.position = position;
            },
          })}
          ${choice(
            "Red:",
            [
              ["ideal", "la ideal"],
              ["aprende", "una que aprende aquí"],
            ],
            this.weights ? "aprende" : "ideal",
            (kind) => this.hire(kind),
          )}
          ${
            this.weights
              ? html`<div class="fila">
                  ${
                    this.school
                      ? button("Dejarlo", true, () => {
                          this.dismiss();
                          this.travel();
                        })
                      : button(
                          this.progress ? "Seguir entrenando" : "Entrenar",
                          this.points.length >= 2,
                          () => this.teach(),
                        )
                  }
                  <span class="leccion">${this.lesson}</span>
                </div>`
              : ""
          }
          ${choice(
            "Camino:",
            [
              ["reverse", "del ruido a los datos"],
              ["forward", "de los datos al ruido"],
            ],
            this.direction,
            (direction) => {
              this.direction = direction as Journey["direction"];
              this.change();
            },
          )}
          ${
            reverse
              ? html`${choice("Sampler:", SAMPLERS, this.sampler, (sampler) => {
                  this.sampler = sampler;
                  this.change();
                })}
                ${choice("Al lado:", [["", "nada"], ...SAMPLERS], this.rival, (rival) => {
                  this.rival = rival;
                  this.other = this.otherOwn = null;
                  this.change();
                })}
                ${slider({
                  label: "pasos",
                  text: String(this.steps),
                  value: this.steps,
                  min: 1,
                  max: TIMESTEPS,
                  onInput: (steps) => {
                    this.steps = steps;
                    this.change();
                  },
                })}
                ${
                  [this.sampler, this.rival].includes("ddim")
                    ? slider({
                        label: html`<i>η</i>`,
                        name: "η",
                        text: comma(this.eta, 1),
                        value: this.eta,
                        min: 0,
                        max: 1,
                        step: 0.1,
                        onInput: (eta) => {
                          this.eta = eta;
                          this.change();
                        },
                      })
                    : ""
                }`
              : ""
          }
          <div class="fila">
            ${toggle("estelas", this.trails, (on) => {
              this.trails = on;
            })}
            ${toggle("el score", this.field, (on) => {
              this.field = on;
            })}
            ${
              reverse
                ? toggle("x̂₀", this.guesses, (on) => {
                    this.guesses = on;
                  })
                : ""
            }
          </div>
          ${
            this.problem || this.wrong
              ? html`<p class="aviso" role="alert">${this.problem || this.wrong}</p>`
              : ""
          }
        </div>
      </div>
    `;
  }

  protected override spoken(): string {
    if (!this.travelled) {
      return this.distribution === DRAWN ? "Dibujad unos datos en el plano." : "Calculando…";
    }
    if (this.school) return "La red está aprendiendo…";
    if (this.pointing) {
      const [x, y] = this.cursor;
      return `La cruz está en (${comma(x, 1)}; ${comma(y, 1)}).`;
    }
    const own = this.own && this.launched ? this.own.states[Math.floor(this.position)] : null;
    const mine = own ? ` La vuestra está en (${comma(own[0]!)}; ${comma(own[1]!)}).` : "";
    const who = this.weights ? ` Guía la red que ha aprendido: ${this.lesson}` : "";
    return `t = ${this.t}, paso ${Math.floor(this.position)} de ${this.end}.${mine}${who}`;
  }

  protected override updated(): void {
    super.updated();
    this.paint("mio", this.travelled, this.own, titleOf(this.sampler));
    if (this.compares) this.paint("otro", this.other, this.otherOwn, titleOf(this.rival));
  }

  /** Dibuja un plano como está ahora; si hay dos, con su título. */
  private paint(
    name: string,
    travelled: Travelled | null,
    own: Travelled | null,
    title: string,
  ): void {
    const canvas = this.renderRoot.querySelector<HTMLCanvasElement>(`canvas.${name}`);
    const context = canvas?.getContext("2d");
    if (!canvas || !context) return;
    const style = getComputedStyle(this);
    const colour = (name: string) => style.getPropertyValue(`--dl-${name}`).trim();
    const pixel = (value: number) => toPixel(value, EDGE, SIDE);
    const dots = (values: Float32Array, size: number) => {
      for (let k = 0; k < values.length; k += 2) {
        context.fillRect(
          pixel(values[k]!) - size / 2,
          pixel(-values[k + 1]!) - size / 2,
          size,
          size,
        );
      }
    };
    context.clearRect(0, 0, SIDE, SIDE);
    context.globalAlpha = 0.55;
    context.fillStyle = colour("x0");
    dots(this.points, 4);
    if (this.points.length === 0) {
      context.globalAlpha = 1;
      context.fillStyle = style.color;
      context.font = `22px ${style.fontFamily}`;
      context.textAlign = "center";
      context.fillText("Dibujad aquí los datos", SIDE / 2, SIDE / 2);
    }
    if (travelled) {
      if (this.field) this.arrows(context, pixel, colour("mu"));
      const { states, guesses } = travelled;
      context.fillStyle = colour("xt");
      if (this.trails) {
        const first = Math.max(0, Math.floor(this.position) - TRAIL);
        for (let k = first; k < this.position; k++) {
          context.globalAlpha = (0.12 * (k - first + 1)) / TRAIL;
          dots(states[k]!, 2);
        }
      }
      context.globalAlpha = 0.7;
      dots(between(states, this.position), 3);
      const guess = guesses[Math.min(Math.floor(this.position), guesses.length - 1)];
      if (this.guesses && guess) {
        context.globalAlpha = 0.5;
        context.fillStyle = colour("beta");
        dots(guess, 2.5);
      }
      if (own) this.follow(context, pixel, own, colour("beta"));
    }
    if (this.compares) {
      context.globalAlpha = 1;
      context.fillStyle = style.color;
      context.font = `24px ${style.fontFamily}`;
      context.textAlign = "left";
      context.fillText(title, 14, 34);
    }
    context.globalAlpha = 1;
    if (this.shadowRoot?.activeElement === canvas) {
      const [x, y] = [pixel(this.cursor[0]), pixel(-this.cursor[1])];
      context.strokeStyle = colour("beta");
      context.lineWidth = 2;
      context.beginPath();
      context.moveTo(x - 8, y);
      context.lineTo(x + 8, y);
      context.moveTo(x, y - 8);
      context.lineTo(x, y + 8);
      context.stroke();
    }
  }

  /** El score en una rejilla: hacia dónde están los datos más probables desde cada sitio. */
  private arrows(
    context: CanvasRenderingContext2D,
    pixel: (v: number) => number,
    colour: string,
  ): void {
    const index = Math.max(0, this.t - 1);
    const grid = new Float32Array(2 * FIELD * FIELD);
    for (let k = 0; k < FIELD * FIELD; k++) {
      grid[2 * k] = EDGE * ((2 * (k % FIELD) + 1) / FIELD - 1);
      grid[2 * k + 1] = EDGE * ((2 * Math.floor(k / FIELD) + 1) / FIELD - 1);
    }
    const asked = { data: this.points, bandwidth: BANDWIDTH, weights: this.weights };
    // Las dos redes contestan en el acto.
    const noise = modelOf(PROCESS, asked)(grid, index) as Values;
    const std = Math.sqrt(1 - PROCESS.schedule.alphasCumprod[index]!);
    const longest = (0.8 * EDGE * 2) / FIELD;
    context.strokeStyle = colour;
    context.globalAlpha = 0.7;
    context.lineWidth = 1.5;
    context.beginPath();
    for (let k = 0; k < grid.length; k += 2) {
      const [x, y] = [grid[k]!, grid[k + 1]!];
      const [dx, dy] = [-std * noise[k]!, -std * noise[k + 1]!];
      const length = Math.hypot(dx, dy) || 1;
      const scale = (longest * length) / (length + 1) / length;
      const [tx, ty] = [x + dx * scale, y + dy * scale];
      context.moveTo(pixel(x), pixel(-y));
      context.lineTo(pixel(tx), pixel(-ty));
      const angle = Math.atan2(-dy, dx);
      for (const turn of [2.6, -2.6]) {
        context.moveTo(pixel(tx), pixel(-ty));
        context.lineTo(
          pixel(tx) + 5 * Math.cos(angle + turn),
          pixel(-ty) + 5 * Math.sin(angle + turn),
        );
      }
    }
    context.stroke();
  }

  /** La partícula que alguien ha soltado y por dónde ha pasado. */
  private follow(
    context: CanvasRenderingContext2D,
    pixel: (v: number) => number,
    { states }: Travelled,
    colour: string,
  ): void {
    context.globalAlpha = 1;
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    for (let k = 0; k <= Math.min(Math.floor(this.position), states.length - 1); k++) {
      context.lineTo(pixel(states[k]![0]!), pixel(-states[k]![1]!));
    }
    const now = between(states, this.position);
    context.lineTo(pixel(now[0]!), pixel(-now[1]!));
    context.stroke();
    context.beginPath();
    context.arc(pixel(now[0]!), pixel(-now[1]!), 6, 0, 2 * Math.PI);
    context.fill();
  }
}

/** Cómo se llama un sampler. */
function titleOf(name: string): string {
  return SAMPLERS.find(([each]) => each === name)?.[1] ?? name;
}

/** El estado entre dos pasos, en línea recta, para que el movimiento sea suave. */
function between(states: readonly Float32Array[], position: number): Float32Array {
  const at = (k: number) => states[Math.max(0, Math.min(k, states.length - 1))]!;
  const [before, after] = [at(Math.floor(position)), at(Math.ceil(position))];
  const part = position - Math.floor(position);
  return part === 0 ? before : before.map((x, k) => x + part * (after[k]! - x));
}
