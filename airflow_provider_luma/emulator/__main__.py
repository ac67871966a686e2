"""
Run the emulator on its own: ``python -m airflow_provider_luma.emulator --port 8077``.

Prints one line with its address once it serves, and ends with exit code 0 on SIGINT or SIGTERM. Exit code 2
means that it could not start; the reason stands in one line on stderr.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from airflow_provider_luma.emulator.doors import DOORS
from airflow_provider_luma.emulator.faults import COMMON_OPTIONS, FAULTS
from airflow_provider_luma.emulator.models import TARGETS
from airflow_provider_luma.emulator.server import STATUS_ID_FIELDS, Emulator

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARENT_CHECK_SECONDS = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until a signal comes, and return the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.verbose:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        parser.error("--tls-cert and --tls-key go together")

    # Before anything is opened: a signal must not find a half-started server. No threading.Event,
    # whose lock the main thread may hold in the very moment in which the handler wants it.
    ended, end = socket.socketpair()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.send(b"."))

    emulator: Emulator | None = None
    try:
        emulator = Emulator(
            key=arguments.key,
            seconds=arguments.seconds,
            host=arguments.host,
            port=arguments.port,
            status_id_field=arguments.status_id_field,
            pending_word=arguments.pending_word,
            not_found_status=arguments.not_found_status,
            videos=arguments.videos,
            tls=(arguments.tls_cert, arguments.tls_key) if arguments.tls_cert else None,
        ).start()
        for text in arguments.fault:
            emulator.misbehave(**parse_fault(text))
    except (OSError, OverflowError, ValueError) as error:
        print(f"The emulator could not start on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        if emulator is not None:
            emulator.stop()
        return 2

    print(f"The Luma emulator serves {emulator.url}", flush=True)
    while not select.select([ended], [], [], _PARENT_CHECK_SECONDS)[0]:
        if arguments.parent_pid is not None and not _is_alive(arguments.parent_pid):
            break
    emulator.stop()
    return 0


def parse_fault(text: str) -> dict[str, Any]:
    """
    Return the arguments of ``Emulator.misbehave`` in ``TARGET=NAME,option=value,…``.

    A value is read as JSON where it is JSON, and as text otherwise. ``times=forever`` is the same as
    ``times=null``.

    :raises ValueError: when the text has another form.
    """
    first, *rest = _split(text)
    target, separator, name = first.partition("=")
    if not separator or not name:
        raise ValueError(f"A fault is TARGET=NAME[,option=value…], not {text!r}")
    arguments: dict[str, Any] = {"target": target, "name": name}
    for option in rest:
        key, separator, value = option.partition("=")
        if not separator or key in ("target", "name"):
            raise ValueError(f"An option of a fault is name=value, not {option!r}")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = None if (key, value) == ("times", "forever") else value
    return arguments


def _split(text: str) -> list[str]:
    """Split at commas, except inside JSON lists, objects and strings."""
    parts, depth, quoted = [""], 0, False
    for position, character in enumerate(text):
        if character == '"' and text[position - 1 : position] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (character in "[{") - (character in "]}")
            if character == "," and depth == 0:
                parts.append("")
                continue
        parts[-1] += character
    return parts


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, FAULTS))
    lines = ["the base address of each gateway, after the address that is printed:"]
    lines += [f"  {door.name:12} {door.prefix or '(nothing)'}" for door in DOORS]
    lines += ["", f"faults (TARGET is one of {', '.join(TARGETS)}):"]
    for fault in FAULTS.values():
        options = f" [{', '.join(fault.options)}]" if fault.options else ""
        lines.append(f"  {fault.name:{width}}  {fault.summary}{options}")
    lines += ["", "options of every fault:"]
    lines += [f"  {name:{width}}  {meaning}" for name, meaning in COMMON_OPTIONS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_luma.emulator",
        description="A Luma Dream Machine gateway on a loopback address, for tests and demos. "
        "Its page at / shows what was generated.",
        epilog="\n".join(lines).replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="loopback address to serve (default: %(default)s)")
    add("--port", type=int, default=8077, help="0 picks a free one (default: %(default)s)")
    add("--seconds", type=float, default=3.0, help="how long a generation takes (default: %(default)s)")
    add(
        "--key",
        default=os.environ.get("LUMA_EMULATOR_KEY", "emulator-key"),
        help="subscription key to ask for (default: $LUMA_EMULATOR_KEY, or emulator-key)",
    )
    add("--status-id-field", choices=STATUS_ID_FIELDS, default="both", help="field getStatus takes the id in")
    add(
        "--pending-word", default="processing", help="status of a generation not ready (default: %(default)s)"
    )
    add("--not-found-status", type=int, choices=(200, 404), default=200, help="HTTP status of an unknown id")
    add("--videos", choices=("full", "tiny"), default="full", help="tiny: one small video for load tests")
    add("--fault", action="append", default=[], metavar="TARGET=NAME[,option=value…]", help="may be repeated")
    add("--tls-cert", help="PEM certificate; serves https")
    add("--tls-key", help="PEM key of the certificate")
    add("--parent-pid", type=int, help="end when this process has ended")
    add("--verbose", action="store_true", help="a line on stderr for each request")
    return parser


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


if __name__ == "__main__":
    sys.exit(main())
