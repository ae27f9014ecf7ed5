// Comportamiento de las páginas. Sin esto todo se lee igual: solo añade movimiento y comodidad.
(function () {
  "use strict";

  // Vídeos externos: nada se carga hasta que se pulsa.
  document.addEventListener("click", function (suceso) {
    var boton = suceso.target.closest && suceso.target.closest(".dl-externo__boton");
    if (!boton) return;
    var caja = boton.closest(".dl-externo");
    var marco = document.createElement("iframe");
    marco.src = "https://www.youtube-nocookie.com/embed/" + encodeURIComponent(caja.dataset.youtube) + "?autoplay=1";
    marco.title = caja.dataset.titulo;
    marco.allow = "autoplay; encrypted-media; picture-in-picture; fullscreen";
    marco.allowFullscreen = true;
    marco.referrerPolicy = "strict-origin-when-cross-origin";
    boton.replaceWith(marco);
    marco.focus();
  });

  var quieto = window.matchMedia("(prefers-reduced-motion: reduce)");

  // Animaciones: sin sonido, solo mientras se ven y solo si no se ha pedido menos movimiento.
  var vigia = "IntersectionObserver" in window && new IntersectionObserver(function (entradas) {
    entradas.forEach(function (entrada) {
      var video = entrada.target;
      if (entrada.isIntersecting && !quieto.matches) {
        if (!video.dataset.parado) {
          var marcha = video.play();
          if (marcha) marcha.catch(function () {});
        }
      } else if (!video.paused) {
        video.dataset.automatico = "1";
        video.pause();
      }
    });
  }, { threshold: 0.4 });

  // Un botón debajo, donde los mandos del navegador taparían lo que se lee en la animación.
  function ponerBoton(figura) {
    var videos = Array.prototype.slice.call(figura.querySelectorAll("video[data-boton]"));
    var boton = document.createElement("button");
    function visible() {
      return videos.find(function (video) { return video.getClientRects().length; }) || videos[0];
    }
    function rotular() {
      boton.textContent = visible().paused ? "▶ Reproducir" : "❚❚ Pausar";
      boton.setAttribute("aria-label", (visible().paused ? "Reproducir" : "Pausar") + " la animación");
    }
    boton.type = "button";
    boton.className = "dl-pausa";
    boton.addEventListener("click", function () {
      var video = visible();
      if (video.paused) video.play();
      else video.pause();
    });
    videos.forEach(function (video) {
      video.removeAttribute("controls");
      video.addEventListener("play", rotular);
      video.addEventListener("pause", rotular);
    });
    videos[videos.length - 1].insertAdjacentElement("afterend", boton);
    rotular();
  }

  function preparar() {
    document.querySelectorAll(".dl-figura:has(video[data-boton]):not(:has(.dl-pausa))").forEach(ponerBoton);
    document.querySelectorAll("video[data-animacion]").forEach(function (video) {
      video.muted = true;
      video.addEventListener("pause", function () {
        if (video.dataset.automatico) delete video.dataset.automatico;
        else video.dataset.parado = "1";
      });
      video.addEventListener("play", function () { delete video.dataset.parado; });
      if (vigia) vigia.observe(video);
    });
    // Lo que se desplaza a lo ancho se alcanza también con el teclado.
    document.querySelectorAll(".dl-eq__cuerpo, .dl-salida, .md-typeset__scrollwrap").forEach(function (caja) {
      if (caja.scrollWidth > caja.clientWidth + 1) caja.tabIndex = 0;
    });
    // Un módulo no se carga desde el disco: se dice lo que hace falta, y queda la figura.
    if (location.protocol === "file:") document.querySelectorAll("dl-widget:not([data-state])").forEach(function (sitio) {
      var nota = document.createElement("p");
      nota.className = "dl-widget__aviso";
      nota.textContent = "Esta figura se puede tocar cuando la página viene de un servidor: abrid una consola en la carpeta y ejecutad python -m http.server.";
      sitio.dataset.state = "disk";
      sitio.append(nota);
    });
    var dialogo = document.querySelector(".md-search[role=dialog]");
    if (dialogo && !dialogo.hasAttribute("aria-label")) dialogo.setAttribute("aria-label", "Búsqueda");
  }

  // El tema pone los botones de copiar en un menú sin nombre, cuando ya se ve el código.
  new MutationObserver(function () {
    document.querySelectorAll("nav.md-code__nav:not([role])").forEach(function (menu) {
      menu.setAttribute("role", "none");
    });
  }).observe(document.documentElement, { childList: true, subtree: true });

  // Desde el disco, el tema no avisa de que la página está lista.
  if (window.document$ && location.protocol !== "file:") window.document$.subscribe(preparar);
  else document.addEventListener("DOMContentLoaded", preparar);
})();
