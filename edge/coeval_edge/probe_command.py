"""`coeval probe list|monitor|flash`: find probes, watch one, put the firmware on a board."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from coeval.errors import BadConfig, CoevalError
from coeval.time import NS_PER_S
from coeval_edge.doctor_finding import devices
from coeval_edge.doctor_streams import PROBE_NAME
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.probe_flash import (
    check_image,
    copy_image,
    find_drive,
    mount_points,
    restart_into_drive,
)
from coeval_edge.probe_image import manifest, probe_image
from coeval_edge.probe_monitor import Monitor, version_of
from coeval_edge.sources.errors import SourceUnfit, SourceUnusable
from coeval_edge.sources.probe_link import BAUD, ProbePort, device_of
from coeval_edge.sources.probe_wire import Hello, Record, Status

app = typer.Typer(
    no_args_is_help=True,
    help="Probes: Raspberry Pi Picos that stamp edges and motion to 16 ns of PPS.",
)

HELLO_S = 2.5
"""A probe says hello every second."""
READ_S = 0.25
AGAIN_S = 1.0
UP_S = 15.0
"""From the copied image to the hello: restart, and the node's USB."""

Port = Annotated[str | None, typer.Option(help="The port; default: the only probe on USB.")]
Baud = Annotated[int, typer.Option(min=9600, max=20_000_000, help="Bits a second, on a UART.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON to stdout.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A port that was listened to."""

    port: str
    """The port."""
    hello: Hello | None
    """Who is there."""
    status: Status | None
    """How it does."""
    problem: str
    """Why it is no probe that can be used; empty where it can."""

    def describe(self) -> dict[str, Any]:
        """For machines."""
        return {
            "port": self.port,
            "problem": self.problem or None,
            "board": None if self.hello is None else self.hello.board_id,
            "firmware": None if self.hello is None else version_of(self.hello),
            "source_id": None if self.hello is None else self.hello.source_id,
            "imu": None if self.hello is None else self.hello.imu,
            "pps": None if self.status is None else self.status.state.name.lower(),
        }


def usb_probes(root: Path = Path("/")) -> list[str]:
    """Ports whose USB plugs call themselves a probe."""
    return [str(port) for port in devices(root, "serial/by-id/*") if PROBE_NAME in port.name]


def listen(port: str, *, baud: int, seconds: float = HELLO_S) -> Found:
    """Listen to a port until it said who it is and how it does, or for so long."""
    hello: Hello | None = None
    status: Status | None = None
    try:
        link = ProbePort(port, baud=baud)
    except SourceUnusable as exc:
        return Found(port=port, hello=None, status=None, problem=str(exc))
    try:
        until_ns = read_node_clock() + seconds * NS_PER_S
        while (hello is None or status is None) and read_node_clock() < until_ns:
            for record, _ in link.read(READ_S):
                hello = record if isinstance(record, Hello) else hello
                status = record if isinstance(record, Status) else status
    except SourceUnusable as exc:
        return Found(port=port, hello=hello, status=status, problem=str(exc))
    finally:
        link.close()
    problem = (
        "" if hello is not None else f"no hello within {seconds:g} s: no probe, or another speed"
    )
    return Found(port=port, hello=hello, status=status, problem=problem)


@app.command("list")
def list_probes(
    port: Annotated[
        list[str] | None, typer.Option(help="Listen to this port, too, as on a UART.")
    ] = None,
    baud: Baud = BAUD,
    as_json: AsJson = False,
) -> None:
    """Find probes: on USB by the name of the plug, elsewhere where --port says.

    Exit code 1 where there is none, or one that was named cannot be used.
    """
    named = port or []
    by_device = {device_of(each): each for each in [*named, *usb_probes()][::-1]}
    found = [listen(each, baud=baud) for each in reversed(by_device.values())]
    is_bad = not found or any(each.problem for each in found if each.port in named)
    if as_json:
        typer.echo(json.dumps({"probes": [each.describe() for each in found]}))
        raise typer.Exit(1 if is_bad else 0)
    if not found:
        typer.echo(
            "no probe on USB; one on a UART: --port /dev/ttyAMA0; a new board: coeval probe flash",
            err=True,
        )
        raise typer.Exit(1)
    table = Table()
    for column in ("port", "board", "firmware", "PPS", "sensor", ""):
        table.add_column(column, overflow="fold")
    for each in found:
        hello, status = each.hello, each.status
        table.add_row(
            each.port,
            "" if hello is None else hello.board_id,
            "" if hello is None else version_of(hello),
            "" if status is None else status.state.name.lower(),
            "" if hello is None else (f"{hello.imu:#x}" if hello.imu else "none"),
            Text(each.problem, "yellow"),
        )
    Console().print(table)
    if is_bad:
        raise typer.Exit(1)


def the_port(port: str | None) -> str:
    """The port that is meant.

    Raises:
        BadConfig: none is named, and there is not just one.
    """
    if port is not None:
        return port
    found = usb_probes()
    if len(found) != 1:
        there = ", ".join(found) or "none on USB"
        raise BadConfig(f"--port: which probe? There are: {there}")
    return found[0]


def record_to_json(record: Record) -> str:
    """A record as a line."""
    return json.dumps({"record": type(record).__name__.lower(), **asdict(record)})


@app.command()
def monitor(
    port: Port = None,
    baud: Baud = BAUD,
    as_json: AsJson = False,
    seconds: Annotated[
        float | None, typer.Option("--for", min=0.0, help="End after so many seconds.")
    ] = None,
) -> None:
    """Show what a probe says, live: clock, pulses, edges, rates, losses. Ctrl-C ends it."""
    name = the_port(port)
    heard = Monitor(name)
    until_s = None if seconds is None else time.monotonic() + seconds
    told = follow(name, baud, heard, until_s=until_s)
    if as_json:
        said = ""
        for records in told:
            for record in records:
                typer.echo(record_to_json(record))
            if heard.problem and heard.problem != said:
                typer.echo(heard.problem, err=True)
            said = heard.problem
        return
    next(told, None)  # opens the port: that it cannot be is said without a table
    with Live(heard.table(), refresh_per_second=4, console=Console()) as live:
        for _ in told:
            live.update(heard.table())


def follow(
    port: str, baud: int, heard: Monitor, *, until_s: float | None
) -> Iterator[list[Record]]:
    """Records of a port as they come, opened again where it is lost; none where nothing comes or
    something is wrong, which `heard` then tells.

    Raises:
        SourceUnusable: it cannot be opened at first.
        SourceUnfit: it is no probe, or speaks another version.
    """
    link: ProbePort | None = ProbePort(port, baud=baud)
    try:
        while until_s is None or time.monotonic() < until_s:
            try:
                if link is None:
                    link = ProbePort(port, baud=baud)
                found = [record for record, _ in link.read(READ_S)]
            except SourceUnusable as exc:
                if isinstance(exc, SourceUnfit) and link is not None:
                    raise
                heard.problem = str(exc)
                heard.forget(now_s=time.monotonic())
                yield []
                if link is not None:
                    link.close()
                    link = None
                time.sleep(AGAIN_S)
                continue
            heard.wire = link.stream.counts
            for record in found:
                heard.problem = ""
                heard.take(record, now_s=time.monotonic())
            heard.forget(now_s=time.monotonic())
            yield found
    finally:
        if link is not None:
            link.close()


@app.command()
def flash(
    image: Annotated[
        Path | None, typer.Option(help="A UF2 image; default: the one that ships.")
    ] = None,
    port: Annotated[
        str | None, typer.Option(help="A running probe: restart it into its drive first.")
    ] = None,
    drive: Annotated[
        Path | None, typer.Option(help="Where the drive RPI-RP2 is mounted, if not as usual.")
    ] = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.0, help="Seconds to wait for the drive.")
    ] = 60.0,
    up_s: Annotated[
        float,
        typer.Option("--wait", min=0.0, help="Seconds to wait for its hello on USB; 0: do not."),
    ] = UP_S,
) -> None:
    """Put the firmware on a board: hold its BOOTSEL button while you plug it in."""
    if image is None:
        data = probe_image()
        what = f"firmware {manifest()['version']} (source {manifest()['source_id']})"
    else:
        try:
            data = image.read_bytes()
        except OSError as exc:
            raise BadConfig(f"--image {image}: cannot be read: {exc.strerror}") from exc
        what = str(image)
        check_image(data, where=str(image))
    before = set(usb_probes())
    if port is not None:
        before = {each for each in before if Path(each).resolve() != Path(port).resolve()}
        restart_into_drive(port)
    typer.echo("waiting for the drive RPI-RP2 …", err=True)
    found = find_drive([drive] if drive is not None else mount_points(), timeout_s=timeout_s)
    copy_image(data, found)
    typer.echo(f"{what} copied to {found}")
    if up_s and image is None:
        wait_until_up(before, seconds=up_s)


def wait_until_up(before: set[str], *, seconds: float) -> None:
    """Wait for the flashed probe to say hello on USB, and check that it is what was flashed.

    Raises:
        CoevalError: it says that it is something else.
    """
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        for port in usb_probes():
            if port in before:
                continue
            found = listen(port, baud=BAUD)
            if found.hello is None:
                continue
            if found.hello.source_id != manifest()["source_id"]:
                raise CoevalError(
                    f"{port}: the probe says source {found.hello.source_id}, expected "
                    f"{manifest()['source_id']}: it was not flashed; try again"
                )
            typer.echo(f"{port}: probe {found.hello.board_id} is up")
            return
        time.sleep(AGAIN_S)
    typer.echo(
        f"no new probe on USB within {seconds:g} s; on a UART: coeval probe list --port "
        "/dev/ttyAMA0",
        err=True,
    )
