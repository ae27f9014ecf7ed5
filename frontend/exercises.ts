/**
 * Los ejercicios de un capítulo: lo que la página trae para leer, aquí se puede contestar.
 *
 * Las opciones pasan a ser botones y las cuentas, un campo. Lo que se dice de cada respuesta es lo
 * que la página lleva plegado; la solución se ofrece después de intentarlo o de ver la pista. Lo
 * contestado se recuerda en este navegador, si deja.
 */

import { html, nothing, render } from "lit";
import { type Answers, keptAnswers, parseNumber } from "./answers";

/** Lo que se dice de una respuesta. */
interface Verdict {
  right: boolean;
  reason: string | readonly Node[];
}

/** Una manera de contestar. */
interface Way {
  /** Lo que se dice de una respuesta. */
  judge(answer: string): Verdict;
  /** Enseña la última respuesta en los mandos. */
  show(answer: string | undefined, verdict: Verdict | undefined): void;
}

/** Da vida a los ejercicios de una página; los de código se comprueban fuera de ella. */
export function enliven(root: HTMLElement): void {
  const kept = keptAnswers();
  const score = document.createElement("p");
  score.className = "dl-ejercicios__marcador";
  const places = root.querySelectorAll<HTMLElement>('.dl-ejercicio:not([data-clase="codigo"])');
  const exercises = [...places].map((place) => new Exercise(place, kept, tell));
  const besides = root.querySelector('[data-clase="codigo"]') ? ", sin contar los de código" : "";

  function restart(): void {
    for (const exercise of exercises) exercise.forget();
    tell();
  }

  function tell(): void {
    const right = exercises.filter((exercise) => exercise.right).length;
    const button = html`<button type="button" class="dl-ejercicio__boton" @click=${restart}>
      Empezar de nuevo
    </button>`;
    render(
      html`<span>Acertados: ${right} de ${exercises.length}${besides}</span>
        ${exercises.some((exercise) => exercise.right !== undefined) ? button : nothing}`,
      score,
    );
  }

  if (exercises.length === 0) return;
  root.prepend(score);
  tell();
}

/** Un ejercicio: sus mandos, lo que se dice de la última respuesta y cuándo se ofrece la solución. */
class Exercise {
  /** Si lo último que se contestó estaba bien; nada, si no se ha contestado. */
  right: boolean | undefined;

  private readonly key: string;
  private readonly way: Way;
  private readonly verdict = document.createElement("p");
  private readonly hint: HTMLDetailsElement;
  private readonly solution: HTMLDetailsElement;

  constructor(
    private readonly place: HTMLElement,
    private readonly kept: Answers,
    changed: () => void,
  ) {
    this.key = place.dataset.clave!;
    this.hint = place.querySelector(".dl-ejercicio__pista")!;
    this.solution = place.querySelector(".dl-ejercicio__solucion")!;
    this.verdict.className = "dl-ejercicio__veredicto";
    this.verdict.setAttribute("role", "status");
    this.hint.before(this.verdict);
    this.hint.addEventListener("toggle", () => this.offer());
    const answer = (given: string) => {
      kept.set(this.key, given);
      this.refresh();
      changed();
    };
    const ways = { pregunta: question, cuenta: calculation };
    this.way = ways[place.dataset.clase as keyof typeof ways](place, answer);
    this.refresh();
  }

  forget(): void {
    this.kept.forget(this.key);
    this.hint.open = false;
    this.solution.open = false;
    this.refresh();
  }

  private refresh(): void {
    const given = this.kept.get(this.key);
    const verdict = given === undefined ? undefined : this.way.judge(given);
    this.right = verdict?.right;
    this.way.show(given, verdict);
    if (verdict) this.place.dataset.resultado = verdict.right ? "bien" : "mal";
    else delete this.place.dataset.resultado;
    const lead = verdict?.right ? "Eso es." : "No es eso.";
    render(verdict ? html`<b>${lead}</b> ${verdict.reason}` : nothing, this.verdict);
    this.offer();
  }

  private offer(): void {
    this.solution.hidden = this.right === undefined && !this.hint.open && !this.solution.open;
  }
}

/** Una copia de lo que la página lleva en un sitio, sin lo que esté en negrita delante. */
function contents(element: Element): Node[] {
  const copy = element.cloneNode(true) as Element;
  if (copy.firstElementChild?.tagName === "B") copy.firstElementChild.remove();
  return [...copy.childNodes];
}

/** Unas opciones, que se contestan pulsando una. */
function question(place: HTMLElement, answer: (given: string) => void): Way {
  const reasons = [...place.querySelectorAll(".dl-ejercicio__solucion li")];
  const options = [...place.querySelectorAll(".dl-ejercicio__opciones li")];
  const buttons = options.map((option, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "dl-ejercicio__opcion";
    button.append(...option.childNodes);
    button.addEventListener("click", () => answer(String(index)));
    option.append(button);
    return button;
  });
  return {
    judge(given) {
      const reason = reasons[Number(given)]!;
      return { right: reason.hasAttribute("data-bien"), reason: contents(reason) };
    },
    show(given) {
      buttons.forEach((button, index) => {
        button.setAttribute("aria-pressed", String(String(index) === given));
      });
    },
  };
}

/** Un número, que se escribe. */
function calculation(place: HTMLElement, answer: (given: string) => void): Way {
  const asked = place.querySelector<HTMLElement>(".dl-ejercicio__respuesta")!;
  const slips = [...place.querySelectorAll<HTMLElement>(".dl-ejercicio__solucion [data-valor]")];
  const solution = place.querySelector(".dl-ejercicio__solucion p")!;
  const tolerance = Number(asked.dataset.tolerancia) * (1 + 1e-9);
  const close = (value: number, { dataset }: HTMLElement) =>
    Math.abs(value - Number(dataset.valor)) <= tolerance;
  asked.id = `${place.id}-respuesta`;

  const form = document.createElement("form");
  form.className = "dl-ejercicio__cuenta";
  render(
    html`<label>
        Vuestra respuesta:
        <input
          type="text"
          inputmode="decimal"
          autocomplete="off"
          spellcheck="false"
          aria-describedby=${asked.id}
        />
      </label>
      <button type="submit" class="dl-ejercicio__boton">Comprobar</button>`,
    form,
  );
  const input = form.querySelector("input")!;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(input.value);
  });
  asked.after(form);
  return {
    judge(given) {
      const value = parseNumber(given);
      if (value === undefined) {
        return { right: false, reason: "Hace falta un número, como 0,25 o 0.25." };
      }
      if (close(value, asked)) return { right: true, reason: contents(solution) };
      const slip = slips.find((item) => close(value, item));
      const general = "Repasad la cuenta, o abrid la pista.";
      return { right: false, reason: slip ? contents(slip) : general };
    },
    show(given, verdict) {
      input.value = given ?? "";
      input.setAttribute("aria-invalid", String(verdict?.right === false));
    },
  };
}
