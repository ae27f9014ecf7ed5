"""`python -m scripts.ledger`: qué ecuaciones del libro corren desde su TeX, y con qué error."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence

from scripts.ledger.ledger import Entry, Outcome, assumed, entries, outcomes


def line(entry: Entry) -> str:
    """Una ecuación: su clase, su estado, su error y con qué se compara, o por qué se lee."""
    equation, result = entry.equation, entry.result
    start = f"{entry.state:9}  {equation.kind:10}  {equation.name:32}"
    if result is None:
        return f"{start}  {entry.row.read}"
    detail = result.problem or ", ".join(source.split(".", 1)[1] for source in result.sources)
    if entry.state == "roja" and (names := assumed(entry)):
        detail += f"; tomados por números cualesquiera: {', '.join(names)}"
    return f"{start}  {result.error:7.1e}  {detail}"


def summary(found: Sequence[Entry]) -> str:
    """El recuento, por clases."""
    states = Counter(entry.state for entry in found)
    kinds = Counter(entry.equation.kind for entry in found if entry.state == "ejecutada")
    shares = ", ".join(f"{count} {kind}s" for kind, count in kinds.items())
    counts = ", ".join(f"{count} {state}s" for state, count in states.items())
    return f"{len(found)} ecuaciones: {counts}. De las ejecutadas, {shares}."


def survivors(found: Sequence[Outcome]) -> str:
    """El recuento de los mutantes y, uno por línea, los que no se han notado."""
    lines = [
        f"  {o.name}: {o.change}" + (f"  [{o.reason}]" if o.reason else "")
        for o in found
        if not o.noticed
    ]
    noticed = sum(o.noticed for o in found)
    equivalent = sum(not o.noticed and bool(o.reason) for o in found)
    lines.append(
        f"{len(found)} mutantes: {noticed} notados; de los otros, {equivalent} no cambian nada."
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Lee las opciones, prueba las ecuaciones y, si se pide, sus mutantes."""
    parser = argparse.ArgumentParser(description="Prueba las ecuaciones del libro desde su TeX.")
    parser.add_argument("names", nargs="*", help="solo estas ecuaciones; admite comodines")
    parser.add_argument("--mutants", action="store_true", help="prueba también sus mutantes")
    parser.add_argument("--sample", type=int, help="solo tantos mutantes de cada ecuación")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    found = list(entries(options.names))
    print(*map(line, found), summary(found), sep="\n")
    if options.mutants:
        running = [entry for entry in found if entry.state == "ejecutada"]
        print(survivors([o for entry in running for o in outcomes(entry, options.sample)]))
    print(f"En {time.monotonic() - started:.0f} s.")
    return 1 if any(entry.state == "roja" for entry in found) or not found else 0


if __name__ == "__main__":
    sys.exit(main())
