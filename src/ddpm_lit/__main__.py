"""`python -m ddpm_lit` es lo mismo que `ddpm-lit`."""

from ddpm_lit.cli import main

main()
