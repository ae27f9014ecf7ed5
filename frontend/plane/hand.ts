/** La mano que toca el plano, con el ratón, con el dedo o con las flechas. */

import type { ReactiveControllerHost } from "lit";
import { ARROWS, placeIn, within } from "../drawing/pointing";
import { EDGE } from "./distributions";

/** Lo que mueve la cruz cada flecha. */
const NUDGE = 0.1;

type Place = readonly [number, number];

/** Lo que hace al tocar: si dibuja, poner datos; si no, soltar una partícula. */
export interface Gestures {
  draws: () => boolean;
  /** Pone un dato; si el trazo sigue, unido al anterior. */
  dot: (place: Place, joined: boolean) => void;
  /** El trazo se ha acabado. */
  drawn: () => void;
  launch: (place: Place) => void;
}

export class Hand {
  /** Dónde está la cruz, y si lo último ha sido moverla. */
  cursor: Place = [0, 0];
  pointing = false;
  private drawing = false;

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly gestures: Gestures,
  ) {}

  readonly press = (event: PointerEvent): void => {
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    if (!this.gestures.draws()) return;
    this.drawing = true;
    this.gestures.dot(placeIn(event, EDGE), false);
  };

  readonly stroke = (event: PointerEvent): void => {
    if (this.drawing) this.gestures.dot(placeIn(event, EDGE), true);
  };

  readonly lift = (): void => {
    if (!this.drawing) return;
    this.drawing = false;
    this.gestures.drawn();
  };

  /** Sin dibujar, un toque suelta una partícula; arrastrar el dedo mueve la página. */
  readonly tap = (event: MouseEvent): void => {
    if (!this.gestures.draws()) this.gestures.launch(placeIn(event, EDGE));
  };

  readonly key = (event: KeyboardEvent): void => {
    const move = ARROWS[event.key];
    if (move) {
      const moved = (k: 0 | 1) => within(this.cursor[k] + NUDGE * move[k], -EDGE, EDGE);
      this.cursor = [moved(0), moved(1)];
      this.pointing = true;
      this.host.requestUpdate();
    } else if (event.key === "Enter" || event.key === " ") {
      this.act();
    } else {
      return;
    }
    event.preventDefault();
  };

  /** Hace en la cruz lo que haría un toque. */
  private act(): void {
    const { gestures, cursor } = this;
    if (gestures.draws()) {
      gestures.dot(cursor, false);
      gestures.drawn();
    } else {
      gestures.launch(cursor);
    }
  }
}
