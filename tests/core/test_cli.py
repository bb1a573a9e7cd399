"""The `coeval` command itself: subcommands found, missing extras told, errors as one line."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from coeval import __version__, cli
from coeval.errors import (
    BadBlock,
    BadConfig,
    BadRecording,
    CoevalError,
    EncoderMismatch,
    NotEnoughEvidence,
)

Coeval = Callable[..., tuple[int, str, str]]
"""Runs the command in this process; its exit code, stdout and stderr."""


@pytest.fixture
def with_commands(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers subcommands as an installation would: `name = function` of this module."""

    def register(**functions: object) -> None:
        for name, function in functions.items():
            setattr(sys.modules[__name__], f"made_{name}", function)
        entries = [
            EntryPoint(name=name, value=f"{__name__}:made_{name}", group="coeval.commands")
            for name in functions
        ]
        monkeypatch.setattr(cli, "entry_points", lambda **_: entries)

    return register


def process(*arguments: str, without: str | None = None) -> "subprocess.CompletedProcess[str]":
    """The command as a process, in which one package cannot be imported."""
    hide = f"import sys; sys.modules[{without!r}] = None; " if without else ""
    return subprocess.run(
        [sys.executable, "-c", f"{hide}from coeval.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    lines = "".join(f"{k / 20},{k % 7}\n" for k in range(200))
    (tmp_path / "imu.csv").write_text("t,x\n" + lines)
    manifest = {
        "format": "coeval-recording/1",
        "name": "made",
        "nodes": {"a": {}},
        "streams": [{"id": "imu", "node": "a", "modality": "metadata", "file": "imu.csv"}],
    }
    (tmp_path / "recording.json").write_text(json.dumps(manifest))
    return tmp_path


def test_the_version_is_that_of_the_package(coeval: Coeval) -> None:
    assert coeval("--version") == (0, f"coeval {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_subcommand_that_is_registered(coeval: Coeval, flag: str) -> None:
    code, out, _ = coeval(flag)
    assert code == 0
    for name in ("align", "aggregator", "bench", "check", "demo", "node", "recording", "train"):
        assert f" {name} " in out


def test_an_unknown_subcommand_is_a_usage_error(coeval: Coeval) -> None:
    code, out, err = coeval("frobnicate")
    assert (code, out) == (2, "")
    assert "No such command 'frobnicate'" in err
    assert "Traceback" not in err


def test_only_the_subcommand_that_is_named_is_imported() -> None:
    code = (
        "import sys; from coeval.cli import build_app; build_app(['aggregator']); "
        "print(*sorted(m for m in sys.modules if m in "
        "('coeval_aggregator', 'coeval_lab', 'coeval_edge', 'coeval_training', 'av')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "coeval_aggregator\n"


@pytest.mark.parametrize(
    ("without", "arguments", "extra"),
    [
        ("onnxruntime", ("node", "--replay", "rec", "--node", "a"), "edge"),
        ("paho", ("aggregator", "--session", "s"), "server"),
        ("av", ("align", "rec"), "lab"),
    ],
)
def test_a_missing_extra_is_told_with_the_line_that_installs_it(
    without: str, arguments: tuple[str, ...], extra: str
) -> None:
    done = process(*arguments, without=without)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"`coeval {arguments[0]}` needs the package '{without}" in done.stderr
    assert done.stderr.endswith(f"add it with: pip install 'coeval[{extra}]'\n")


def test_help_says_what_is_not_installed_and_how_to_add_it() -> None:
    done = process("--help", without="onnxruntime")
    assert done.returncode == 0
    assert "pip install 'coeval[edge]'" in " ".join(done.stdout.replace("│", " ").split())


def test_a_package_that_is_missed_in_the_midst_is_told_too(recording: Path) -> None:
    path = recording / "new" / "a.png"
    done = process("align", str(recording), "--json", "--plot", str(path), without="matplotlib")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "`coeval align` needs the package 'matplotlib'" in done.stderr
    assert not path.parent.exists()


def test_a_module_of_our_own_that_is_missing_is_no_missing_extra(
    with_commands: Callable[..., None],
) -> None:
    def broken() -> None:
        raise ModuleNotFoundError("No module named 'coeval_lab.gone'", name="coeval_lab.gone")

    with_commands(broken=broken)
    with pytest.raises(ModuleNotFoundError, match=r"coeval_lab\.gone"):
        cli.run(["broken"])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (CoevalError, 1),
        (BadRecording, 1),
        (BadBlock, 1),
        (EncoderMismatch, 1),
        (NotEnoughEvidence, 1),
        (BadConfig, 2),
    ],
)
def test_an_error_is_one_line_and_its_kind_the_exit_code(
    coeval: Coeval, with_commands: Callable[..., None], kind: type[CoevalError], code: int
) -> None:
    def fail() -> None:
        typer.echo("so far")
        raise kind("frame from node 7: expected 3, got 4 [sic]; update the node")

    with_commands(fail=fail)
    assert coeval("fail") == (
        code,
        "so far\n",
        "coeval: frame from node 7: expected 3, got 4 [sic]; update the node\n",
    )


def test_a_subclass_of_bad_config_is_a_usage_error_too(
    coeval: Coeval, with_commands: Callable[..., None]
) -> None:
    class Worse(BadConfig):
        """A configuration error of a package."""

    def fail() -> None:
        raise Worse("no")

    with_commands(fail=fail)
    assert coeval("fail")[0] == 2


def test_ctrl_c_ends_with_130_and_no_traceback(
    coeval: Coeval, with_commands: Callable[..., None]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with_commands(interrupted=interrupted)
    code, out, err = coeval("interrupted")
    assert (code, out) == (130, "")
    assert "Traceback" not in err


def test_a_full_disk_is_one_line(coeval: Coeval, with_commands: Callable[..., None]) -> None:
    def write() -> None:
        raise OSError(28, "No space left on device")

    with_commands(write=write)
    code, _, err = coeval("write")
    assert (code, err) == (1, "coeval: [Errno 28] No space left on device\n")


def test_an_application_of_subcommands_and_a_function_both_register(
    coeval: Coeval, with_commands: Callable[..., None]
) -> None:
    many = typer.Typer()

    @many.command()
    def one() -> None:
        """First."""
        typer.echo("one of many")

    @many.command()
    def two() -> None:
        """Second."""

    def single(word: str) -> None:
        typer.echo(word)

    with_commands(many=many, single=single)
    assert coeval("many", "one") == (0, "one of many\n", "")
    assert coeval("single", "said") == (0, "said\n", "")


@pytest.mark.parametrize(
    "arguments", [("align", "REC", "--json"), ("recording", "info", "REC", "--json")]
)
def test_json_is_all_that_comes_to_stdout(recording: Path, arguments: tuple[str, ...]) -> None:
    done = process(*(str(recording) if a == "REC" else a for a in arguments))
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)
