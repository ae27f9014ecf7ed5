/** Una generación que se mira: cómo va, los pasos que ha dado y cuál de ellos se ve. */

import type { ReactiveController, ReactiveControllerHost } from "lit";
import { comma, plural } from "../numbers";
import { ReplacedError, type Runner, type Step } from "../runner";
import { type Edit, lengthOf, type Network, type Settings } from "./request";

type Progress =
  | { kind: "idle" }
  | { kind: "loading"; part: number }
  | { kind: "running"; paused: boolean }
  | { kind: "finished"; seconds: number };

export class Session implements ReactiveController {
  progress: Progress = { kind: "idle" };
  /** Los pasos que se han dado, y cuál de ellos se mira, desde 1. */
  path: readonly Step[] = [];
  viewed = 0;
  /** Lo que se pidió para lo que se está viendo. */
  shown: Settings | null = null;
  edit: Edit = { kind: "whole" };
  /** Algo que conviene saber y no impide generar. */
  note = "";
  private runner: Runner | null = null;

  constructor(private readonly host: ReactiveControllerHost) {
    host.addController(this);
  }

  hostDisconnected(): void {
    this.runner?.end();
  }

  get busy(): boolean {
    return this.progress.kind === "loading" || this.progress.kind === "running";
  }

  get paused(): boolean {
    return this.progress.kind === "running" && this.progress.paused;
  }

  get finished(): boolean {
    return this.progress.kind === "finished";
  }

  /** El paso que se mira. */
  get seen(): Step | undefined {
    return this.path[this.viewed - 1];
  }

  /**
   * Genera, y va guardando cada paso.
   *
   * @throws Error si algo falla, y dice qué; dejarlo o pedir otra cosa no es un fallo.
   */
  async start(runner: Runner, network: Network, settings: Settings, edit: Edit): Promise<void> {
    this.runner = runner;
    this.shown = { ...settings };
    this.edit = edit;
    this.path = [];
    this.note = "";
    this.put({ kind: "loading", part: 0 });
    try {
      const { seconds } = await runner.run(network, this.shown, edit, {
        loading: (part) => this.put({ kind: "loading", part }),
        note: (text) => {
          this.note = text;
          this.host.requestUpdate();
        },
        step: (step) => this.advance(step),
      });
      this.put({ kind: "finished", seconds });
    } catch (error) {
      if (error instanceof ReplacedError) return;
      this.put({ kind: "idle" });
      throw error;
    }
  }

  pause(): void {
    if (this.progress.kind !== "running") return;
    this.runner?.tell("pause");
    this.put({ kind: "running", paused: true });
  }

  /** Sigue desde el último paso, que es el que se vuelve a mirar. */
  goOn(kind: "resume" | "step"): void {
    if (this.progress.kind !== "running") return;
    this.viewed = this.path.length;
    this.runner?.tell(kind);
    this.put({ kind: "running", paused: kind === "step" });
  }

  /** Deja de generar; lo que ya se ha visto se puede seguir mirando. */
  leave(): void {
    this.runner?.leave();
    this.put({ kind: "idle" });
  }

  /** Olvida lo generado. */
  forget(): void {
    this.leave();
    this.path = [];
    this.shown = null;
    this.edit = { kind: "whole" };
    this.note = "";
  }

  /** Mira un paso del camino, y para donde esté. */
  look(viewed: number): void {
    this.pause();
    this.viewed = viewed;
    this.host.requestUpdate();
  }

  /** Cómo va, en una frase. */
  get told(): string {
    const { progress, shown } = this;
    const total = shown ? lengthOf(this.edit, shown.steps) : 0;
    const looked = `Paso ${this.viewed} de ${total}, t = ${this.seen?.t ?? ""}`;
    if (progress.kind === "running") return `${looked}${progress.paused ? " (en pausa)" : ""}.`;
    if (progress.kind === "finished" && this.viewed < this.path.length) return `${looked}.`;
    if (progress.kind === "finished") {
      const many = plural(shown?.count ?? 0, "muestra", "muestras");
      const long = plural(total, "paso", "pasos");
      return `${many} en ${long}: ${comma(progress.seconds, 1)} s en este navegador.`;
    }
    if (progress.kind === "loading") return "Trayendo la red…";
    return this.path.length > 0 ? `Se ha quedado ahí. ${looked}.` : "";
  }

  private advance(step: Step): void {
    const following = this.viewed === this.path.length;
    this.path = [...this.path, step];
    if (following || this.path.length === 1) this.viewed = this.path.length;
    this.put({ kind: "running", paused: this.paused });
  }

  private put(progress: Progress): void {
    this.progress = progress;
    this.host.requestUpdate();
  }
}
