/** Qué se hace con la red: partir del ruido, rellenar un hueco, rehacer un dibujo o pasear. */

import { html, type TemplateResult } from "lit";
import { greyscale } from "../ddpm_lit/data/conditions";
import "../drawing/board";
import type { Board } from "../drawing/board";
import { chooser } from "../drawing/chooser";
import { asPicture, drawPicture, type Picture } from "../drawing/pixels";
import { comma } from "../numbers";
import { button, choice, seedBox, slider } from "../widget";
import type { Walk } from "./address";
import { type Edit, lengthOf, type Network, type Outline, seenOf } from "./request";
import type { Session } from "./session";

/** Lo que se ha puesto. */
export interface Editing {
  mode: Edit["kind"];
  /** Lo que hay en el tablero al empezar a pintar. */
  base: Picture | null;
  colour: string;
  brush: number;
  /** Qué parte del camino se rehace. */
  strength: number;
  /** Hacia qué otra semilla se anda, y cuánto. */
  walk: Walk;
}

/** Lo que hay al abrir la página. */
export const UNTOUCHED: Editing = {
  mode: "whole",
  base: null,
  colour: "#d22f27",
  brush: 4,
  strength: 0.6,
  walk: { seed: 1, fraction: 0.5 },
};

const MODES = [
  ["whole", "desde el ruido"],
  ["inpaint", "rellenando un hueco"],
  ["redraw", "rehaciendo un dibujo"],
  ["between", "entre dos semillas"],
] as const;
/** Qué hace una red con la imagen que se le da. */
const GIVEN = {
  low_resolution: "Pintad, o poned una imagen: la red la ve reducida y la amplía.",
  greyscale: "Pintad, o poned una imagen: la red la ve en gris y la colorea.",
} as const;
/** Cuántos niveles se desandan al rellenar, y cuántas veces se da cada tramo. */
const [JUMP, RESAMPLINGS] = [5, 5];

/** Una red que parte de una imagen empieza con la que trae; las demás, desde el ruido. */
export function startWith({ image, shape }: Network): Pick<Editing, "mode" | "base"> {
  if (!image) return { mode: "whole", base: null };
  const values = Float32Array.from(image.example, (level) => level / 127.5 - 1);
  return { mode: "image", base: asPicture(values, shape) };
}

/** Un papel en blanco; en negro, si la red dibuja en claro. */
export function blank({ shape, vocabulary, image }: Network): Picture {
  const size = shape.reduce((product, side) => product * side, 1);
  return asPicture(new Float32Array(size).fill(vocabulary.length > 0 || image ? 1 : -1), shape);
}

/** De qué se parte al pintar: la primera muestra, acabada o como se ve venir; si no, de un papel. */
export function baseFor(network: Network, session: Session): Picture {
  const last = session.path.at(-1);
  const whole = session.finished ? last?.xT : last?.xStart;
  if (!session.shown || !whole) return blank(network);
  const size = network.shape.reduce((product, side) => product * side, 1);
  return asPicture(whole.slice(0, size), network.shape);
}

/** Si se pinta en el tablero. */
export function paints({ mode }: Editing): boolean {
  return mode !== "whole" && mode !== "between";
}

/** Qué camino se ha puesto, en los pasos que se den. */
export function outlineOf({ mode, walk, strength }: Editing, steps: number): Outline {
  if (mode === "between") return { kind: mode, ...walk };
  if (mode === "redraw") return { kind: mode, strength };
  if (mode !== "inpaint") return { kind: mode };
  const resamplings = steps > 1 ? RESAMPLINGS : 1;
  return { kind: mode, jump: Math.max(1, Math.min(JUMP, steps - 1)), resamplings };
}

/** Lo que se ha puesto, como se le pide a la red; nada, si hace falta un hueco y no lo hay. */
export function editOf(editing: Editing, board: Board | null, steps: number): Edit | null {
  const outline = outlineOf(editing, steps);
  if (outline.kind === "between") return outline;
  if (outline.kind === "whole" || !board) return { kind: "whole" };
  const { values, mask } = board.painted;
  if (outline.kind === "image") return { kind: outline.kind, image: values };
  if (outline.kind === "redraw") return { ...outline, initial: values };
  return board.holed ? { ...outline, known: values, mask } : null;
}

/** Dibuja lo que la red ve de lo que hay en el tablero. */
export function drawSeen(canvas: HTMLCanvasElement, network: Network, { painted }: Board): void {
  if (painted.values.length === 0) return;
  const [values, channels] = seenOf(network, painted.values);
  const [, height, width] = network.shape;
  drawPicture(canvas, asPicture(values, [channels, height, width]));
}

