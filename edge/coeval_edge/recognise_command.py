"""`coeval recognise`: what an unlabelled file, port, topic or pipe is."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from coeval.broker_address import DEFAULT_BROKER, PASSWORD_VARIABLE
from coeval.errors import BadConfig, BadRecording
from coeval.recognition import Channel, Recognition, recognise_lines
from coeval_edge.recognise import READ_BYTES, recognise_bytes, recognise_file
from coeval_edge.sources.errors import SourceAbsent

BAUDS = (115_200, 9600, 57_600, 38_400, 19_200, 230_400, 460_800, 921_600, 4800)
"""Speeds that are tried one after the other, the most usual first."""
ENOUGH_LINES = 400
MOST_UNKNOWN = 6
"""Columns in a row of which nothing is known that are told one by one."""


def recognise(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Files, folders, or - for stdin."),
    ] = None,
    serial: Annotated[str | None, typer.Option(help="Serial port to listen to.")] = None,
    baud: Annotated[
        int | None, typer.Option(help="Its speed; default: the usual ones are tried.")
    ] = None,
    mqtt: Annotated[str | None, typer.Option(help="MQTT topic to listen to.")] = None,
    broker: Annotated[str, typer.Option(help="Its broker.")] = DEFAULT_BROKER,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="How long to listen to a port or topic.")
    ] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
) -> None:
    """Tell what a stream is by its content: modality, format, sensors, units, time.

    Names are not looked at. What is not sure is said to be unsure, and ends with exit code 1.
    """
    if sum((bool(paths), serial is not None, mqtt is not None)) != 1:
        raise BadConfig(
            "say what to look at: PATH, --serial PORT or --mqtt TOPIC, one kind of them"
        )
    found = dict(_answers(paths or [], serial, baud, mqtt, broker, seconds))
    if as_json:
        told = {name: [one.describe() for one in answers] for name, answers in found.items()}
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        for name, answers in found.items():
            for one in answers:
                print_answer(name, one)
    if any(one.modality is None for answers in found.values() for one in answers):
        raise typer.Exit(1)


def _answers(
    paths: list[str],
    serial: str | None,
    baud: int | None,
    mqtt: str | None,
    broker: str,
    seconds: float,
) -> Iterator[tuple[str, list[Recognition]]]:
    """What each source is, by its name."""
    for path in paths:
        if path == "-":
            data = sys.stdin.buffer.read(READ_BYTES)
            yield path, recognise_bytes(data, is_whole=len(data) < READ_BYTES)
        elif len(paths) == 1 and not Path(path).is_dir():
            yield path, recognise_there(Path(path))
        else:
            yield from recognise_each(Path(path))
    if serial is not None:
        yield serial, [recognise_port(serial, baud=baud, seconds=seconds)]
    if mqtt is not None:
        yield mqtt, [recognise_topic(mqtt, broker=broker, seconds=seconds)]


def recognise_there(path: Path) -> list[Recognition]:
    """What a file or folder is.

    Raises:
        BadRecording: it is not there, or cannot be read.
    """
    if not path.exists():
        raise BadRecording(f"{path}: no such file")
    return recognise_file(path)


def recognise_each(path: Path) -> Iterator[tuple[str, list[Recognition]]]:
    """What a file is, or a folder of pictures; of any other folder, what each file in it is.

    One that cannot be read is unsure, so that the others are still told.
    """
    try:
        found = recognise_there(path)
    except BadRecording as exc:
        why = str(exc).removeprefix(f"{path}: ")
        found = [Recognition(modality=None, confidence=0.0, format="unreadable", why=why)]
    if path.is_dir() and found[0].modality is None and found[0].format == "folder":
        for inner in sorted(item for item in path.iterdir() if not item.name.startswith(".")):
            yield from recognise_each(inner)
    else:
        yield str(path), found


def recognise_port(port: str, *, baud: int | None, seconds: float) -> Recognition:
    """What a serial port's device prints, at the first speed at which it prints text.

    Raises:
        SourceUnusable: the port cannot be opened, or is lost.
    """
    from coeval_edge.sources.serial_port import SerialLines  # pyserial: only where it is wanted

    answer = recognise_lines([])
    for speed in BAUDS if baud is None else (baud,):
        source = SerialLines(port, baud=speed)
        lines: list[str] = []
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s and len(lines) < ENOUGH_LINES and not source.is_garbage:
            lines += [line for line, _ in source.read(0.2)]
        source.close()
        # The first line began before anybody listened.
        answer = recognise_lines(lines[1:] or lines)
        if answer.modality is not None:
            break
        if not source.num_bytes:
            break  # silent at one speed, silent at all
    return answer


def recognise_topic(topic: str, *, broker: str, seconds: float) -> Recognition:
    """What is said on an MQTT topic.

    Raises:
        SourceAbsent: the broker is not there, or does not let us in.
    """
    from coeval.samples import TextLine
    from coeval_edge.sources.mqtt_topic import MqttTopic, MqttTopicConfig

    source = MqttTopic(MqttTopicConfig(topic=topic, broker=broker, modality="text"))
    lines: list[str] = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s and len(lines) < ENOUGH_LINES:
        lines += [said.text for said in source.read(0.2) if isinstance(said, TextLine)]
    is_there = source.is_connected
    source.close()
    if not lines and not is_there:
        raise SourceAbsent(
            f"no broker at {broker} within {seconds:g} s, or it does not let us in; name it with "
            f"--broker mqtt://HOST:PORT (its password: {PASSWORD_VARIABLE})"
        )
    return recognise_lines(lines)


def merged(channels: Sequence[Channel]) -> list[Channel]:
    """Channels for people: a long row of those of which nothing is known is told as one."""
    told: list[Channel] = []
    for is_known, same in groupby(channels, key=lambda channel: channel.kind is not None):
        run = list(same)
        names = [column for channel in run for column in channel.columns]
        if is_known or len(names) <= MOST_UNKNOWN:
            told += run
        else:
            between = f"… {names[-1]} ({len(names)})"
            told.append(replace(run[0], columns=(names[0], between)))
    return told


def print_answer(name: str, found: Recognition) -> None:
    """An answer for people."""
    console = Console()
    what = found.modality or "unsure"
    sure = f" ({found.confidence:.0%})" if found.modality else ""
    console.print(
        f"{name}: {what}{sure}, {found.format}", markup=False, highlight=False, soft_wrap=True
    )
    console.print(f"  {found.why}", markup=False, highlight=False, soft_wrap=True)
    if found.time is not None:
        rate = "" if found.time.rate_hz is None else f", {found.time.rate_hz:.6g} Hz"
        unit = found.time.unit or "unit unsure"
        console.print(
            f"  time: {found.time.column} ({unit}{rate})",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    if not found.channels:
        return
    table = Table(box=None, padding=(0, 1))
    for heading in ("columns", "sensor", "units", "sure", "because"):
        table.add_column(heading)
    for channel in merged(found.channels):
        table.add_row(
            ", ".join(channel.columns).replace("[", "\\["),
            channel.kind or "unsure",
            channel.units or "–",
            f"{channel.confidence:.0%}" if channel.kind else "–",
            channel.why,
        )
    console.print(table)
