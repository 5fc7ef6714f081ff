"""Which kernel runs a notebook."""

from typing import Any

import pytest

from notebook_job.runner.kernels import Choice, KernelMissing, choose


def asks(name: str | None = None, language: str | None = None, info: str | None = None) -> Any:
    """The metadata of a notebook that asks for a kernel."""
    kernelspec = {key: value for key, value in (("name", name), ("language", language)) if value}
    metadata: dict[str, Any] = {"kernelspec": kernelspec} if kernelspec else {}
    return metadata | ({"language_info": {"name": info}} if info else {})


PYTHON = {"python3": "python"}
BOTH = {"python3": "python", "ir": "R"}
TWO_PYTHONS = {"python3": "python", "conda-env-x-py": "python"}


@pytest.mark.parametrize(
    ("metadata", "kernels", "name"),
    [
        (asks("python3", "python"), PYTHON, "python3"),
        (asks("ir", "R"), BOTH, "ir"),
        (asks("conda-env-x-py", "python"), TWO_PYTHONS, "conda-env-x-py"),
        # A notebook that says nothing is Python, as in all of Jupyter.
        ({}, BOTH, "python3"),
        ({"kernelspec": None, "language_info": 3}, PYTHON, "python3"),
        (asks(info="python"), TWO_PYTHONS, "python3"),
    ],
)
def test_the_kernel_that_is_asked_for(metadata: Any, kernels: Any, name: str) -> None:
    assert choose(metadata, kernels) == Choice(name)


@pytest.mark.parametrize(
    ("metadata", "kernels", "name"),
    [
        (asks("my-env", "python"), BOTH, "python3"),
        (asks("my-env", info="python"), BOTH, "python3"),
        # The language is in the name only.
        (asks("python310"), BOTH, "python3"),
        (asks("ir41", "r"), BOTH, "ir"),
    ],
)
def test_the_only_other_kernel_of_its_language(metadata: Any, kernels: Any, name: str) -> None:
    choice = choose(metadata, kernels)

    assert choice.name == name
    asked = metadata["kernelspec"]["name"]
    assert choice.note == (
        f'The image does not have the kernel "{asked}", so the notebook ran with "{name}".'
    )


def test_the_only_kernel_of_a_language_without_a_name() -> None:
    assert choose(asks(info="R"), BOTH).name == "ir"


@pytest.mark.parametrize(
    ("metadata", "kernels", "sentence"),
    [
        (
            asks("julia-1.9", "julia"),
            PYTHON,
            'The notebook wants the kernel "julia-1.9", which the image does not have, '
            "and no other for julia. The image has python3 (python).",
        ),
        (
            asks("my-env", "python"),
            TWO_PYTHONS,
            'The notebook wants the kernel "my-env", which the image does not have, and more '
            "than one other for python. The image has conda-env-x-py (python), python3 (python).",
        ),
        (
            asks("mystery"),
            PYTHON,
            'The notebook wants the kernel "mystery", which the image does not have. '
            "The image has python3 (python).",
        ),
        (
            {},
            {},
            "The notebook wants a kernel for python, which the image does not have. "
            "The image has no kernel.",
        ),
    ],
)
def test_no_kernel_fits(metadata: Any, kernels: Any, sentence: str) -> None:
    with pytest.raises(KernelMissing) as caught:
        choose(metadata, kernels)

    assert str(caught.value) == sentence
