"""La búsqueda en español: con y sin tildes, con ñ y con las fórmulas legibles."""

import json
import re
from pathlib import Path

from .plaintext import plain_math

# Se antepone al guion de búsqueda de Material: añade al índice de lunr un paso que quita las tildes
# de cada palabra, y las quita también de lo que se busca. Los textos que se enseñan no se tocan.
WORKER_PRELUDE = """\
(function (ambito) {
  function plegar(texto) {
    return texto.normalize("NFD").replace(/([nN])\\u0303/g, "$1\\u0001")
      .replace(/[\\u0300-\\u036f]/g, "").replace(/\\u0001/g, "\\u0303").normalize("NFC");
  }
  var real;
  Object.defineProperty(ambito, "lunr", {
    configurable: true,
    get: function () { return real; },
    set: function (lunr) {
      real = lunr;
      var paso = function (token) { return token.update(plegar); };
      lunr.Pipeline.registerFunction(paso, "plegar");
      var anadir = lunr.Builder.prototype.add;
      lunr.Builder.prototype.add = function () {
        if (!this.plegado) {
          this.plegado = true;
          this.pipeline.add(paso);
          this.searchPipeline.add(paso);
        }
        return anadir.apply(this, arguments);
      };
    },
  });
  ambito.addEventListener("message", function (suceso) {
    var mensaje = suceso.data;
    if (mensaje && mensaje.type === 2 && typeof mensaje.data === "string") {
      mensaje.data = plegar(mensaje.data);
    }
  });
})(typeof self !== "undefined" ? self : this);
"""


def clean_index(path: Path, references: dict[str, str]) -> None:
    r"""Reescribe el índice de búsqueda: fórmulas en texto y `\eqref{…}` como «(3.2)»."""
    index = json.loads(path.read_text(encoding="utf-8"))

    def readable(text: str) -> str:
        text = plain_math(text, escaped=True)
        text = re.sub(r"\\eqref\{([^{}]*)\}", lambda m: references.get(m[1], ""), text)
        text = re.sub(r"\\figref\{[^{}]*\}", "la figura", text)
        return text.replace("¶", "")

    for entry in index["docs"]:
        entry["title"] = readable(entry["title"])
        entry["text"] = readable(entry["text"])
    path.write_text(json.dumps(index, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
