/** El dibujo del plano: los datos, las partículas y lo que se quiera ver de ellas. */

import type { Values } from "../ddpm_lit/forward";
import { cross, type Sheet, sheetOf } from "../drawing/sheet";
import { EDGE } from "./distributions";
import { type Journey, modelOf, processOf, SETUP, type Travelled } from "./journey";

const PROCESS = processOf(SETUP);
/** Cuántas flechas por lado, y cuántos pasos se ven de una estela. */
const [FIELD, TRAIL] = [19, 12];

/** Lo que se ve. */
export interface Scene {
  data: Float32Array;
  travelled: Travelled | null;
  /** El camino de la partícula soltada. */
  own: Travelled | null;
  position: number;
  trails: boolean;
  guesses: boolean;
  /** La red cuyo score se dibuja, y en qué t. */
  field: { guide: Pick<Journey, "data" | "bandwidth" | "weights">; t: number } | null;
  title: string;
  /** Lo que pone mientras no hay datos. */
  empty: string;
  /** Dónde está la cruz que se mueve con las flechas. */
  cursor: readonly [number, number] | null;
}

/** Dibuja un plano como está ahora. */
export function paint(canvas: HTMLCanvasElement | null, scene: Scene): void {
  const sheet = sheetOf(canvas, EDGE);
  if (!sheet) return;
  const { context, colour, side } = sheet;
  const { data, travelled, own, title, empty, cursor } = scene;
  dots(sheet, data, { size: 4, alpha: 0.55, colour: "x0" });
  if (data.length === 0) write(sheet, empty, side / 2, side / 2, "center");
  if (travelled) {
    if (scene.field) arrows(sheet, scene.field);
    particles(sheet, travelled, scene);
    if (own) follow(sheet, own, scene.position);
  }
  if (title) {
    // Sobre un papel, para que no se confunda con las partículas.
    context.globalAlpha = 0.85;
    context.fillStyle = colour("papel");
    context.fillRect(0, 0, 14 * (title.length + 1), 48);
    write(sheet, title, 14, 34, "left");
  }
  if (cursor) {
    context.globalAlpha = 1;
    context.strokeStyle = colour("beta");
    context.lineWidth = 2;
    cross(sheet, cursor, 8);
  }
}

function write(
  { context, ink, font }: Sheet,
  text: string,
  x: number,
  y: number,
  align: CanvasTextAlign,
): void {
  context.globalAlpha = 1;
  context.fillStyle = ink;
  context.font = `24px ${font}`;
  context.textAlign = align;
  context.fillText(text, x, y);
}

function dots(
  { context, pixel, colour }: Sheet,
  values: Float32Array,
  look: { size: number; alpha: number; colour: string },
): void {
  const half = look.size / 2;
  context.globalAlpha = look.alpha;
  context.fillStyle = colour(look.colour);
  for (let k = 0; k < values.length; k += 2) {
    context.fillRect(pixel(values[k]!) - half, pixel(-values[k + 1]!) - half, look.size, look.size);
  }
}

/** Las partículas, sus estelas y lo que se estima que serán. */
function particles(
  sheet: Sheet,
  { states, guesses }: Travelled,
  { position, trails, guesses: shown }: Scene,
): void {
  if (trails) {
    const first = Math.max(0, Math.floor(position) - TRAIL);
    for (let k = first; k < position; k++) {
      dots(sheet, states[k]!, { size: 2, alpha: (0.12 * (k - first + 1)) / TRAIL, colour: "xt" });
    }
  }
  dots(sheet, between(states, position), { size: 3, alpha: 0.7, colour: "xt" });
  const guess = guesses[Math.min(Math.floor(position), guesses.length - 1)];
  if (shown && guess) dots(sheet, guess, { size: 4, alpha: 0.6, colour: "eps" });
}

/** La dirección del score en una rejilla: hacia dónde crece la probabilidad desde cada sitio. */
function arrows(
  { context, pixel, colour }: Sheet,
  { guide, t }: NonNullable<Scene["field"]>,
): void {
  const index = Math.max(0, t - 1);
  const grid = new Float32Array(2 * FIELD * FIELD);
  for (let k = 0; k < FIELD * FIELD; k++) {
    grid[2 * k] = EDGE * ((2 * (k % FIELD) + 1) / FIELD - 1);
    grid[2 * k + 1] = EDGE * ((2 * Math.floor(k / FIELD) + 1) / FIELD - 1);
  }
  // Las dos redes contestan en el acto.
  const noise = modelOf(PROCESS, guide)(grid, index) as Values;
  const std = Math.sqrt(1 - PROCESS.schedule.alphasCumprod[index]!);
  const longest = (0.6 * EDGE * 2) / FIELD;
  context.strokeStyle = colour("mu");
  context.globalAlpha = 0.7;
  context.lineWidth = 1.5;
  context.beginPath();
  for (let k = 0; k < grid.length; k += 2) {
    const [x, y] = [grid[k]!, grid[k + 1]!];
    const [dx, dy] = [-std * noise[k]!, -std * noise[k + 1]!];
    // Solo la dirección: el score crece mucho al bajar t, y su tamaño no cabría.
    const scale = longest / (Math.hypot(dx, dy) || 1);
    const [tx, ty] = [pixel(x + dx * scale), pixel(-(y + dy * scale))];
    context.moveTo(pixel(x), pixel(-y));
    context.lineTo(tx, ty);
    const angle = Math.atan2(-dy, dx);
    for (const turn of [2.6, -2.6]) {
      context.moveTo(tx, ty);
      context.lineTo(tx + 5 * Math.cos(angle + turn), ty + 5 * Math.sin(angle + turn));
    }
  }
  context.stroke();
}

/** La partícula que alguien ha soltado y por dónde ha pasado. */
function follow({ context, pixel, colour }: Sheet, { states }: Travelled, position: number): void {
  context.globalAlpha = 1;
  context.strokeStyle = context.fillStyle = colour("beta");
  context.lineWidth = 2;
  context.beginPath();
  for (let k = 0; k <= Math.min(Math.floor(position), states.length - 1); k++) {
    context.lineTo(pixel(states[k]![0]!), pixel(-states[k]![1]!));
  }
  const now = between(states, position);
  const [x, y] = [pixel(now[0]!), pixel(-now[1]!)];
  context.lineTo(x, y);
  context.stroke();
  context.beginPath();
  context.arc(x, y, 6, 0, 2 * Math.PI);
  context.fill();
}

/** El estado entre dos pasos, en línea recta, para que el movimiento sea suave. */
function between(states: readonly Float32Array[], position: number): Float32Array {
  const at = (k: number) => states[Math.max(0, Math.min(k, states.length - 1))]!;
  const [before, after] = [at(Math.floor(position)), at(Math.ceil(position))];
  const part = position - Math.floor(position);
  return part === 0 ? before : before.map((x, k) => x + part * (after[k]! - x));
}
