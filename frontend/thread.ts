/** Un hilo de cálculo: uno de los de `workers/`, que arranca con lo primero que se le pide. */
export class Thread<Asked, Answer> {
  private worker: Worker | null = null;

  /**
   * @param name cómo se llama su módulo en `workers/`.
   * @param hear quien atiende lo que contesta.
   * @param fail a quién se dice que se ha parado, y por qué; lo siguiente empieza con otro.
   */
  constructor(
    private readonly name: string,
    private readonly hear: (answer: Answer) => void,
    private readonly fail: (reason: string) => void,
  ) {}

  ask(asked: Asked): void {
    this.worker ??= this.started();
    this.worker.postMessage(asked);
  }

  /** Acaba con él, y con lo que estuviera haciendo. */
  end(): void {
    this.worker?.terminate();
    this.worker = null;
  }

  private started(): Worker {
    const worker = new Worker(new URL(`./${this.name}.js`, import.meta.url), { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      if (this.worker === worker) this.hear(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      if (this.worker !== worker) return;
      this.end();
      this.fail(event.message || "el hilo de cálculo se ha parado");
    };
    return worker;
  }
}
