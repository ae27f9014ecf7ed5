/** El aspecto del laboratorio, sobre el de todos los widgets. */

import { css } from "lit";

export const laboratoryStyles = css`
  .obras {
    display: grid;
    grid-template-columns: 1fr 1fr;
    gap: 1rem;
  }
  figure {
    margin: 0;
  }
  figcaption {
    text-align: center;
    margin-top: 0.3rem;
  }
  canvas {
    display: block;
    width: 100%;
    image-rendering: pixelated;
    border-radius: 0.3rem;
    background: var(--dl-papel);
    border: 1px solid var(--dl-linea);
    box-sizing: border-box;
  }
  @media (min-width: 36.01em) {
    .obras.tres {
      grid-template-columns: repeat(3, 1fr);
    }
    .tres .mandos {
      grid-column: 1 / -1;
      grid-template-columns: 1fr auto;
      align-items: center;
    }
  }
  .frase {
    flex: 1 1 16rem;
  }
  .frase input {
    flex: 1;
    min-width: 8rem;
  }
  .principal {
    background: var(--md-accent-fg-color);
    color: var(--md-accent-bg-color);
    border-color: var(--md-accent-fg-color);
    font-weight: 600;
  }
  progress {
    width: 100%;
    accent-color: var(--md-accent-fg-color);
  }
  code {
    font-family: var(--md-code-font);
    background: var(--md-code-bg-color);
    padding: 0.4rem 0.6rem;
    border-radius: 0.3rem;
    overflow-wrap: anywhere;
    display: block;
  }
  code.palabra {
    display: inline;
    padding: 0 0.2rem;
  }
  code > span {
    display: inline-block;
    max-width: 100%;
  }
  details > div {
    display: grid;
    gap: 0.7rem;
    margin-top: 0.7rem;
  }
  summary {
    cursor: pointer;
    min-height: 24px;
  }
  .mandos {
    display: grid;
    gap: 0.7rem;
    align-content: start;
  }
  @media (max-width: 36em) {
    .pintar {
      grid-template-columns: 1fr;
    }
  }
  .consejo {
    margin: 0;
  }
  .resumen {
    text-align: center;
  }
  .vista {
    max-width: 9rem;
  }
  .estado {
    margin: 0;
    min-height: 1.5em;
    font-variant-numeric: tabular-nums;
  }
`;
