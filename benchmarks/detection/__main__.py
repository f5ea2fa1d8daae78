"""False alarms, recall and delay on real news, against what users would pick instead and against the limit.

    python benchmarks/detection compare ARCHIVES --scores DIR [--copies 12] [--json FILE]
    python benchmarks/detection events  ARCHIVES --scores DIR
    python benchmarks/detection stories ARCHIVES
    python benchmarks/detection cost
    python benchmarks/detection nab     FOLDER

ARCHIVES is a folder with the four Reuters windows (``reuters_*.csv.gz``: timestamp_utc, channel, title). They are
scored by the packaged model (a quarter of an hour each, kept in ``--scores``). Constants are tuned on the two earlier
windows, what is reported is of the two later ones. Nothing is asserted; nothing leaves the machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("compare", "events"):
        command = commands.add_parser(name)
        command.add_argument("archives", type=Path)
        command.add_argument(
            "--scores", type=Path, default=Path(".cache/detection"), help="folder for scores and series"
        )
        command.add_argument("--json", type=Path, default=None)
        command.add_argument("--seed", type=int, default=5)
        if name == "compare":
            command.add_argument("--copies", type=int, default=12, help="bursts of each size, duration and kind")
        help_ = "contenders" if name == "compare" else "windows"
        command.add_argument("--only", default="", help=f"only {help_} whose name contains this")
    stories = commands.add_parser("stories")
    stories.add_argument("archives", type=Path)
    stories.add_argument("--titles", type=int, default=30_000, help="of each window")
    cost = commands.add_parser("cost")
    cost.add_argument("--keys", default="10,100,1000,10000")
    cost.add_argument("--days", default="7,28,112,365")
    nab = commands.add_parser("nab")
    nab.add_argument("folder", type=Path)
    return parser


def main() -> None:
    options = _arguments().parse_args()
    console = Console(width=150)
    if options.command == "compare":
        from compare import compare

        compare(options.archives, options.scores, console, options.copies, options.seed, options.only, options.json)
    elif options.command == "events":
        from events import events

        events(options.archives, options.scores, console, options.only)
    elif options.command == "stories":
        from story_pairs import stories

        stories(options.archives, console, options.titles)
    elif options.command == "cost":
        from cost import cost

        cost(console, [int(n) for n in options.keys.split(",")], [int(n) for n in options.days.split(",")])
    else:
        from nab import nab

        nab(options.folder, console)


if __name__ == "__main__":
    main()
