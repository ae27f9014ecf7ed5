"""Todo lo que convierte `docs/` en la web: funciones sencillas y un fichero fino de ganchos.

MkDocs solo conoce `hooks.py`; el resto de módulos se puede importar y probar sin él.
"""
