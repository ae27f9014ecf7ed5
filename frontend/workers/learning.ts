/** El entrenamiento en la página, fuera del hilo que dibuja. */

import type { Weights } from "../ddpm_lit/networks/mlp";
import { type Lesson, learn, type Progress } from "../learning";
import { reasonOf } from "../problems";

/** Lo que se pide: que aprenda unos datos. */
export interface Request {
  lesson: Lesson;
}

/** Lo que contesta, cada poco: cómo va y lo que ha aprendido. */
export type Reply = { progress: Progress; weights: Weights } | { problem: string };

/** Lo que de un hilo se usa aquí. */
interface Scope {
  onmessage: (event: MessageEvent<Request>) => void;
  postMessage: (reply: Reply) => void;
}

/** Cada cuántos milisegundos se cuenta cómo va. */
const TELL = 500;
const scope = globalThis as unknown as Scope;

scope.onmessage = ({ data: { lesson } }) => {
  try {
    let told = performance.now();
    for (const [progress, weights] of learn(lesson)) {
      const now = performance.now();
      if (now - told < TELL && progress.left > 0) continue;
      told = now;
      scope.postMessage({ progress, weights });
    }
  } catch (error) {
    scope.postMessage({ problem: reasonOf(error) });
  }
};
