"""El cuaderno."""

from ddpm_lit.losses import simple_loss
from ddpm_lit.sampling import ancestral
from scripts.ledger.check import Row
from scripts.ledger.notation import package
from scripts.ledger.rows.generation import step
from scripts.ledger.rows.losses import simple
from scripts.ledger.scope import Meaning

ROWS = {
    "cuaderno-perdida": Row(
        {"L_simple": Meaning(bare=simple)}, source=package(simple_loss), tolerance=1e-6
    ),
    "cuaderno-paso": Row({"x_t-1": Meaning(bare=step)}, source=package(ancestral)),
}
