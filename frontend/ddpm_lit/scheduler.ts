/**
 * Scheduler: cuánto ruido se añade en cada paso. El gemelo de `ddpm_lit.scheduler`.
 *
 * El índice 0 es el t = 1 del artículo. Las tablas son de 64 bits.
 */

// --- Las tablas de betas --------------------------------------------------------------------------

const LONGEST = 1_000_000;

function checkTimesteps(timesteps: number): void {
  if (!Number.isInteger(timesteps) || timesteps < 1 || timesteps > LONGEST) {
    throw new RangeError(`T debe ser un entero entre 1 y ${LONGEST} y ha llegado ${timesteps}.`);
  }
}

function rescaling(name: string, timesteps: number, largestBeta: number): number {
  checkTimesteps(timesteps);
  const scale = 1000 / timesteps;
  if (scale * largestBeta >= 1) {
    const least = Math.floor(1000 * largestBeta) + 1;
    throw new RangeError(
      `El schedule ${name} reescalado no existe para T = ${timesteps}: usad T ≥ ${least}.`,
    );
  }
  return scale;
}

function linspace(first: number, last: number, count: number): Float64Array {
  const step = count > 1 ? (last - first) / (count - 1) : 0;
  return Float64Array.from({ length: count }, (_, k) => first + k * step);
}

/** De ᾱ(t/T), con t de 0 a T, a las betas, recortadas. */
function betasOf(curve: (u: number) => number, timesteps: number, maxBeta: number): Float64Array {
  checkTimesteps(timesteps);
  return Float64Array.from({ length: timesteps }, (_, k) =>
    Math.min(1 - curve((k + 1) / timesteps) / curve(k / timesteps), maxBeta),
  );
}

/** Lineal, de Ho et al. (2020), reescalado si T ≠ 1000. */
export function linearBetas(
  timesteps = 1000,
  { betaStart = 1e-4, betaEnd = 0.02 } = {},
): Float64Array {
  const scale = rescaling("lineal", timesteps, Math.max(betaStart, betaEnd));
  return linspace(scale * betaStart, scale * betaEnd, timesteps);
}

/** Lineal en √β, el de los modelos de difusión latente. */
export function scaledLinearBetas(
  timesteps = 1000,
  { betaStart = 0.00085, betaEnd = 0.012 } = {},
): Float64Array {
  checkTimesteps(timesteps);
  return linspace(Math.sqrt(betaStart), Math.sqrt(betaEnd), timesteps).map((root) => root ** 2);
}

/** Cuadrático, el que Ho et al. (2020) compararon con el lineal. */
export function quadraticBetas(
  timesteps = 1000,
  { betaStart = 1e-4, betaEnd = 0.02 } = {},
): Float64Array {
  const scale = rescaling("cuadrático", timesteps, Math.max(betaStart, betaEnd));
  return scaledLinearBetas(timesteps, { betaStart: scale * betaStart, betaEnd: scale * betaEnd });
}

/** Constante. */
export function constantBetas(timesteps = 1000, { beta = 0.01 } = {}): Float64Array {
  const scale = rescaling("constante", timesteps, beta);
  return new Float64Array(timesteps).fill(scale * beta);
}

/** Coseno, de Nichol y Dhariwal (2021, ec. 17). */
export function cosineBetas(timesteps = 1000, { s = 0.008, maxBeta = 0.999 } = {}): Float64Array {
  const curve = (u: number) => Math.cos((((u + s) / (1 + s)) * Math.PI) / 2) ** 2;
  return betasOf(curve, timesteps, maxBeta);
}

/** Sigmoide, de Jabri et al. (2022). */
export function sigmoidBetas(
  timesteps = 1000,
  { start = -3, end = 3, tau = 1, maxBeta = 0.999 } = {},
): Float64Array {
  if (end <= start || tau <= 0) {
    throw new RangeError(
      `El schedule sigmoide necesita start < end y tau > 0; han llegado ${start}, ${end} y ${tau}.`,
    );
  }
  const sigmoid = (u: number) => 1 / (1 + Math.exp(-(start + (end - start) * u) / tau));
  const curve = (u: number) => (sigmoid(1) - sigmoid(u)) / (sigmoid(1) - sigmoid(0));
  return betasOf(curve, timesteps, maxBeta);
}

export type BetaOptions = Readonly<Record<string, number>>;

/** Los schedules que tienen nombre: el nombre y la función que calcula sus betas. */
export const BETAS: Readonly<
  Record<string, (timesteps: number, options?: BetaOptions) => Float64Array>
> = {
  linear: linearBetas,
  scaled_linear: scaledLinearBetas,
  quadratic: quadraticBetas,
  constant: constantBetas,
  cosine: cosineBetas,
  sigmoid: sigmoidBetas,
};

// --- El schedule y lo que se deduce de él ---------------------------------------------------------

/** Las betas de un proceso y todas las tablas que se deducen de ellas, (T,). */
export class Schedule {
  readonly alphas: Float64Array;
  readonly alphasCumprod: Float64Array;
  /** ᾱ_{t-1}, con ᾱ_0 = 1 en el índice 0. */
  readonly alphasCumprodPrev: Float64Array;
  /** β̃_t (Ho et al., ec. 7). */
  readonly posteriorVariance: Float64Array;
  /** log β̃_t, con log β̃_2 en el índice 0. */
  readonly posteriorLogVarianceClipped: Float64Array;
  /** Lo que x_0 pesa en μ̃_t. */
  readonly posteriorMeanCoef1: Float64Array;
  /** Lo que x_t pesa en μ̃_t. */
  readonly posteriorMeanCoef2: Float64Array;

