/** Los números como se escriben en español. */

const formats = new Map<number, Intl.NumberFormat>();

/** Un número con coma y `digits` decimales. */
export function comma(value: number, digits = 2): string {
  if (Number.isNaN(value)) return "—";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  let format = formats.get(digits);
  if (!format) {
    format = new Intl.NumberFormat("es-ES", {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
    formats.set(digits, format);
  }
  // Un cero no lleva signo.
  const text = format.format(value).replace(/^-(?=[0,]+$)/, "");
  return text.replace("-", "−").replaceAll(".", "\u202f");
}

/** Un número con tres cifras que digan algo: 0,0123 o 4560; los muy grandes o muy pequeños, con su potencia. */
export function significant(value: number): string {
  if (!Number.isFinite(value) || value === 0) return comma(value, 0);
  const size = Math.floor(Math.log10(Math.abs(value)));
  if (size < -4 || size > 6) return `${comma(value / 10 ** size, 1)}·${powerOfTen(size)}`;
  return comma(value, Math.max(0, 2 - size));
}

/** 10 elevado a un entero: 10⁻³. */
function powerOfTen(power: number): string {
  return `10${String(power).replace(/./g, (each) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(each)] ?? "⁻")}`;
}

/** Cuántas cosas son: 1 muestra, 4 muestras. */
export function plural(count: number, one: string, many: string): string {
  return `${count} ${count === 1 ? one : many}`;
}

/** La posición en que unos valores, sumados en orden, llegan a `part`. */
export function reaching(values: Iterable<number>, part: number): number {
  let total = 0;
  let at = -1;
  for (const value of values) {
    total += value;
    at += 1;
    if (total >= part) break;
  }
  return at;
}
