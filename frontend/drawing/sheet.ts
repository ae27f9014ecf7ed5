/** Un lienzo cuadrado que enseña el plano de -edge a edge, con los colores de la página. */

export interface Sheet {
  context: CanvasRenderingContext2D;
  side: number;
  /** Un color de la página, por su nombre. */
  colour: (name: string) => string;
  /** El color y la letra del texto. */
  ink: string;
  font: string;
  /** De una coordenada del plano a un píxel. */
  pixel: (value: number) => number;
}

/** Un lienzo listo para dibujar, y limpio; nada, si no está o no se puede. */
export function sheetOf(canvas: HTMLCanvasElement | null, edge: number): Sheet | null {
  const context = canvas?.getContext("2d");
  if (!canvas || !context) return null;
  const style = getComputedStyle(canvas);
  const side = canvas.width;
  context.clearRect(0, 0, side, side);
  context.globalAlpha = 1;
  return {
    context,
    side,
    colour: (name) => style.getPropertyValue(`--dl-${name}`).trim(),
    ink: style.color,
    font: style.fontFamily,
    pixel: (value) => ((value / edge + 1) / 2) * side,
  };
}

/** Una cruz en un sitio del lienzo. */
export function cross(
  { context, pixel }: Sheet,
  [x, y]: readonly [number, number],
  arm: number,
): void {
  const [across, down] = [pixel(x), pixel(-y)];
  context.beginPath();
  context.moveTo(across - arm, down);
  context.lineTo(across + arm, down);
  context.moveTo(across, down - arm);
  context.lineTo(across, down + arm);
  context.stroke();
}
