/** Gráficas de una página: unas escalas, sus ejes y lo que se dibuje encima. */

import { scaleLinear } from "d3-scale";
import { area, line } from "d3-shape";
import { css, type SVGTemplateResult, svg } from "lit";
import { comma } from "../numbers";

/** Una gráfica: su tamaño, en las unidades del dibujo, y qué intervalos enseña. */
export interface Plot {
  width: number;
  height: number;
  x: readonly [number, number];
  y: readonly [number, number];
  xLabel?: string;
  /** Las marcas del eje horizontal, si no son números redondos: dónde y qué pone. */
  xTicks?: readonly (readonly [number, string])[];
  yLabel?: string;
  /** Otro eje vertical, a la derecha, para lo que se mide en otra cosa. */
  right?: { range: readonly [number, number]; label: string };
  /** Lo que se lee de ella sin verla. */
  title: string;
}

/** De los datos al dibujo. */
export interface Scales {
  x: (value: number) => number;
  y: (value: number) => number;
  /** En vertical, con el eje de la derecha. */
  yRight: (value: number) => number;
  /** Del dibujo a los datos, en horizontal. */
  xAt: (place: number) => number;
}

type Point = readonly [number, number];

const MARGIN = { top: 8, right: 10, bottom: 30, left: 40 };

/** Los estilos de las gráficas. */
export const plotStyles = css`
  .grafica {
    font-size: 12px;
    overflow: visible;
  }
  .grafica text {
    fill: var(--md-default-fg-color--light);
    font-family: var(--dl-sans);
  }
  .grafica .eje {
    stroke: var(--dl-fig-rejilla);
    fill: none;
  }
  .grafica .curva {
    fill: none;
    stroke: currentColor;
    stroke-width: 2;
    stroke-linejoin: round;
  }
  .grafica .relleno {
    fill: currentColor;
    opacity: 0.22;
    stroke: none;
  }
  .grafica .barra {
    fill: currentColor;
    opacity: 0.5;
  }
`;

/** Dibuja unos ejes y, dentro, lo que devuelva `draw`. */
export function plot(
  { width, height, x, y, xLabel = "", yLabel = "", right: other, xTicks, title }: Plot,
  draw: (scales: Scales) => readonly SVGTemplateResult[],
): SVGTemplateResult {
  const left = MARGIN.left + (yLabel ? 14 : 0);
  const aside = other ? MARGIN.left + 14 : MARGIN.right;
  const [right, bottom] = [width - aside, height - MARGIN.bottom];
  const across = scaleLinear().domain(x).range([left, right]);
  const upwards = scaleLinear().domain(y).range([bottom, MARGIN.top]);
  const upwardsRight = scaleLinear()
    .domain(other?.range ?? y)
    .range([bottom, MARGIN.top]);
  const digits = (ticks: readonly number[]) =>
    Math.max(0, ...ticks.map((tick) => (String(+tick.toPrecision(6)).split(".")[1] ?? "").length));
  const round = across.ticks(Math.max(2, width / 90));
  const marks = xTicks ?? round.map((tick) => [tick, comma(tick, digits(round))] as const);
  const yTicks = upwards.ticks(Math.max(2, height / 50));
  const rightTicks = other ? upwardsRight.ticks(Math.max(2, height / 50)) : [];
  const middle = (bottom + MARGIN.top) / 2;
  return svg`<svg class="grafica" viewBox="0 0 ${width} ${height}" role="img" aria-label=${title}>
    <path class="eje" d="M${left},${MARGIN.top}V${bottom}H${right}"></path>
    ${marks.map(
      ([tick, text]) =>
        svg`<text x=${across(tick)} y=${bottom + 15} text-anchor="middle">${text}</text>`,
    )}
    ${yTicks.map(
      (tick) =>
        svg`<text x=${left - 6} y=${upwards(tick) + 4} text-anchor="end">${comma(tick, digits(yTicks))}</text>`,
    )}
    ${rightTicks.map(
      (tick) =>
        svg`<text x=${right + 6} y=${upwardsRight(tick) + 4}>${comma(tick, digits(rightTicks))}</text>`,
    )}
    <text x=${right} y=${bottom + 28} text-anchor="end">${xLabel}</text>
    <text x="12" y=${middle} text-anchor="middle" transform="rotate(-90 12 ${middle})">${yLabel}</text>
    <text x=${width - 4} y=${middle} text-anchor="middle"
      transform="rotate(-90 ${width - 4} ${middle})">${other?.label ?? ""}</text>
    ${draw({ x: across, y: upwards, yRight: upwardsRight, xAt: (place) => across.invert(place) })}
  </svg>`;
}

/** Una curva por unos puntos. */
export function curve(
  { x, y }: Pick<Scales, "x" | "y">,
  points: Iterable<Point>,
  kind = "",
): SVGTemplateResult {
  const path = line<Point>(
    (p) => x(p[0]),
    (p) => y(p[1]),
  )([...points]);
  return svg`<path class="curva ${kind}" d=${path ?? ""}></path>`;
}

/** El relleno entre una curva y el eje. */
export function filled(
  { x, y }: Pick<Scales, "x" | "y">,
  points: Iterable<Point>,
  kind = "",
): SVGTemplateResult {
  const path = area<Point>(
    (p) => x(p[0]),
    y(0),
    (p) => y(p[1]),
  )([...points]);
  return svg`<path class="relleno ${kind}" d=${path ?? ""}></path>`;
}

/** Un histograma de densidad: cada barra, la parte de los valores que le toca entre su ancho. */
export function histogram(values: Float32Array, [low, high]: Point, bins: number): Point[] {
  const counts = new Float64Array(bins);
  for (const value of values) {
    const bin = Math.floor(((value - low) / (high - low)) * bins);
    if (bin >= 0 && bin < bins) counts[bin]! += 1;
  }
  const width = (high - low) / bins;
  return Array.from(
    counts,
    (count, k) => [low + k * width, count / (Math.max(1, values.length) * width)] as const,
  );
}

/** Las barras de un histograma. */
export function bars(
  { x, y }: Scales,
  heights: readonly Point[],
  width: number,
  kind = "",
): SVGTemplateResult[] {
  return heights.map(
    ([from, height]) => svg`<rect class="barra ${kind}" x=${x(from)} y=${y(height)}
      width=${Math.max(x(from + width) - x(from) - 0.5, 0.5)} height=${y(0) - y(height)}></rect>`,
  );
}

/** La densidad de la normal de media `mean` y varianza `variance`. */
export function normalDensity(x: number, mean = 0, variance = 1): number {
  return Math.exp(-((x - mean) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);
}

/** `count` números de `low` a `high`, los dos incluidos. */
export function steps(low: number, high: number, count: number): number[] {
  return Array.from({ length: count }, (_, k) => low + ((high - low) * k) / (count - 1));
}
