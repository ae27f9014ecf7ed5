/** Lo que ha fallado, dicho para quien lee. */

/** La razón de un fallo, en español: `fetch` dice la suya en inglés. */
export function reasonOf(error: unknown): string {
  if (error instanceof TypeError) return "no hay conexión con el servidor";
  return error instanceof Error ? error.message : String(error);
}

/** Trae un JSON; si el servidor no lo da, lo dice. */
export async function fetchJson<T>(address: string): Promise<T> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`el servidor ha contestado ${answer.status}`);
  return (await answer.json()) as T;
}
