"""One emulated machine for all tests of the kernel's real interfaces; they share its state."""

import shutil
from collections.abc import Iterator

import pytest

from .guest_base import CannotBuild
from .guest_image import build_image
from .machine import BOARD, Machine


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    try:
        image = build_image(folder, machine=BOARD)
    except CannotBuild as exc:
        pytest.skip(f"no emulated machine: {exc}")
    machine = Machine(image, folder)
    yield machine
    machine.close()
    shutil.rmtree(folder)  # the guest's files are large, and pytest keeps the last three runs'