  /**
   * @param betas las varianzas β_t, en (0, 1]; solo la última puede valer 1.
   * @param timesteps el índice original, el que ve la red en cada paso.
   */
  constructor(
    readonly betas: Float64Array,
    readonly timesteps: Int32Array = Int32Array.from(betas, (_, k) => k),
  ) {
    const last = betas.length - 1;
    if (last < 0 || betas.some((beta, k) => !(beta > 0 && beta <= 1) || (beta === 1 && k < last))) {
      throw new RangeError(
        "Cada beta es una varianza y debe cumplir 0 < β < 1; solo la última puede ser 1.",
      );
    }
    this.alphas = betas.map((beta) => 1 - beta);
    let product = 1;
    this.alphasCumprod = this.alphas.map((alpha) => (product *= alpha));
    this.alphasCumprodPrev = betas.map((_, k) => (k > 0 ? this.alphasCumprod[k - 1]! : 1));
    const table = (value: (beta: number, bar: number, before: number) => number) =>
      betas.map((beta, k) => value(beta, this.alphasCumprod[k]!, this.alphasCumprodPrev[k]!));
    this.posteriorVariance = table((beta, bar, before) => ((1 - before) / (1 - bar)) * beta);
    this.posteriorLogVarianceClipped = this.posteriorVariance.map((variance, k) =>
      Math.log(last === 0 ? betas[0]! : k > 0 ? variance : this.posteriorVariance[1]!),
    );
    this.posteriorMeanCoef1 = table((beta, bar, before) => (Math.sqrt(before) * beta) / (1 - bar));
    this.posteriorMeanCoef2 = table(
      (beta, bar, before) => (Math.sqrt(1 - beta) * (1 - before)) / (1 - bar),
    );
  }

  /** Un schedule a partir de ᾱ_1, …, ᾱ_T, estrictamente decreciente. */
  static fromAlphasCumprod(bars: Float64Array, timesteps?: Int32Array): Schedule {
    const betas = bars.map((bar, k) => 1 - bar / (k > 0 ? bars[k - 1]! : 1));
    return new Schedule(betas, timesteps);
  }

  get length(): number {
    return this.betas.length;
  }

  /** Si en el último paso no queda señal. */
  get zeroTerminalSnr(): boolean {
    return this.betas[this.length - 1] === 1;
  }

  /** SNR_t = ᾱ_t / (1 - ᾱ_t). */
  snr(index: number): number {
    const bar = this.alphasCumprod[index]!;
    return bar / (1 - bar);
  }
}

/** Crea un schedule por su nombre; con `zeroTerminalSnr` se reescala después. */
export function makeSchedule(
  name = "linear",
  timesteps = 1000,
  { zeroTerminalSnr = false, ...options }: BetaOptions & { zeroTerminalSnr?: boolean } = {},
): Schedule {
  const betas = BETAS[name];
  if (!betas)
    throw new RangeError(
      `No hay ningún schedule «${name}». Hay: ${Object.keys(BETAS).join(", ")}.`,
    );
  const schedule = new Schedule(betas(timesteps, options as BetaOptions));
  return zeroTerminalSnr ? rescaleZeroTerminalSnr(schedule) : schedule;
}

/** Reescala un schedule para que no quede señal al final (Lin et al. 2023, algoritmo 1). */
export function rescaleZeroTerminalSnr(schedule: Schedule): Schedule {
  if (schedule.length === 1)
    throw new RangeError("Un schedule de un solo paso no se puede reescalar. Usad T ≥ 2.");
  const roots = schedule.alphasCumprod.map(Math.sqrt);
  const [first, last] = [roots[0]!, roots[roots.length - 1]!];
  const rescaled = roots.map((root) => (((root - last) * first) / (first - last)) ** 2);
  return Schedule.fromAlphasCumprod(rescaled, schedule.timesteps);
}

// --- Recorrer menos pasos -------------------------------------------------------------------------

export const SPACINGS = ["linspace", "leading", "trailing", "quadratic"] as const;
export type Spacing = (typeof SPACINGS)[number];

/** Como `round` de Python y de PyTorch: los medios, al par. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Elige `steps` índices de un proceso de `timesteps` pasos. */
export function spacedIndices(
  timesteps: number,
  steps: number,
  spacing: Spacing = "linspace",
): number[] {
  if (!(Number.isInteger(steps) && steps >= 1 && steps <= timesteps)) {
    throw new RangeError(
      `Se han pedido ${steps} pasos de un proceso que tiene ${timesteps}: pedid entre 1 y ${timesteps}.`,
    );
  }
  const ks = Array.from({ length: steps }, (_, k) => k);
  const last = timesteps - 1;
  if (spacing === "leading") return ks.map((k) => k * Math.floor(timesteps / steps));
  if (spacing === "trailing") {
    return ks.map((k) => roundHalfEven(timesteps - k * (timesteps / steps)) - 1).reverse();
  }
  if (steps === 1) return [last];
  if (spacing === "quadratic") {
    return ks.map((k) => Math.max(Math.floor((last * k ** 2) / (steps - 1) ** 2), k));
  }
  return ks.map((k) => roundHalfEven(k * (last / (steps - 1))));
}

/** Un schedule más corto que pasa por una subsucesión y recuerda los índices originales. */
export function respace(schedule: Schedule, indices: readonly number[]): Schedule {
  const bars = Float64Array.from(indices, (index) => schedule.alphasCumprod[index]!);
  return Schedule.fromAlphasCumprod(
    bars,
    Int32Array.from(indices, (index) => schedule.timesteps[index]!),
  );
}
