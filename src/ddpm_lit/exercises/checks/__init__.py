"""Lo que se le exige a la función de cada ejercicio, un módulo por capítulo."""
