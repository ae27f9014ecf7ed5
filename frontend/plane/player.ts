/** Quien reproduce un camino: por dónde va y si está en marcha. */

import type { ReactiveController, ReactiveControllerHost } from "lit";

/** Cuánto dura el camino entero, en milisegundos. */
const DURATION = 5000;

export class Player implements ReactiveController {
  /** Entre 0 y el último estado; entre dos estados, con decimales. */
  position = 0;
  playing = false;
  private last = 0;
  private frame = 0;

  /** @param end cuál es el último estado. */
  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly end: () => number,
  ) {
    host.addController(this);
  }

  hostDisconnected(): void {
    this.stop();
  }

  /** Se pone en un sitio y se para. */
  go(position: number): void {
    this.stop();
    this.position = position;
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
    this.playing = false;
    this.host.requestUpdate();
  }

  /** Echa a andar; si está al final, desde el principio. */
  play(): void {
    if (this.end() === 0) return;
    if (this.position >= this.end()) this.position = 0;
    this.playing = true;
    this.last = performance.now();
    this.frame = requestAnimationFrame((now) => this.advance(now));
    this.host.requestUpdate();
  }

  private advance(now: number): void {
    if (!this.playing) return;
    const end = this.end();
    const moved = (Math.max(0, now - this.last) / DURATION) * end;
    this.position = Math.min(end, this.position + moved);
    this.last = now;
    if (this.position >= end) this.playing = false;
    else this.frame = requestAnimationFrame((next) => this.advance(next));
    this.host.requestUpdate();
  }
}
