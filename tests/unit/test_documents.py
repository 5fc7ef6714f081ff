"""What the documents say of the code is so."""

import re
from pathlib import Path

from jupyter_scheduler_k8s.config import JOB_PARAMETERS, K8sConfig

_ROOT = Path(__file__).resolve().parents[2]


def rows(document: str, first_cell: str) -> list[list[str]]:
    """The cells of the table whose header begins with `first_cell`."""
    lines = (_ROOT / document).read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_cell} |"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def plain(cell: str) -> str:
    return cell.replace("`", "")


def test_the_readme_lists_every_setting_with_its_variable_and_default() -> None:
    table = {plain(row[0]): row for row in rows("README.md", "setting")}
    settings = K8sConfig.class_own_traits(config=True)

    assert set(table) == set(settings)
    for name, trait in settings.items():
        _, variable, default, meaning = table[name]
        assert plain(variable) == trait.metadata.get("env", "none"), name
        assert meaning
        # A default in code is one in the code; other cells say in words what it depends on.
        if default.startswith("`"):
            assert (
                plain(default) == f"{trait.default_value:g}"
                if isinstance(trait.default_value, float)
                else plain(default) == str(trait.default_value)
            ), name


def test_the_readme_lists_what_a_job_can_ask_for() -> None:
    assert {plain(row[0]) for row in rows("README.md", "name")} == set(JOB_PARAMETERS)


def test_links_between_documents_lead_somewhere() -> None:
    documents = [_ROOT / "README.md", *(_ROOT / "docs").glob("*.md"), *_ROOT.glob("*/README.md")]
    broken = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert broken == []
