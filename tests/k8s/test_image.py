"""The image's steps produce a function that runs, and nothing else."""

import subprocess
from pathlib import Path

import pytest

from function import __version__
from function.settings import Settings
from tests.k8s.dockerfile import Image, stages
from tests.manifests.rendering import OVERLAYS, render


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    made = Image(tmp_path_factory.mktemp("image"), {"VERSION": __version__})
    made.build()
    return made


def final() -> dict[str, str]:
    return dict(stages()[""])


def test_the_command_of_the_image_runs(image: Image) -> None:
    program = image.app / "bin" / "matrix-account-sync"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (__version__, "")
    assert final()["ENTRYPOINT"] == f'["{program.name}"]'


def test_the_container_starts_what_the_image_is_made_for() -> None:
    """The Deployment sets `args`, which replace CMD and keep ENTRYPOINT."""
    for overlay in OVERLAYS:
        assert final()["CMD"] == str(render(overlay).container["args"]).replace("'", '"')
        assert "command" not in render(overlay).container


def test_the_users_are_the_same_in_image_and_pod() -> None:
    context = render("staging").pod["spec"]["securityContext"]
    assert final()["USER"] == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_the_port_is_the_functions() -> None:
    assert final()["EXPOSE"] == str(Settings.model_fields["app_port"].default)


def test_nothing_but_the_function_and_its_libraries_is_in_the_image(image: Image) -> None:
    assert {"matrix-account-sync", "uvicorn"} <= {file.name for file in (image.app / "bin").iterdir()}
    (libraries,) = (image.app / "lib").glob("python3*/site-packages")
    names = {folder.name.partition("-")[0] for folder in libraries.iterdir()}
    assert {"function", "matrix_account_sync"} <= names
    assert not names & {"pip", "setuptools", "setuptools_scm", "hatchling", "tests", "dev", "pytest", "mypy"}


def test_every_module_has_its_bytecode(image: Image) -> None:
    """The pod's file system is read-only: a module without bytecode would be compiled at each start."""
    (package,) = (image.app / "lib").glob("python3*/site-packages/function")
    modules = {file.stem for file in package.glob("*.py")}
    assert {file.name.partition(".")[0] for file in (package / "__pycache__").glob("*.pyc")} == modules


def test_bytecode_fits_whatever_time_a_builder_gives_to_the_files(image: Image) -> None:
    """Reproducible builds change the times; bytecode that depends on them would be compiled again at each start."""
    compiled = list((image.app / "lib").rglob("*.pyc"))
    assert compiled
    unchecked_hash = (1).to_bytes(4, "little")
    assert [str(file) for file in compiled if file.read_bytes()[4:8] != unchecked_hash] == []


def test_the_image_holds_no_file_that_others_may_write(image: Image) -> None:
    loose = [file for file in image.app.rglob("*") if not file.is_symlink() and file.stat().st_mode & 0o022]
    assert [str(Path(file).relative_to(image.app)) for file in loose] == []
