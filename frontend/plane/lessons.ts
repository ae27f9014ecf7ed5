/** La red que aprende en el plano, en otro hilo: cuánto sabe y cómo va. */

import type { Weights } from "../ddpm_lit/networks/mlp";
import { networkConfig, newWeights, type Progress } from "../learning";
import { comma } from "../numbers";
import { Thread } from "../thread";
import type { Reply, Request } from "../workers/learning";
import { SETUP } from "./journey";

/** Cuántos segundos tiene cada vez. */
const SECONDS = 10;

export class Lessons {
  /** Los pesos de la red, si es ella quien guía. */
  weights: Weights | null = null;
  progress: Progress | null = null;
  /** La pérdida, cada vez que la red cuenta cómo va. */
  curve: number[] = [];
  /** Si está aprendiendo. */
  going = false;
  /** Lo que aprendió la red, mientras guía la ideal. */
  private learned: { weights: Weights; progress: Progress } | null = null;
  private readonly thread: Thread<Request, Reply>;

  /**
   * @param hear a quién se avisa cada vez que cuenta cómo va.
   * @param fail a quién se dice lo que ha fallado.
   */
  constructor(
    private readonly hear: () => void,
    private readonly fail: (problem: string) => void,
  ) {
    this.thread = new Thread<Request, Reply>(
      "learning",
      (reply) => this.learn(reply),
      () => this.stop("El entrenamiento se ha parado. Podéis volver a entrenar."),
    );
  }

  /** Guía esta red: con lo que supiera o, si no, sin entrenar. */
  hire(): void {
    this.weights = this.learned?.weights ?? untrained();
    this.progress = this.learned?.progress ?? null;
  }

  /** Guía la ideal; lo aprendido se guarda. */
  rest(): void {
    this.leave();
    const { weights, progress } = this;
    this.learned = weights && progress && { weights, progress };
    this.weights = this.progress = null;
  }

  /** Olvida lo aprendido, que era de otros datos. */
  forget(): void {
    this.leave();
    if (this.weights) this.weights = untrained();
    this.progress = this.learned = null;
    this.curve = [];
  }

  /** Aprende unos datos; si ya sabe algo, sigue por donde iba. */
  teach(data: Float32Array): void {
    this.leave();
    const { progress } = this;
    this.progress = progress && { ...progress, left: SECONDS };
    this.going = true;
    this.thread.ask({
      lesson: {
        ...SETUP,
        data,
        seconds: SECONDS,
        seed: 0,
        weights: progress && this.weights,
        step: progress?.step ?? 0,
      },
    });
  }

  /** Deja de aprender. */
  leave(): void {
    this.thread.end();
    this.going = false;
  }

  /** Cómo va. */
  get told(): string {
    if (!this.progress)
      return this.going ? "Empezando…" : "Aún no sabe nada: entrenadla, que son unos segundos.";
    const { step, loss, floor, left } = this.progress;
    const seconds = Math.ceil(left);
    const rest = this.going ? `; ${seconds === 1 ? "queda" : "quedan"} ${seconds} s` : "";
    return `${step} pasos de entrenamiento; pérdida, ${comma(loss, 3)} (la de la red ideal, ${comma(floor, 3)})${rest}.`;
  }

  private learn(reply: Reply): void {
    if ("problem" in reply) {
      this.stop(`No se ha podido entrenar (${reply.problem}).`);
      return;
    }
    this.progress = reply.progress;
    this.curve = [...this.curve, reply.progress.loss];
    this.weights = reply.weights;
    if (reply.progress.left === 0) this.leave();
    this.hear();
  }

  private stop(problem: string): void {
    this.leave();
    this.fail(problem);
  }
}

function untrained(): Weights {
  return newWeights(networkConfig(SETUP.timesteps), 0);
}
