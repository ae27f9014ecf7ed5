"""Réplicas: ¿se cumple, con dígitos de 8×8, lo que dicen los artículos?

Cada unidad (`units`) entrena y mide lo suyo en menos de ocho minutos, y deja un JSON en
`replicas/`. Las reglas con que se juzga cada afirmación (`claims`) están escritas antes de
ver ningún resultado y solo leen esos ficheros, igual que las tablas (`tables`) y la página:
construir el sitio no ejecuta ninguna unidad.

Se lanzan con `make replicas`, que hace solo las que faltan y continúa donde se cortó.
"""
