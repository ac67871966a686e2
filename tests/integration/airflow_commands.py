"""
Run several commands of the airflow command line in one process: starting it takes longer than most of them.

Reads ``[[environment, arguments, exit code], ...]`` as JSON from stdin. Not a test.
"""

from __future__ import annotations

import json
import os
import sys


def run(arguments: list[str]) -> int:
    """Return the exit code of one command."""
    from airflow.__main__ import main

    sys.argv = ["airflow", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == "__main__":
    for environment, arguments, expected in json.load(sys.stdin):
        os.environ.update(environment)
        print(f"$ airflow {' '.join(arguments)}", flush=True)
        code = run(arguments)
        if code != expected:
            sys.exit(f"airflow {' '.join(arguments)} ended with {code}, not {expected}")
