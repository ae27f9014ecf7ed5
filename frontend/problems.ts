/** Lo que ha fallado, dicho para quien lee. */

/** Lo que dicen los navegadores y ONNX Runtime cuando no cabe algo. */
const MEMORY = /allocat|out of memory|bad_alloc/i;

/** La razón de un fallo, en español: `fetch` y la memoria dicen la suya en inglés. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  if (MEMORY.test(text))
    return "no hay memoria suficiente: cerrad otras pestañas o pedid menos cosas a la vez";
  return error instanceof TypeError ? "no hay conexión con el servidor" : text;
}

/** Lo que se dice de una dirección que pide cosas que no pueden ser; nada, si no las hay. */
export function impossible(problems: readonly string[]): string {
  if (problems.length === 0) return "";
  return `La dirección pide algo que no puede ser: ${problems.join("; ")}. Lo demás queda como pedía.`;
}

/** Trae un JSON; si el servidor no lo da, lo dice. */
export async function fetchJson<T>(address: string): Promise<T> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`el servidor ha contestado ${answer.status}`);
  return (await answer.json()) as T;
}
