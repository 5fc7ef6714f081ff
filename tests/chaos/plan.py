"""What will happen to each run, by the seed alone."""

import random
from dataclasses import dataclass
from typing import Literal

Victim = Literal["files", "notebook", "kernel"]
VICTIMS: tuple[Victim, ...] = ("files", "notebook", "kernel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run and its misfortunes.

    Attributes:
        number: which run it is; also its idempotency token.
        cells: how many cells its notebook has.
        pause: seconds that each cell takes.
        fails: the cell that raises, from 0; None where none does.
        kill_server: seconds after the request was sent; None for no kill.
        kill: what of its pod is killed; None for nothing.
        kill_after: seconds after the pod was seen.
    """

    number: int
    cells: int
    pause: float
    fails: int | None
    kill_server: float | None
    kill: Victim | None
    kill_after: float


def plan(count: int, seed: int) -> list[Run]:
    """So many runs; the same for the same seed."""
    dice = random.Random(seed)
    return [_run(number, dice) for number in range(count)]


def _run(number: int, dice: random.Random) -> Run:
    cells = dice.randint(2, 5)
    # A server answers a create within some tens of milliseconds: most kills hit it there,
    # the others whatever it does afterwards.
    moment = dice.choice((dice.uniform(0, 0.06), dice.uniform(0, 3)))
    return Run(
        number=number,
        cells=cells,
        pause=dice.uniform(0, 0.8),
        fails=dice.randrange(cells) if dice.random() < 0.2 else None,
        kill_server=moment if dice.random() < 0.25 else None,
        kill=dice.choice(VICTIMS) if dice.random() < 0.3 else None,
        kill_after=dice.uniform(0, 5),
    )


def sources(run: Run, address: str) -> list[str]:
    """The cells of a run's notebook: each tells the listener at `address` before it does anything.

    The first makes up a name for this execution; a second execution has another.
    """
    first = (
        "import time, urllib.request, uuid\n"
        "execution = uuid.uuid4().hex\n"
        "def mark(cell):\n"
        f"    address = f'{address}/{run.number}/{{execution}}/{{cell}}'\n"
        "    urllib.request.urlopen(address, timeout=20).close()\n"
        "    print(execution, cell)\n"
    )
    found = []
    for cell in range(run.cells):
        source = f"mark({cell})\ntime.sleep({run.pause:.3f})"
        if cell == run.fails:
            source += f"\nraise RuntimeError('cell {cell} was meant to fail')"
        found.append((first if cell == 0 else "") + source)
    return found
