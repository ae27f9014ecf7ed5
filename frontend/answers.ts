/** Lo que se contesta a los ejercicios: cómo se lee un número y dónde se recuerda. */

const STORE = "ddpm-lit:ejercicios";

/** El número que hay en un texto, con coma o con punto; nada, si no es un número. */
export function parseNumber(text: string): number | undefined {
  const plain = text.replace(/\s/g, "").replace("−", "-").replace(",", ".");
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : undefined;
}

/** Lo contestado, por la clave de cada ejercicio. */
export interface Answers {
  get(key: string): string | undefined;
  set(key: string, answer: string): void;
  forget(key: string): void;
}

/** Lo contestado en este navegador. Si no deja guardar nada, dura lo que la página. */
export function keptAnswers(): Answers {
  const known = read();
  const write = () => {
    try {
      localStorage.setItem(STORE, JSON.stringify(known));
    } catch {
      // Sin sitio o sin permiso: se olvidará al salir.
    }
  };
  return {
    get: (key) => known[key],
    set: (key, answer) => {
      known[key] = answer;
      write();
    },
    forget: (key) => {
      delete known[key];
      write();
    },
  };
}

function read(): Record<string, string> {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(STORE) ?? "{}");
    if (found && typeof found === "object" && !Array.isArray(found)) {
      return Object.fromEntries(
        Object.entries(found).filter((entry) => typeof entry[1] === "string"),
      ) as Record<string, string>;
    }
  } catch {
    // Lo guardado no se entiende, o no se deja leer: se empieza de nuevo.
  }
  return {};
}
