/** Condiciones: de una frase a los números que lee la red. El gemelo de `ddpm_lit.conditioning`. */

export const PADDING = 0;
export const START = 1;

/** Las palabras de una frase, en minúsculas y sin tildes (la ñ se queda). */
export function words(text: string): string[] {
  const decomposed = text.toLowerCase().normalize("NFD");
  const withoutAccents = decomposed.replace(/(?<!n)\u0303|[\u0300-\u0302\u0304-\u036f]/g, "");
  return withoutAccents.normalize("NFC").match(/[\p{L}\p{N}_]+/gu) ?? [];
}

/** Una frase leída: sus tokens y las palabras que la red no conoce, que se pasan por alto. */
export interface Reading {
  tokens: number[];
  unknown: string[];
}

/**
 * Convierte una frase en números: un token de inicio, uno por palabra conocida y relleno.
 *
 * @param caption la frase.
 * @param vocabulary las palabras que la red conoce; la primera es el token 2.
 * @param length los tokens de una frase.
 */
export function tokenize(caption: string, vocabulary: readonly string[], length: number): Reading {
  const found = words(caption);
  const numbers = found.map((word) => vocabulary.indexOf(word));
  const known = numbers.filter((number) => number >= 0).map((number) => number + START + 1);
  if (known.length >= length) {
    throw new RangeError(
      `la red conoce ${known.length} palabras de la frase y lee como mucho ${length - 1}: acortadla`,
    );
  }
  const tokens = new Array<number>(length).fill(PADDING);
  tokens.splice(0, known.length + 1, START, ...known);
  return { tokens, unknown: found.filter((_, k) => numbers[k]! < 0) };
}

/** Los tokens de la frase que no dice nada. */
export function nullTokens(length: number): number[] {
  return tokenize("", [], length).tokens;
}
