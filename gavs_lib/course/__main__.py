"""The course on the command line: `python -m gavs_lib.course COMMAND ...`; `make COMMAND` types these lines for you."""

import argparse
import importlib
import sys
from pathlib import Path

# Commands whose options live with the code they start: name -> (module with main(argv), what it does).
PASSED_ON = {
    "pretrain": ("gavs_lib.lab.pretrain", "pre-train the two miniature encoders"),
    "train": ("gavs_lib.lab.shipped", "train the models that are shipped in data/weights"),
    "predict": ("gavs_lib.course.predict", "segment what sounds in a video file"),
    "figures": ("gavs_lib.course.sheets", "draw the pictures of the README anew"),
    "assignments": ("gavs_lib.course.assignments", "write what students get of the assignments, without solutions"),
    "grade": ("gavs_lib.course.grade", "grade a folder of submissions: points and feedback"),
}

# Packages of the extra "grading", which a reader of the notebooks need not have.
NEEDED_TO_GRADE = ("nbgrader", "psutil")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command; those of `PASSED_ON` are only listed here and parse their line themselves."""
    parser = argparse.ArgumentParser(prog="python -m gavs_lib.course", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the notebooks, print a table of their results, write a report")
    run.add_argument(
        "--profile",
        default="quick",
        help="smoke, quick (default: the notebooks' own parameters) or full; a file of notebooks/params",
    )
    run.add_argument(
        "--notebook", default="", metavar="NAMES", help='which ones: "05", "05_training" or "00 05" (default: all)'
    )
    run.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set one parameter, over the profile, in every selected notebook that has it (repeatable)",
    )

    report = commands.add_parser("report", help="write the report again, of the notebooks that were run")
    report.add_argument("--profile", default="quick", help="of which runs (default: quick)")

    commands.add_parser("sync", help="write each notebook's .ipynb from its .py")
    commands.add_parser("check-sync", help="fail if an .ipynb differs from its .py or holds outputs")

    commands.add_parser("stamp", help="write the address in pyproject.toml into the notebooks' set-up cell for Colab")

    data = commands.add_parser("data", help="write the miniature world as an AVSBench-semantic folder")
    data.add_argument(
        "--root", type=Path, help="folder to write (default: data/generated/world, with _<rotation> for all but 0)"
    )
    data.add_argument("--rotation", type=int, default=0, choices=range(4), help="which combinations are unseen")
    data.add_argument("--seed", type=int, default=0)

    for name, (_, what) in PASSED_ON.items():
        commands.add_parser(name, help=what)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `python -m gavs_lib.course`; None reads them from the command line.

    Returns:
        exit code: 0 done, 1 the work failed, 2 the command makes no sense as typed, 130 interrupted.
    """
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in PASSED_ON:
        module, _ = PASSED_ON[words[0]]
        try:
            command = importlib.import_module(module).main
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in NEEDED_TO_GRADE:
                raise
            print(f'error: this needs {error.name}: pip install "gavs-lib[grading]"', file=sys.stderr)
            return 2
        return command(words[1:]) or 0
    arguments = build_parser().parse_args(words)

    # Imported here, each by its own command: `sync` must not wait for torch, nor `data` for papermill.
    if arguments.command == "run":
        from gavs_lib.course.run import SettingError, run

        try:
            return run(profile=arguments.profile, wanted=arguments.notebook, overrides=dict(arguments.parameter))
        except SettingError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted; the notebooks that were done are kept", file=sys.stderr)
            return 130
    if arguments.command == "report":
        from gavs_lib.course.report import write_report
        from gavs_lib.course.run import REPOSITORY

        try:
            print(write_report(REPOSITORY / "build" / arguments.profile))
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0
    if arguments.command == "sync":
        from gavs_lib.course.sync import sync

        return sync()
    if arguments.command == "check-sync":
        from gavs_lib.course.sync import check_sync

        return check_sync()
    if arguments.command == "stamp":
        return _stamp()

    from gavs_lib.world.folder import write_folder

    root = arguments.root or Path("data/generated/world" + (f"_{arguments.rotation}" if arguments.rotation else ""))
    try:
        write_folder(root, rotation=arguments.rotation, seed=arguments.seed)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"the toy shop is in {root}")
    return 0


def _stamp() -> int:
    """Write the set-up cell for Colab into every notebook, and the notebooks' .ipynb anew."""
    from gavs_lib.course.colab import stamp
    from gavs_lib.course.sync import sync

    try:
        changed = stamp()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(changed)} notebooks changed")
    return sync()


if __name__ == "__main__":
    sys.exit(main())
