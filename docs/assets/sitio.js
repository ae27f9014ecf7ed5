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

  // Compartir con lo que ofrezca el sistema o, si no ofrece nada, copiar la dirección.
  document.addEventListener("click", function (suceso) {
    var boton = suceso.target.closest && suceso.target.closest("[data-compartir]");
    if (!boton) return;
    if (navigator.share) navigator.share({ title: document.title, url: location.href }).catch(function () {});
    else navigator.clipboard.writeText(location.href).then(function () { boton.textContent = "Dirección copiada"; });
  });

  // Comentarios, donde se hayan configurado: nada se pide hasta que se pulsa.
  document.addEventListener("click", function (suceso) {
    var boton = suceso.target.closest && suceso.target.closest(".dl-comentarios > button");
    if (!boton) return;
    var guion = document.createElement("script");
    var oscuro = document.body.dataset.mdColorScheme === "slate";
    Object.assign(guion.dataset, boton.parentElement.dataset, { mapping: "pathname", lang: "es", theme: oscuro ? "dark" : "light" });
    guion.src = "https://giscus.app/client.js";
    guion.crossOrigin = "anonymous";
    boton.replaceWith(guion);
  });

  // Con el dedo, el primer toque en un término enseña su definición; el segundo va al glosario.
  var tocado = null;
  if (location.protocol !== "file:") document.addEventListener("click", function (suceso) {
    var termino = suceso.target.closest && suceso.target.closest(".dl-termino");
    var repetido = termino === tocado;
    tocado = termino;
    if (!termino || repetido || suceso.pointerType !== "touch") return;
    suceso.preventDefault();
    suceso.stopPropagation();
    termino.focus();
  }, true);

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

  // Lo plegado: un botón lo abre o lo cierra todo, y se recuerda de una página a otra.
  var RECUERDO = "ddpm_lit:abierto";
  function recordado() {
    try { return localStorage.getItem(RECUERDO) === "1"; } catch (error) { return false; }
  }
  function recordar(abierto) {
    try { localStorage.setItem(RECUERDO, abierto ? "1" : "0"); } catch (error) { /* sin memoria */ }
  }
  function ponerPlegado() {
    var cajas = Array.prototype.slice.call(document.querySelectorAll("details.mas"));
    var apertura = document.querySelector(".dl-apertura");
    if (!cajas.length || !apertura || document.querySelector(".dl-plegado")) return;
    var sitio = document.createElement("div");
    var boton = document.createElement("button");
    function mostrar(abierto) {
      cajas.forEach(function (caja) { caja.open = abierto; });
      boton.dataset.abierto = abierto ? "1" : "";
      boton.textContent = (abierto ? "Plegar" : "Abrir") + " todo lo de «Para quien quiera más»";
    }
    sitio.className = "dl-plegado";
    boton.type = "button";
    boton.addEventListener("click", function () {
      var abierto = !boton.dataset.abierto;
      recordar(abierto);
      mostrar(abierto);
    });
    sitio.append(boton);
    apertura.insertAdjacentElement("afterend", sitio);
    mostrar(recordado());
    // Lo que se busca, y a lo que lleva un enlace, se ve aunque esté plegado.
    document.querySelectorAll("details.mas mark").forEach(descubrir);
    // El tema señala lo que se busca cuando le llega el índice, que puede ser después.
    new MutationObserver(function (cambios) {
      cambios.forEach(function (cambio) { cambio.addedNodes.forEach(descubrir); });
    }).observe(apertura.parentElement, { childList: true, subtree: true });
  }
  function descubrir(nodo) {
    var caja = nodo.nodeName === "MARK" && nodo.closest("details.mas");
    if (caja) caja.open = true;
  }
  function destino() {
    return location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  }
  // El tema envuelve cada tabla sacándola de la página un momento, y el navegador olvida entonces
  // adónde se iba: el destino lleva además su clase.
  function destapar() {
    var lugar = destino();
    document.querySelectorAll(".dl-destino").forEach(function (antes) { antes.classList.remove("dl-destino"); });
    if (!lugar) return;
    lugar.classList.add("dl-destino");
    var caja = lugar.closest("details.mas");
    if (!caja || caja.open) return;
    caja.open = true;
    lugar.scrollIntoView();
  }
  window.addEventListener("hashchange", destapar);
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details.mas:not([open])").forEach(function (caja) {
      caja.dataset.impresa = "";
      caja.open = true;
    });
  });
  window.addEventListener("afterprint", function () {
    document.querySelectorAll("details.mas[data-impresa]").forEach(function (caja) {
      delete caja.dataset.impresa;
      caja.open = false;
    });
  });

  // En una pantalla estrecha, el menú se abre y se recorre también con el teclado: solo lo que se ve.
  var estrecha = window.matchMedia("(max-width: 76.234375em)");
  function revisarMenu() {
    var menu = document.querySelector(".md-sidebar--primary");
    var marca = document.getElementById("__drawer");
    if (!menu || !marca) return;
    var abierto = estrecha.matches && marca.checked;
    document.querySelector(".md-header__button[for=__drawer]").setAttribute("aria-expanded", abierto ? "true" : "false");
    menu.inert = estrecha.matches && !abierto;
    // Lo que queda debajo del menú.
    document.querySelectorAll(".md-header__inner > :not([for=__drawer]), .md-content, .md-footer, .md-top").forEach(function (resto) {
      resto.inert = abierto;
    });
    menu.querySelectorAll("[inert]").forEach(function (antes) { antes.inert = false; });
    if (!estrecha.matches) return;
    // Cada sección es un panel que tapa al anterior; los que están sin abrir no se ven.
    menu.querySelectorAll(".md-nav__toggle").forEach(function (seccion) {
      var panel = seccion.parentElement.querySelector(":scope > nav");
      if (panel) panel.inert = !seccion.checked;
    });
    for (var panel = menu.querySelector("nav"); panel; ) {
      var abierta = panel.querySelector(":scope > ul > li > .md-nav__toggle:checked");
      var dentro = abierta && abierta.parentElement.querySelector(":scope > nav");
      if (!dentro) return;
      panel.querySelectorAll(":scope > :not(ul), :scope > ul > li").forEach(function (otro) {
        otro.inert = otro !== abierta.parentElement;
      });
      abierta.parentElement.querySelectorAll(":scope > :not(nav)").forEach(function (otro) { otro.inert = true; });
      panel = dentro;
    }
  }
  // Las etiquetas con que el tema abre y cierra sus paneles son ahí botones, con su nombre.
  function ponerMenu() {
    if (estrecha.matches) {
      document.querySelectorAll("label.md-header__button[for=__drawer], .md-sidebar--primary label[for]:not([for=__drawer])").forEach(function (etiqueta) {
        var boton = document.createElement("button");
        boton.type = "button";
        boton.setAttribute("aria-label", nombreDe(etiqueta));
        // Con los mismos atributos, que son los que mira el estilo del tema.
        Array.prototype.forEach.call(etiqueta.attributes, function (atributo) { boton.setAttribute(atributo.name, atributo.value); });
        boton.append.apply(boton, Array.prototype.slice.call(etiqueta.childNodes));
        etiqueta.replaceWith(boton);
      });
    }
    document.querySelectorAll("button[for]").forEach(function (boton) { boton.tabIndex = estrecha.matches ? 0 : -1; });
    revisarMenu();
  }
  function nombreDe(etiqueta) {
    if (etiqueta.htmlFor === "__drawer") return "Menú";
    var sale = etiqueta.classList.contains("md-nav__title");
    var titulo = sale ? etiqueta : etiqueta.closest("li").querySelector(".md-ellipsis");
    return (sale ? "Salir de " : "Entrar en ") + titulo.textContent.trim();
  }
  document.addEventListener("change", function (suceso) {
    if (suceso.target.matches(".md-toggle")) revisarMenu();
  });
  estrecha.addEventListener("change", ponerMenu);
  document.addEventListener("click", function (suceso) {
    var boton = suceso.target.closest && suceso.target.closest("button[for]");
    if (boton) alternar(document.getElementById(boton.getAttribute("for")), suceso.detail === 0);
  });
  document.addEventListener("keydown", function (suceso) {
    var marca = document.getElementById("__drawer");
    if (suceso.key === "Escape" && estrecha.matches && marca && marca.checked) alternar(marca, true);
  });
  // Con el teclado, el foco va a lo primero que se ve de lo que se abre o, al cerrar, a lo que lo abrió.
  function alternar(marca, teclado) {
    marca.click();
    if (!teclado) return;
    var lugar = marca.id === "__drawer" ? document.querySelector(".md-sidebar--primary") : marca.parentElement.querySelector(":scope > nav");
    var puesto = marca.checked
      ? Array.prototype.find.call(lugar.querySelectorAll("a, button[for]"), visible)
      : document.querySelector("button[for='" + marca.id + "']:not(.md-nav__title)");
    if (puesto) puesto.focus();
  }
  function visible(elemento) {
    return !elemento.closest("[inert]") && elemento.getClientRects().length > 0;
  }

  function preparar() {
    ponerPlegado();
    ponerMenu();
    destapar();
    document.querySelectorAll("[data-compartir]").forEach(function (boton) {
      boton.hidden = !navigator.share && !navigator.clipboard;
    });
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
      nota.textContent = "Esta figura se puede tocar cuando la página viene de un servidor: abrid una terminal en la carpeta principal del libro, ejecutad python -m http.server y entrad en http://localhost:8000.";
      sitio.dataset.state = "disk";
      sitio.append(nota);
    });
    var dialogo = document.querySelector(".md-search[role=dialog]");
    if (dialogo && !dialogo.hasAttribute("aria-label")) dialogo.setAttribute("aria-label", "Búsqueda");
  }

  // El tema pone los botones de copiar en un menú sin nombre, cuando ya se ve el código.
  new MutationObserver(function () {
    document.querySelectorAll(".md-code__nav button[title]:not([aria-label])").forEach(function (boton) {
      boton.setAttribute("aria-label", boton.title);
    });
    document.querySelectorAll("nav.md-code__nav:not([role])").forEach(function (menu) {
      menu.setAttribute("role", "none");
    });
  }).observe(document.documentElement, { childList: true, subtree: true });

  // Desde el disco, el tema no avisa de que la página está lista.
  if (window.document$ && location.protocol !== "file:") window.document$.subscribe(preparar);
  else document.addEventListener("DOMContentLoaded", preparar);
})();
