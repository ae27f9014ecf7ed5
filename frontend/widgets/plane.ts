/** El plano: partículas que van y vuelven bajo el score exacto de lo que se haya dibujado. */

import { type CSSResultGroup, html, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { planeStyles } from "../drawing/pointing";
import { comma, plural } from "../numbers";
import { fromAddress, launchedAt, type Shown, toAddress, USUAL } from "../plane/address";
import { directionView, guideView, samplingView, type Tutor } from "../plane/controls";
import { DISTRIBUTIONS, DRAWN, dataOf, dotted } from "../plane/distributions";
import { Hand } from "../plane/hand";
import { SETUP, type Travelled } from "../plane/journey";
import { Lessons } from "../plane/lessons";
import { Paths, type Which } from "../plane/paths";
import { Player } from "../plane/player";
import { paint } from "../plane/scene";
import { sceneStyles } from "../plane/styles";
import { impossible } from "../problems";
import { titleOf } from "../samplers";
import { button, choice, slider, toggle, Widget } from "../widget";

/** Cuántas partículas se ven, y cuántas mientras la red aprende. */
const [PARTICLES, FEWER] = [2000, 600];
/** El lienzo tiene SIDE píxeles de lado. */
const SIDE = 640;

@customElement("dl-plane")
export class PlaneWidget extends Widget {
  @state() private shown: Shown = {
    ...USUAL,
    points: dataOf(USUAL.distribution),
    launched: null,
  };
  @state() private trails = false;
  @state() private field = false;
  @state() private guesses = false;
  @state() private problem = "";
  /** Lo que la dirección pide y no puede ser, hasta que se cambia algo. */
  @state() private wrong = "";
  /** Con datos propios, si el dedo suelta partículas en vez de dibujar. */
  @state() private drops = false;
  private readonly player = new Player(this, () => this.end);
  private readonly lessons = new Lessons(
    () => this.learnt(),
    (problem) => this.tell(problem),
  );
  private readonly paths = new Paths(
    (which) => this.receive(which),
    (problem) => this.tell(problem),
  );
  private readonly hand = new Hand(this, {
    draws: () => this.draws,
    dot: (place, joined) => {
      this.shown = { ...this.shown, points: dotted(this.points, place, joined) };
    },
    drawn: () => this.redrawn(),
    launch: (place) => this.launch(place),
  });
  /** Por qué parte del camino se iba cuando algo ha cambiado: se sigue por ahí. */
  private kept = 0;
  /** Si se va a reproducir en cuanto llegue el camino de la que se ha soltado. */
  private starting = false;

  @query("canvas.mio") private mine!: HTMLCanvasElement | null;
  @query("canvas.otro") private beside!: HTMLCanvasElement | null;

  static override styles: CSSResultGroup = [Widget.styles, planeStyles, sceneStyles];

  override connectedCallback(): void {
    super.connectedCallback();
    const { shown, problems } = fromAddress(location.search);
    this.shown = shown;
    this.wrong = impossible(problems);
    this.starting = shown.launched !== null && !matchMedia("(prefers-reduced-motion)").matches;
    this.travel();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.paths.end();
    this.lessons.leave();
  }

  private get points(): Float32Array {
    return this.shown.points;
  }

  private get travelled(): Travelled | null {
    return this.paths.known.all;
  }

  private get position(): number {
    return this.player.position;
  }

  private get end(): number {
    return (this.travelled?.states.length ?? 1) - 1;
  }

  /** El t del artículo en que se está; si no hay camino, el del final. */
  private get t(): number {
    return this.travelled?.times[Math.floor(this.position)] ?? SETUP.timesteps;
  }

  /** Si hay otro sampler al lado. */
  private get compares(): boolean {
    return this.shown.rival !== "" && this.shown.direction === "reverse";
  }

  /** Si lo que se toca en el plano es para dibujar los datos. */
  private get draws(): boolean {
    return this.shown.distribution === DRAWN && !this.drops;
  }

  private tell(problem: string): void {
    this.problem = problem;
  }

  // --- El camino ----------------------------------------------------------------------------------

  /** Pide el camino de todas y el de la que se haya soltado, con cada sampler. */
  private travel(): void {
    if (this.points.length < 2) return;
    const particles = this.lessons.going ? FEWER : PARTICLES;
    this.ask("all", particles, this.shown.sampler);
    if (this.compares) this.ask("other", particles, this.shown.rival);
    this.travelAlone();
  }

  /** Pide el camino de la que se ha soltado. */
  private travelAlone(): void {
    const { launched, sampler, rival } = this.shown;
    if (!launched || this.points.length < 2) return;
    this.ask("own", launched, sampler);
    if (this.compares) this.ask("otherOwn", launched, rival);
  }

  private ask(which: Which, particles: number | Float32Array, sampler: string): void {
    const { points, steps, eta, direction } = this.shown;
    this.paths.ask(which, {
      ...SETUP,
      data: points,
      weights: this.lessons.weights,
      sampler,
      steps,
      eta,
      seed: 0,
      particles,
      direction,
    });
  }

  private receive(which: Which): void {
    const { all, own, otherOwn } = this.paths.known;
    if (which === "all") {
      this.problem = "";
      // Mientras aprende se mira adónde llegan.
      const place = this.lessons.going ? this.end : Math.round(this.kept * this.end);
      this.player.position = place;
    }
    this.requestUpdate();
    if (this.starting && all && own && (otherOwn || !this.compares)) {
      this.starting = false;
      this.player.play();
    }
  }

  /** Algo se ha cambiado: hay otro camino que dar, y otra dirección que lo dice. */
  private change(changes: Partial<Shown>): void {
    this.shown = { ...this.shown, ...changes };
    this.kept = this.end > 0 ? this.position / this.end : 0;
    this.note();
    this.travel();
  }

  /** Apunta lo que se ve en la dirección. */
  private note(): void {
    this.hand.pointing = false;
    this.wrong = "";
    const address = toAddress(this.shown) || location.pathname;
    try {
      history.replaceState(history.state, "", address + location.hash);
    } catch {
      // Safari admite cien cambios cada medio minuto: lo dirá el siguiente.
    }
  }

  /** Cambia los datos. */
  private choose(distribution: string): void {
    const own = distribution === DRAWN;
    const points = own ? new Float32Array() : dataOf(distribution);
    this.paths.forget("own", "other", "otherOwn");
    if (own) this.paths.forget("all");
    this.player.go(0);
    this.drops = this.starting = false;
    this.lessons.forget();
    if (own) this.shown = { ...this.shown, distribution, points, launched: null };
    else this.change({ distribution, points, launched: null });
  }

  /** Suelta una partícula en un sitio y sigue su camino; el de las demás no cambia. */
  private launch(place: readonly [number, number]): void {
    this.shown = { ...this.shown, launched: launchedAt(place) };
    this.paths.forget("own", "otherOwn");
    this.player.go(0);
    this.starting = true;
    this.note();
    this.travelAlone();
  }

  // --- La red que aprende -------------------------------------------------------------------------

  /** Quien enseña a la red que aprende aquí. */
  private readonly tutor: Tutor = {
    hire: (kind) => {
      if (kind === "ideal") this.lessons.rest();
      else this.lessons.hire();
      this.change({});
    },
    teach: () => this.teach(),
    leave: () => {
      this.lessons.leave();
      this.travel();
    },
  };

  private teach(): void {
    this.player.stop();
    this.problem = "";
    this.lessons.teach(this.points);
  }

  private learnt(): void {
    this.requestUpdate();
    // Si aún se está calculando el camino de antes, este espera al siguiente.
    const { going } = this.lessons;
    if (going && (this.paths.waits("all") || this.paths.waits("other"))) return;
    // Al acabar se queda a la vista adónde llegan.
    if (!going) this.kept = 1;
    this.travel();
  }

  /** Los datos son otros: si la red está aprendiendo, que los vea. */
  private redrawn(): void {
    this.change({});
    if (this.lessons.going) this.teach();
  }

  private get lesson(): string {
    if (!this.lessons.progress && this.points.length < 2) return "Dibujad antes unos datos.";
    return this.lessons.told;
  }

  // --- Lo que se ve -------------------------------------------------------------------------------

  protected override view(): TemplateResult {
    const { player, lessons, shown } = this;
    const problem = this.problem || this.wrong;
    return html`
      ${choice(
        "Datos:",
        [...DISTRIBUTIONS, [DRAWN, "los que dibujéis"]],
        shown.distribution,
        (name) => this.choose(name),
      )}
      <div class="plano ${this.compares ? "doble" : ""}">
        <div class="vista">${this.sheets()} ${this.legend()}</div>
        <div class="mandos">
          ${this.playing()}
          ${guideView(lessons, this.lesson, this.points.length >= 2, this.tutor)}
          ${directionView(shown.direction, (direction) => {
            player.position = 0;
            this.change({ direction });
          })}
          ${
            shown.direction === "reverse"
              ? samplingView(shown, (changes) => {
                  if ("rival" in changes) this.paths.forget("other", "otherOwn");
                  this.change(changes);
                  // Con otro cuadro encima, el mando que se usa puede quedar fuera de la pantalla.
                  void this.updateComplete.then(() =>
                    this.shadowRoot?.activeElement?.scrollIntoView({ block: "nearest" }),
                  );
                })
              : ""
          }
          ${this.looks()}
          ${problem ? html`<p class="aviso" role="alert">${problem}</p>` : ""}
        </div>
      </div>
    `;
  }

  private sheets(): TemplateResult {
    return html`<div class="cuadros">
      <canvas
        class="mio ${this.draws ? "dibuja" : ""}"
        width=${SIDE}
        height=${SIDE}
        tabindex="0"
        role="application"
        aria-label="El plano. Con las flechas se mueve la cruz; con Intro se pone un punto o se suelta una partícula."
        @pointerdown=${this.hand.press}
        @click=${this.hand.tap}
        @pointermove=${this.hand.stroke}
        @pointerup=${this.hand.lift}
        @pointercancel=${this.hand.lift}
        @keydown=${this.hand.key}
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
              aria-label="El mismo ruido de partida, con ${titleOf(this.shown.rival)}"
              @click=${this.hand.tap}
            ></canvas>`
          : ""
      }
    </div>`;
  }

  private legend(): TemplateResult {
    return html`<p class="rotulos">
      <span class="x0">los datos</span>
      <span class="xt">las partículas</span>
      ${this.guesses ? html`<span class="eps">lo que se estima que serán</span>` : ""}
      ${this.shown.launched ? html`<span class="beta">la vuestra</span>` : ""}
      ${this.field ? html`<span class="mu">hacia dónde tira el score</span>` : ""}
    </p>`;
  }

  /** Reproducir el camino y moverse por él. */
  private playing(): TemplateResult {
    const { player, travelled, position, end } = this;
    return html`
      <div class="fila ordenes">
        ${button(player.playing ? "❚❚ Pausar" : "▶ Reproducir", travelled !== null, () =>
          player.playing ? player.stop() : player.play(),
        )}
        ${button("Un paso", travelled !== null && position < end, () =>
          player.go(Math.min(end, Math.floor(position) + 1)),
        )}
        ${
          this.shown.distribution === DRAWN
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
        value: position,
        min: 0,
        max: Math.max(end, 1),
        step: 1,
        onInput: (place) => player.go(place),
      })}
    `;
  }

  /** Qué se dibuja además de las partículas. */
  private looks(): TemplateResult {
    return html`<div class="fila ordenes">
      ${toggle("estelas", this.trails, (on) => {
        this.trails = on;
      })}
      ${toggle("hacia dónde tira el score", this.field, (on) => {
        this.field = on;
      })}
      ${
        this.shown.direction === "reverse"
          ? toggle("lo que se estima, x̂₀", this.guesses, (on) => {
              this.guesses = on;
            })
          : ""
      }
    </div>`;
  }

  protected override spoken(): string {
    const { travelled, position } = this;
    if (!travelled) {
      return this.points.length < 2 ? "Dibujad unos datos en el plano." : "Calculando…";
    }
    if (this.lessons.going) return "La red está aprendiendo…";
    if (this.hand.pointing) return `La cruz está en ${said(this.hand.cursor, 1)}.`;
    const { launched, sampler, rival } = this.shown;
    if (this.player.playing) {
      return launched ? `Partícula soltada en ${said(launched, 1)}: en marcha.` : "En marcha.";
    }
    const at = Math.floor(position);
    const [own, other] = [this.paths.known.own, this.paths.known.otherOwn].map(
      (travelled) => travelled?.states[at],
    );
    const beside = other
      ? ` con ${titleOf(sampler)} y en ${said(other, 2)} con ${titleOf(rival)}`
      : "";
    const mine = own ? ` Vuestra partícula está en ${said(own, 2)}${beside}.` : "";
    const who = this.lessons.weights ? ` Guía la red que aprende aquí. ${this.lesson}` : "";
    return `t = ${this.t}, paso ${Math.floor(position)} de ${this.end}.${mine}${who}`;
  }

  protected override updated(): void {
    super.updated();
    const { all, own, other, otherOwn } = this.paths.known;
    const { sampler, rival } = this.shown;
    this.paint(this.mine, all, own, this.compares ? this.titled(sampler) : "");
    if (this.compares) this.paint(this.beside, other, otherOwn, this.titled(rival));
  }

  /** Un sampler y cuántas veces llama a la red: Heun, dos por paso menos en el último. */
  private titled(sampler: string): string {
    const calls = sampler === "heun" ? 2 * this.shown.steps - 1 : this.shown.steps;
    return `${titleOf(sampler)}: ${plural(calls, "llamada", "llamadas")} a la red`;
  }

  private paint(
    canvas: HTMLCanvasElement | null,
    travelled: Travelled | null,
    own: Travelled | null,
    title: string,
  ): void {
    const { points: data, position, trails, guesses, t } = this;
    const guide = { data, bandwidth: SETUP.bandwidth, weights: this.lessons.weights };
    const pointed = canvas !== null && this.shadowRoot?.activeElement === canvas;
    paint(canvas, {
      data,
      travelled,
      own,
      position,
      trails,
      guesses,
      field: this.field ? { guide, t } : null,
      title,
      empty:
        canvas === this.mine
          ? "Dibujad aquí los datos"
          : `Aquí saldrán con ${titleOf(this.shown.rival)}`,
      cursor: pointed ? this.hand.cursor : null,
    });
  }
}

/** Un sitio del plano, como se dice. */
function said(place: ArrayLike<number>, digits: number): string {
  return `(${comma(place[0]!, digits)}; ${comma(place[1]!, digits)})`;
}
