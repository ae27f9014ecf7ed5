"""Mutantes: ¿se daría cuenta de un error el test de cada ecuación?

Un mutante es una función del libro con un solo cambio pequeño: un signo, un índice, un
factor, un exponente, la tabla de al lado (`operators`). De cada ecuación comprobada se sabe
qué líneas la implementan (`implementations.toml`), y sus tests, los que llevan su etiqueta,
han de fallar, ellos solos, con todos los mutantes de esas líneas. Los que no cambian nada
están apuntados con su porqué en `equivalents.toml`.

Los tests se recogen una sola vez y cada mutante se prueba en un proceso hijo (`run`), que
nace con todo ya importado: por eso se prueban varios por segundo. Se lanza con
`python -m scripts.mutants`.
"""
