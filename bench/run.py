"""Everything that is measured, one script after the other, and the chart."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

#: Script -> what makes it short: for a look at whether all works, not for figures.
SCRIPTS = {
    "small": ["--rounds", "3"],
    "models": ["--rounds", "3", "--models", "ResNet-50"],
    "methods": ["--rounds", "3", "--elements", "1000000"],
    "growth": ["--rounds", "3", "--most", "6"],
    "memory": ["--elements", "1000000"],
    "stats": ["--rounds", "3", "--elements", "1000000"],
    "tail": ["--rounds", "3", "--elements", "1000000"],
    "storage": ["--rounds", "3", "--elements", "1000000"],
    "drift": ["--elements", "4096", "--steps", "20"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and few: only to see that all works")
    parser.add_argument("--out", type=Path, default=FOLDER / "results", metavar="FOLDER")
    arguments = parser.parse_args()
    for script, short in SCRIPTS.items():
        begin = time.monotonic()
        print(f"== {script}", flush=True)
        words = [sys.executable, str(FOLDER / f"{script}.py"), "--out", str(arguments.out)]
        subprocess.run(words + (short if arguments.quick else []), check=True)
        print(f"== {script}: {time.monotonic() - begin:.0f} s", flush=True)
    subprocess.run([sys.executable, str(FOLDER / "chart.py"), "--out", str(arguments.out)], check=True)


if __name__ == "__main__":
    main()
