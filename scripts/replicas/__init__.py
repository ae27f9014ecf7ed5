"""Réplicas: ¿se cumple, con dígitos de 8×8, lo que dicen los artículos?

Cada unidad (`units`) entrena y mide lo suyo en menos de ocho minutos, y deja un JSON en
`replicas/`. Las reglas con que se juzga cada afirmación (`claims`) solo leen esos ficheros, igual
que las tablas (`tables`) y la página: construir el sitio no ejecuta ninguna unidad. Un resultado
vale mientras esté su fichero: la huella del código que lleva dentro dice con qué se hizo, y no
decide nada.

Se lanzan con `make replicas`, que hace solo las que faltan y continúa donde se cortó.
"""
