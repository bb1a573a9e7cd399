"""The `coeval` command: finds the subcommands that this installation has and runs one.

Subcommands register in the entry-point group `coeval.commands`, as a Typer application or
as a function. One whose extra is not installed stays listed and answers with the line that
installs it.
"""

import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from coeval import __version__
from coeval.errors import BadConfig, CoevalError

EXTRA_OF_PACKAGE = {
    "coeval_edge": "edge",
    "coeval_aggregator": "server",
    "coeval_lab": "lab",
    "coeval_training": "train",
}


def all_entries() -> list[EntryPoint]:
    """The subcommands that are registered, by name."""
    return sorted(entry_points(group="coeval.commands"), key=lambda entry: entry.name)


def extra_of(entry: EntryPoint) -> str:
    """The extra that brings what a subcommand needs."""
    return EXTRA_OF_PACKAGE.get(entry.module.split(".")[0], "lab")


def missing_extra(entry: EntryPoint, missing: str) -> CoevalError:
    """The error that says how to add what a subcommand lacks."""
    package = missing.split(".")[0]
    return CoevalError(
        f"`coeval {entry.name}` needs the package {package!r}, which is not installed; "
        f"add it with: pip install 'coeval[{extra_of(entry)}]'"
    )


def is_ours(exc: ModuleNotFoundError) -> bool:
    """Whether a module of Coeval itself is absent: our own defect, not a missing extra."""
    return (exc.name or "").split(".")[0] in {"coeval", *EXTRA_OF_PACKAGE}


def add_stand_in(app: typer.Typer, entry: EntryPoint, *, missing: str) -> None:
    """Add a subcommand whose dependencies are absent: it says how to add them."""

    def say_what_is_missing() -> None:
        raise missing_extra(entry, missing)

    app.command(
        name=entry.name,
        help=f"Not installed here: pip install 'coeval\\[{extra_of(entry)}]'.",  # \\[: no markup
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )(say_what_is_missing)


def add_subcommand(app: typer.Typer, entry: EntryPoint) -> None:
    """Import one subcommand and add it to the application."""
    try:
        target = entry.load()
    except ModuleNotFoundError as exc:
        if is_ours(exc):
            raise
        add_stand_in(app, entry, missing=exc.name or "?")
        return
    if isinstance(target, typer.Typer):
        app.add_typer(target, name=entry.name)
    else:
        app.command(name=entry.name)(target)


def print_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        typer.echo(f"coeval {__version__}")
        raise typer.Exit


def coeval(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    """Put every sensor stream of a scene on one timeline, and say how sure it is."""


def build_app(arguments: list[str]) -> typer.Typer:
    """The application; only the subcommand that the arguments name is imported, else all."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(coeval)
    entries = [] if arguments == ["--version"] else all_entries()
    named = [entry for entry in entries if arguments and entry.name == arguments[0]]
    for entry in named or entries:
        add_subcommand(app, entry)
    return app


def run(arguments: list[str]) -> None:
    """Run the command line.

    Raises:
        CoevalError: what the subcommand raised; or it needs a package that is not installed.
    """
    try:
        build_app(arguments)(args=arguments, prog_name="coeval")
    except ModuleNotFoundError as exc:  # imported only where it is asked for, as for a picture
        entry = next((entry for entry in all_entries() if entry.name in arguments[:1]), None)
        if entry is None or is_ours(exc):
            raise
        raise missing_extra(entry, exc.name or "?") from exc


def main() -> None:
    """Run the command line; exit 0, 1 (failure) or 2 (usage), never with a traceback of ours."""
    try:
        run(sys.argv[1:])
    except CoevalError as exc:
        typer.echo(f"coeval: {exc}", err=True)
        sys.exit(2 if isinstance(exc, BadConfig) else 1)
    except OSError as exc:  # a full disk, a file that is gone: nothing of ours
        typer.echo(f"coeval: {exc}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("coeval: interrupted", err=True)
        sys.exit(130)