/** Lo que hacen los mandos con lo que se ha puesto. */
export interface EditingHands {
  set: (changes: Partial<Editing>) => void;
  choose: (mode: Edit["kind"]) => void;
  /** Se ha pintado algo. */
  painted: () => void;
  /** Lo pintado se quita. */
  clear: () => void;
  /** El último trazo se quita. */
  undo: () => void;
  tell: (problem: string) => void;
}

/** Los mandos de lo que se hace con una red. */
export function editingView(
  network: Network,
  editing: Editing,
  steps: number,
  hands: EditingHands,
): TemplateResult {
  const modes = () =>
    choice("Se genera:", MODES, editing.mode, (mode) => hands.choose(mode as Edit["kind"]));
  return html`
    ${network.image ? "" : modes()}
    ${paints(editing) ? boardView(network, editing, steps, hands) : ""}
    ${editing.mode === "between" ? walkView(editing, hands) : ""}
  `;
}

/** El tablero y lo que hace falta para pintar en él. */
function boardView(
  network: Network,
  editing: Editing,
  steps: number,
  hands: EditingHands,
): TemplateResult {
  const { mode, base, brush, colour } = editing;
  const hole = mode === "inpaint";
  return html`<div class="obras pintar">
    <dl-tablero
      .picture=${base}
      .mode=${hole ? "mask" : "brush"}
      .colour=${colour}
      .size=${brush}
      @change=${hands.painted}
    ></dl-tablero>
    <div class="mandos">
      <p class="consejo">${adviceFor(network, editing, steps)}</p>
      ${
        network.image
          ? html`<figure class="vista">
              <canvas class="condicion" width="1" height="1" role="img" aria-label="Lo que la red ve de la imagen"></canvas>
              <figcaption>lo que ve la red</figcaption>
            </figure>`
          : ""
      }
      ${slider({
        label: "pincel",
        text: String(brush),
        value: brush,
        min: 1,
        max: 12,
        onInput: (brush) => hands.set({ brush }),
      })}
      ${hole ? "" : brushView(network, editing, hands)}
      <div class="fila ordenes">
        ${hole ? "" : button("Vaciar", true, () => hands.set({ base: blank(network) }))}
        ${button("Deshacer", true, hands.undo)}
        ${button("Empezar otra vez", true, hands.clear)}
        ${chooser(
          "Poner una imagen",
          network.shape[1],
          (picture) => {
            hands.set({ base: fitted(picture, network) });
            hands.tell("");
          },
          hands.tell,
        )}
      </div>
    </div>
  </div>`;
}

function adviceFor({ image }: Network, editing: Editing, steps: number): string {
  if (image) return GIVEN[image.kind];
  const many = lengthOf(outlineOf(editing, steps), steps);
  if (editing.mode === "redraw") {
    const last = many === 1 ? "Se da solo el último paso" : `Se dan los ${many} últimos pasos`;
    return `Pintad un dibujo: se le echa ruido y la red lo termina. ${last} de ${steps}.`;
  }
  const empty = editing.base?.values.every((value, _, [first]) => value === first);
  const first = empty
    ? "Aquí no hay nada todavía: generad una muestra «desde el ruido» y volved, o poned una imagen. "
    : "";
  const repeated =
    many > steps
      ? ` Cada tramo se repite, para que lo inventado case con lo demás: serán ${many} pasos en lugar de ${steps}.`
      : "";
  return `${first}Pintad encima de lo que la red deba inventar.${repeated}`;
}

/** Una imagen, con los canales de la red. */
function fitted(picture: Picture, { shape: [channels, height, width] }: Network): Picture {
  if (channels === 3) return picture;
  return asPicture(greyscale(picture.values), [1, height, width]);
}

/** Con qué se pinta un boceto, y cuánto se rehace. */
function brushView(
  { shape, image }: Network,
  { colour, strength }: Editing,
  { set }: EditingHands,
): TemplateResult {
  return html`
    ${
      shape[0] === 3
        ? html`<label class="campo">
            Color
            <input
              type="color"
              .value=${colour}
              @input=${(event: Event) => set({ colour: (event.target as HTMLInputElement).value })}
            />
          </label>`
        : ""
    }
    ${
      image
        ? ""
        : slider({
            label: "cuánto se rehace",
            text: comma(strength),
            value: strength,
            min: 0.1,
            max: 1,
            step: 0.05,
            onInput: (strength) => set({ strength }),
          })
    }
  `;
}

/** Hacia qué otra semilla se anda, y cuánto. */
function walkView({ walk }: Editing, { set, tell }: EditingHands): TemplateResult {
  return html`<div class="fila">
    ${seedBox("Otra semilla", walk.seed, (seed) => set({ walk: { ...walk, seed } }), tell)}
    ${slider({
      label: "cuánto se anda hacia ella",
      text: comma(walk.fraction),
      value: walk.fraction,
      min: 0,
      max: 1,
      step: 0.05,
      onInput: (fraction) => set({ walk: { ...walk, fraction } }),
    })}
  </div>`;
}
