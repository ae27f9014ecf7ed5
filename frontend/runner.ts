/** Quien pide a una red, en su hilo, una generación detrás de otra y espera a que acaben. */

import type { Edit, Network, Settings } from "./laboratory";
import type { News, Order } from "./workers/laboratory";

/** Se ha pedido otra cosa antes de que acabara. */
export class ReplacedError extends Error {}

export class Runner {
  private worker: Worker | null = null;
  private asked = 0;
  private waiting: {
    resolve: (x: Float32Array) => void;
    reject: (error: Error) => void;
    last: Float32Array;
  } | null = null;

  /** @param base la dirección de la lista de las redes, al lado de la que están sus ficheros. */
  constructor(private readonly base: string) {}

  /** Genera y devuelve las muestras; si antes de acabar se pide otra cosa, `ReplacedError`. */
  run(network: Network, settings: Settings, edit: Edit = { kind: "whole" }): Promise<Float32Array> {
    this.waiting?.reject(new ReplacedError());
    this.asked += 1;
    const address = new URL(network.file, this.base).href;
    const order: Order = { kind: "generate", id: this.asked, network, address, settings, edit };
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject, last: new Float32Array() };
      this.started().postMessage(order);
    });
  }

  /** Acaba con el hilo. */
  stop(): void {
    this.waiting?.reject(new ReplacedError());
    this.waiting = null;
    this.worker?.terminate();
    this.worker = null;
  }

  private started(): Worker {
    if (!this.worker) {
      this.worker = new Worker(new URL("./laboratory.js", import.meta.url), { type: "module" });
      this.worker.onmessage = ({ data }: MessageEvent<News>) => this.hear(data);
      this.worker.onerror = (event) => {
        event.preventDefault();
        this.fail(new Error(event.message || "el hilo de cálculo se ha parado"));
      };
    }
    return this.worker;
  }

  private fail(error: Error): void {
    const { waiting } = this;
    this.waiting = null;
    this.worker?.terminate();
    this.worker = null;
    waiting?.reject(error);
  }

  private hear(news: News): void {
    if (news.id !== this.asked || !this.waiting) return;
    if (news.kind === "problem") this.fail(new Error(news.text));
    else if (news.kind === "step") this.waiting.last = news.xT;
    else if (news.kind === "finished") {
      const { resolve, last } = this.waiting;
      this.waiting = null;
      resolve(last);
    }
  }
}
