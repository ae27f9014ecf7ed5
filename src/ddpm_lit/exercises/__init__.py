"""Los ejercicios de código del libro: el lector completa una función y aquí se comprueba.

Cada ejercicio tiene un fichero de partida, en `starts/`, que se copia donde trabaja el lector,
y una función de `checks/` que pone su función a prueba: la compara con una forma cerrada o con
el paquete y, si no da lo mismo, dice qué ha salido, qué debía salir y, si el error es de los
conocidos, una pista. Nunca la solución, que la página del capítulo enseña plegada.
"""
