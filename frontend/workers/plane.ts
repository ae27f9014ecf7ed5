/** El camino de las partículas del plano, fuera del hilo que dibuja. */

import { type Journey, type Travelled, travel } from "../plane/journey";
import type { Which } from "../plane/paths";
import { reasonOf } from "../problems";

/** Una petición con su número: quien la hace solo atiende la respuesta de la última. */
export interface Request {
  id: number;
  which: Which;
  journey: Journey;
}

export type Reply = Pick<Request, "id" | "which"> &
  ({ travelled: Travelled } | { problem: string });

/** Lo que de un hilo se usa aquí. */
interface Scope {
  onmessage: (event: MessageEvent<Request>) => void;
  postMessage: (reply: Reply) => void;
}

const scope = globalThis as unknown as Scope;

scope.onmessage = async ({ data: { id, which, journey } }) => {
  try {
    scope.postMessage({ id, which, travelled: await travel(journey) });
  } catch (error) {
    scope.postMessage({ id, which, problem: reasonOf(error) });
  }
};
