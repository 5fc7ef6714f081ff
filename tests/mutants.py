"""What `mutmut run` found: how many of the mutants the tests killed, by module.

Ends with 1 where fewer than 85% were.
"""

import re
import subprocess
import sys
from collections import Counter

_ENOUGH = 0.85
# "    jupyter_scheduler_k8s.status.x_derive__mutmut_7: survived"
_LINE = re.compile(r"\s*jupyter_scheduler_k8s\.(.+?)\.x[^.]*__mutmut_\d+: (.+)")


def counted(text: str) -> dict[str, Counter[str]]:
    """By module, how many mutants ended how; `text` is what `mutmut results` prints."""
    found: dict[str, Counter[str]] = {}
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            found.setdefault(match[1], Counter())[match[2]] += 1
    return found


def share(counts: Counter[str]) -> float:
    """The share of the mutants that a test noticed; one that never ends is noticed, too."""
    noticed = sum(counts[how] for how in ("killed", "timeout", "segfault"))
    return noticed / counts.total()


def main() -> None:
    """Print a line for each module and one for all."""
    text = subprocess.run(
        ("mutmut", "results", "--all", "true"), check=True, capture_output=True, text=True
    ).stdout
    modules = counted(text)
    everything = sum(modules.values(), Counter[str]())
    if not everything:
        sys.exit("No mutants were tried: run `make mutants`.")
    for name, counts in sorted({**modules, "all": everything}.items()):
        print(f"{name:<20} {share(counts):4.0%} of {counts.total()}: {dict(counts)}")
    sys.exit(0 if share(everything) >= _ENOUGH else 1)


if __name__ == "__main__":
    main()
