/** Quien pide a una red, en su hilo, una generación detrás de otra y espera a que acaben. */

import type { Edit, Network, Settings } from "./laboratory/request";
import { Thread } from "./thread";
import type { News, Order } from "./workers/laboratory";

/** Se ha pedido otra cosa antes de que acabara, o se ha dejado. */
export class ReplacedError extends Error {}

/** Un paso que se ha dado. */
export type Step = Extract<News, { kind: "step" }>;

/** A quién se cuenta cómo va una generación; quien no quiera saber algo, que no lo ponga. */
export interface Listener {
  /** Qué parte de los pesos ha llegado. */
  loading?: (part: number) => void;
  note?: (text: string) => void;
  step?: (step: Step) => void;
}

/** Lo que queda al acabar: las muestras y los segundos de cálculo. */
export interface Finished {
  samples: Float32Array;
  seconds: number;
}

export class Runner {
  private readonly thread = new Thread<Order, News>(
    "laboratory",
    (news) => this.hear(news),
    (reason) => this.fail(reason),
  );
  private asked = 0;
  private waiting: {
    resolve: (finished: Finished) => void;
    reject: (error: Error) => void;
    listener: Listener;
    samples: Float32Array;
  } | null = null;

  /** @param base la dirección de la lista de las redes, al lado de la que están sus ficheros. */
  constructor(private readonly base: string) {}

  /**
   * Genera unas muestras y espera a que acaben.
   *
   * @throws ReplacedError si antes se pide otra cosa o se deja; si algo falla, un error que dice qué.
   */
  run(
    network: Network,
    settings: Settings,
    edit: Edit = { kind: "whole" },
    listener: Listener = {},
  ): Promise<Finished> {
    this.waiting?.reject(new ReplacedError());
    this.asked += 1;
    const address = new URL(network.file, this.base).href;
    this.thread.ask({ kind: "generate", id: this.asked, network, address, settings, edit });
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject, listener, samples: new Float32Array() };
    });
  }

  /** Para la generación en curso, la sigue o da un solo paso. */
  tell(kind: "pause" | "resume" | "step"): void {
    if (this.waiting) this.thread.ask({ kind });
  }

  /** Deja la generación en curso; la red sigue cargada para la siguiente. */
  leave(): void {
    if (!this.waiting) return;
    this.waiting.reject(new ReplacedError());
    this.waiting = null;
    this.thread.ask({ kind: "stop" });
  }

  /** Acaba con el hilo. */
  end(): void {
    this.waiting?.reject(new ReplacedError());
    this.waiting = null;
    this.thread.end();
  }

  private fail(reason: string): void {
    const { waiting } = this;
    this.waiting = null;
    this.thread.end();
    waiting?.reject(new Error(reason));
  }

  private hear(news: News): void {
    const { waiting } = this;
    if (news.id !== this.asked || !waiting) return;
    if (news.kind === "problem") {
      this.fail(news.text);
    } else if (news.kind === "loading") {
      waiting.listener.loading?.(news.loaded / news.total);
    } else if (news.kind === "note") {
      waiting.listener.note?.(news.text);
    } else if (news.kind === "step") {
      waiting.samples = news.xT;
      waiting.listener.step?.(news);
    } else {
      this.waiting = null;
      waiting.resolve({ samples: waiting.samples, seconds: news.seconds });
    }
  }
}
