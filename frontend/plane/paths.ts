/** Los caminos que se ven en el plano, que se calculan en otro hilo. */

import { Thread } from "../thread";
import type { Reply, Request } from "../workers/plane";
import type { Journey, Travelled } from "./journey";

/** El de todas las partículas y el de la que se ha soltado, con un sampler y con el de al lado. */
export type Which = "all" | "own" | "other" | "otherOwn";

export class Paths {
  readonly known: Record<Which, Travelled | null> = {
    all: null,
    own: null,
    other: null,
    otherOwn: null,
  };
  /** El número de lo último que se ha pedido de cada uno, y el de lo último que ha llegado. */
  private readonly asked: Record<Which, number> = { all: 0, own: 0, other: 0, otherOwn: 0 };
  private readonly answered: Record<Which, number> = { all: 0, own: 0, other: 0, otherOwn: 0 };
  /** Lo que espera a que el hilo acabe: de cada uno, solo lo último que se ha pedido. */
  private readonly queue = new Map<Which, Request>();
  private busy = false;
  private readonly thread: Thread<Request, Reply>;

  /**
   * @param hear a quién se dice qué camino ha llegado.
   * @param fail a quién se dice lo que ha fallado.
   */
  constructor(
    private readonly hear: (which: Which) => void,
    private readonly fail: (problem: string) => void,
  ) {
    this.thread = new Thread<Request, Reply>(
      "plane",
      (reply) => this.receive(reply),
      () => {
        Object.assign(this.answered, this.asked);
        this.queue.clear();
        this.busy = false;
        fail("El cálculo se ha parado. Cambiad algo para empezarlo otra vez.");
      },
    );
  }

  ask(which: Which, journey: Journey): void {
    this.asked[which] += 1;
    this.queue.set(which, { id: this.asked[which], which, journey });
    this.next();
  }

  private next(): void {
    const [first] = this.queue.values();
    if (this.busy || !first) return;
    this.queue.delete(first.which);
    this.busy = true;
    this.thread.ask(first);
  }

  /** Si aún no ha llegado el último que se pidió. */
  waits(which: Which): boolean {
    return this.answered[which] < this.asked[which];
  }

  /** Olvida unos caminos; lo que esté en marcha ya no se espera. */
  forget(...some: readonly Which[]): void {
    for (const which of some) {
      this.known[which] = null;
      this.queue.delete(which);
      this.asked[which] += 1;
      this.answered[which] = this.asked[which];
    }
  }

  end(): void {
    this.queue.clear();
    this.busy = false;
    this.thread.end();
  }

  private receive(reply: Reply): void {
    const { id, which } = reply;
    this.busy = false;
    this.next();
    if (id !== this.asked[which]) return;
    this.answered[which] = id;
    if ("problem" in reply) {
      this.fail(`No se ha podido calcular (${reply.problem}).`);
      return;
    }
    this.known[which] = reply.travelled;
    this.hear(which);
  }
}
