r"""El libro mayor: lo que se prueba de cada ecuación es su TeX, el que se lee en la página.

`reading` analiza la fórmula con una gramática de la notación del libro; `notation` es el
diccionario que dice qué número es cada símbolo, y `rows`, capítulo a capítulo, lo que solo vale en
una página o en una ecuación; `world` saca números al azar que cumplen las hipótesis; `scope`,
`arithmetic`, `expectations` y `calculus` calculan los lados, y `check` los compara. Una
*comprobada* se compara con el paquete: alguno de sus símbolos es lo que da una función suya. Una
*derivada* ha de tener los lados iguales. La que no se puede ejecutar es *leída*, y su fila dice por
qué.

`mutants` pone erratas en el TeX (un signo, un índice, una barra, un cuadrado, una raíz, una
fracción del revés): la ecuación se tiene que poner roja. Todo se lanza con
`python -m scripts.ledger --mutants`.
"""
