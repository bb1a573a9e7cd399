"""The page that is committed is the one that its sources make."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WEB, BUILT = ROOT / "web", ROOT / "aggregator/coeval_aggregator/page"

needs_node = pytest.mark.skipif(
    shutil.which("npm") is None or not (WEB / "node_modules").is_dir(),
    reason="node or web/node_modules is absent (make page installs them)",
)


@needs_node
def test_a_rebuild_gives_the_files_that_are_committed(tmp_path: Path) -> None:
    command = ["npx", "vite", "build", "--outDir", str(tmp_path), "--logLevel", "error"]
    subprocess.run(command, cwd=WEB, check=True, capture_output=True, timeout=1200)
    made = {path.relative_to(tmp_path): path.read_bytes() for path in files(tmp_path)}
    assert made == {path.relative_to(BUILT): path.read_bytes() for path in files(BUILT)}


@needs_node
def test_the_pages_own_tests_pass() -> None:
    done = subprocess.run(
        ["npx", "vitest", "run"], cwd=WEB, check=False, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_every_file_that_the_page_names_is_there() -> None:
    named = re.findall(r'(?:src|href)="\./([^"]+)"', (BUILT / "index.html").read_text())
    assert len(named) >= 2
    assert all((BUILT / name).is_file() for name in named)
