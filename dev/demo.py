"""
The main job, to be seen: ``make demo`` makes one video with the DAG ``luma_text_to_video`` in a real Airflow.

Without a key, an emulated gateway on this machine answers; nothing is billed and nothing leaves the machine.
With ``LUMA_SUBSCRIPTION_KEY`` set (and ``LUMA_HOST``, for another address than the gateway's own) the same
run drives the real gateway, which bills the generation. ``--gateway`` chooses the door; the DAG is the same.

Exit code 0 means that the run succeeded and that the kept file plays. Whatever was started is stopped again.
The videos stay in ``demo-videos/``, the Airflow home of the last run (logs included) in ``.cache/demo/``;
nothing is written outside the checkout.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_luma.emulator.doors import DOORS
from dev.gateway import emulated_gateway, real_gateway
from dev.mp4 import NotPlayable, decode
from dev.playground import alone_in_checkout, fresh_airflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dev.airflow_rest import Sighting
    from dev.airflow_stack import AirflowStack

DAG_ID = "luma_text_to_video"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    params = _params(arguments)
    door = str(params.pop("gateway"))
    return alone_in_checkout("demo", lambda: _demo(params, door))


def _params(arguments: Sequence[str] | None) -> dict[str, object]:
    parser = argparse.ArgumentParser(prog="make demo", description="Make one video in a real Airflow.")
    parser.add_argument("--prompt", help="what the video shows")
    parser.add_argument("--aspect-ratio", metavar="W:H", help="such as 16:9 or 9:16")
    parser.add_argument("--loop", action="store_true", default=None, help="end where it began")
    doors = [door.name for door in DOORS]
    parser.add_argument("--gateway", choices=doors, default=doors[0], help="the door (default: %(default)s)")
    # What is not given is left to the DAG's own defaults.
    return {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}


def _demo(params: dict[str, object], door: str) -> int:
    began = time.monotonic()
    print("Luma Dream Machine, text to video, in a real Airflow\n", flush=True)
    stack = fresh_airflow("demo")
    _say("Airflow", f"{importlib.metadata.version('apache-airflow')} is starting …")
    with stack:
        _say(
            "", f"up after {time.monotonic() - began:.0f} s (api-server, scheduler, triggerer, dag-processor)"
        )
        gateway = real_gateway(door) or emulated_gateway(stack, door=door)
        _say("gateway", gateway.what)
        gateway.connect(stack)
        stack.api.wait_for_dag(DAG_ID)
        succeeded = _run(stack, params, patience=gateway.patience)
    print(
        f"\n{'Done' if succeeded else 'Failed'} after {time.monotonic() - began:.0f} s; all is stopped again."
    )
    return 0 if succeeded else 1


def _run(stack: AirflowStack, params: dict[str, object], *, patience: float) -> bool:
    run_id = stack.api.trigger(DAG_ID, params)
    _say("DAG run", f"{DAG_ID}, {run_id}\n")
    first_seen: dict[str, float] = {}

    def tell(seen: Sighting) -> None:
        began = first_seen.setdefault(seen.task_id, seen.at)
        took = f"   took {seen.at - began:.1f} s" if seen.state in ("success", "failed") else ""
        _say(f"{seen.at:6.1f} s", f"{seen.task_id:<10}{seen.state}{took}")
        if (seen.task_id, seen.state) == ("generate", "success"):
            _say("", f"{'':<10}request id {stack.api.xcom(DAG_ID, run_id, 'generate', 'requestId')}")

    history = stack.api.wait_for_run(DAG_ID, run_id, timeout=patience, on_sighting=tell)
    if history.state == "success":
        return _show_video(stack.api.xcom(DAG_ID, run_id, "keep"))
    for task_id in history.failed_tasks():
        failure = history.last(task_id)
        print(f"\nThe last lines of the log of {task_id}:\n", file=sys.stderr)
        lines = stack.api.logs(DAG_ID, run_id, task_id, failure.try_number if failure else 1)
        print("\n".join(lines[-30:]), file=sys.stderr)
    return False


def _show_video(kept: str | None) -> bool:
    if not kept:
        print("\nThe run succeeded, but its task keep has returned no path.", file=sys.stderr)
        return False
    path = Path(kept.removeprefix("file://"))
    print()
    _say("video", str(path))
    try:
        video = decode(path)
    except NotPlayable as error:
        print(f"\nThe kept file does not play: {error}", file=sys.stderr)
        return False
    size = path.stat().st_size / 1024
    _say(
        "",
        f"{video.width} x {video.height}, {video.seconds:.1f} s, {len(video.frames)} frames, {size:.0f} KB",
    )
    return True


def _say(about: str, what: str) -> None:
    print(f"  {about:<9} {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
