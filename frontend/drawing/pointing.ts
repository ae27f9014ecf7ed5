/** Señalar un sitio en un dibujo, con el ratón, con el dedo o con las flechas. */

import { css } from "lit";

/** Lo que mueve cada flecha: a la derecha y hacia arriba. */
export const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

/** Un valor, sin salirse de un intervalo. */
export function within(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

/** Dónde se señala, en un plano cuadrado que va de -edge a edge. */
export function placeIn(event: MouseEvent, edge: number): [number, number] {
  const box = (event.currentTarget as Element).getBoundingClientRect();
  const across = (2 * (event.clientX - box.left)) / box.width - 1;
  const down = (2 * (event.clientY - box.top)) / box.height - 1;
  return [within(edge * across, -edge, edge), within(-edge * down, -edge, edge)];
}

/** El aspecto de un plano en que se señala. */
export const planeStyles = css`
  canvas {
    width: 100%;
    aspect-ratio: 1;
    background: var(--dl-papel);
    border: 1px solid var(--dl-linea);
    border-radius: 0.3rem;
    cursor: crosshair;
    touch-action: none;
  }
`;
