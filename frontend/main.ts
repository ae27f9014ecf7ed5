/**
 * Los widgets de las páginas: cada uno se trae cuando se acerca a la pantalla.
 *
 * Un autor escribe `@[ widget("forward", …) ]@` y en la página queda un `<dl-widget>` con su figura
 * dentro. Aquí se sustituye la figura por el widget de `widgets/forward.ts`; si algo falla, la
 * figura se queda y se dice qué ha pasado. Los ejercicios, que ya se leen sin esto, son un
 * `<dl-ejercicios>`.
 */

import { reasonOf } from "./problems";

/** A cuánta distancia de la pantalla se empieza a traer. */
const AHEAD = "600px";

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      void (target as Place).load();
    }
  },
  { rootMargin: AHEAD },
);

/** Un sitio de una página que espera a estar cerca de la pantalla: dentro está lo que se ve sin él. */
abstract class Place extends HTMLElement {
  connectedCallback(): void {
    if (this.dataset.state === undefined) near.observe(this);
  }

  disconnectedCallback(): void {
    near.unobserve(this);
  }

  abstract load(): Promise<void>;
}

/** El sitio de un widget. */
class WidgetPlace extends Place {
  /** Trae el módulo y los datos del widget, y lo pone delante de su figura. */
  async load(): Promise<void> {
    const name = this.getAttribute("name") ?? "";
    this.dataset.state = "loading";
    try {
      await import(`./widgets/${name}.ts`);
      const widget = document.createElement(`dl-${name}`);
      for (const attribute of ["data", "label"]) {
        const value = this.getAttribute(attribute);
        if (value !== null) widget.setAttribute(attribute, value);
      }
      this.prepend(widget);
      this.dataset.state = "ready";
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    this.dataset.state = "failed";
    const note = document.createElement("p");
    note.className = "dl-widget__aviso";
    note.setAttribute("role", "status");
    note.textContent = `Aquí va un widget que no se ha podido cargar (${reasonOf(error)}). Queda su figura; recargad la página para volver a intentarlo.`;
    this.append(note);
  }
}

/** Los ejercicios de un capítulo. */
class ExercisesPlace extends Place {
  /** Trae lo que hace que se puedan contestar; si no llega, se quedan como están. */
  async load(): Promise<void> {
    this.dataset.state = "loading";
    try {
      const { enliven } = await import("./exercises");
      enliven(this);
      this.dataset.state = "ready";
    } catch {
      this.dataset.state = "failed";
    }
  }
}

customElements.define("dl-widget", WidgetPlace);
customElements.define("dl-ejercicios", ExercisesPlace);
