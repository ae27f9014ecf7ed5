"""Ficheros: escribir sin dejar nada a medias, y pasar de tensores a imágenes y al revés."""
