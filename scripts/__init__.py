"""Lo que construye el sitio: modelos, figuras y páginas. Ninguna matemática vive aquí."""
