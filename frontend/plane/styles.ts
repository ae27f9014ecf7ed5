/** El aspecto del plano, sobre el de todos los widgets. */

import { css } from "lit";

export const sceneStyles = css`
  .plano {
    display: grid;
    grid-template-columns: minmax(0, 1fr) minmax(13rem, 0.7fr);
    gap: 1rem;
    align-items: start;
  }
  .cuadros {
    display: grid;
    grid-template-columns: repeat(auto-fit, minmax(0, 1fr));
    gap: 0.6rem;
  }
  canvas {
    touch-action: pan-y;
  }
  canvas.dibuja {
    touch-action: none;
  }
  .plano.doble {
    grid-template-columns: 1fr;
  }
  .vista,
  .mandos {
    display: grid;
    gap: 0.8rem;
  }
  .curva {
    max-width: 16rem;
    overflow: visible;
    fill: none;
    stroke: var(--dl-eps);
    stroke-width: 1.6;
  }
  .curva line {
    stroke: var(--md-default-fg-color--light);
    stroke-dasharray: 4 3;
  }
  @media (max-width: 44em) {
    .plano {
      grid-template-columns: 1fr;
    }
    /* Los cuadros están encima de los mandos. */
    .mandos :is(input, button) {
      scroll-margin-block: min(50vh, 22rem) 1rem;
    }
  }
`;
