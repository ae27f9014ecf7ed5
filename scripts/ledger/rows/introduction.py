"""Las páginas que solo presentan: el esquema de la cadena y las réplicas."""

from scripts.ledger.check import Row

ROWS = {
    "componentes-cadena": Row(read="es un esquema de flechas, no una igualdad"),
    "replicas-bits-snr": Row(
        read="es el límite de una suma de muchos pasos, y el test la compara con la integral"
    ),
}
