"""Run one submission: the student's cells in a kernel, the checks outside of it, both under limits.

Everything of the student runs in a Jupyter kernel. The checks do not: they run in the process that started the kernel,
and where they name something of the student's, they get a value that was sent over as text, or a function that calls
the kernel and gets its result as text. So a submission that alters `assert`, NumPy or the checks themselves alters
them in its own kernel only, and neither the text of the hidden checks nor the course's seed is ever in there.

`run_apart` starts a process for this and stops it, with all that it started, when its time is up. What that process
tells is sealed, for a kernel of the same user can write to its pipe (through /proc). This keeps accidents and ordinary
tricks in. It is no prison: the code runs as the user who grades, can read and change that user's files (the solutions
among them), use the network and stop that user's processes.
"""

import ast
import builtins
import contextlib
import functools
import hmac
import io
import json
import logging
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file
from nbformat.v4 import new_output, output_from_msg

import gavs_lib
from gavs_lib.course import answers

HIDDEN = re.compile(r"^[ \t]*### BEGIN HIDDEN TESTS[ \t]*$", re.MULTILINE)
SHOWN_BYTES = 1_000_000  # of a cell's outputs that are kept
GRACE = 5  # seconds that an interrupted cell has to come to an end
MOST_FILE_BYTES = 200 * 2**20  # a submission may write no larger file
TOKEN = "GAVS_SUBMISSION"  # environment variable by which what a submission started is found again
KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes:
        cell_seconds: for each cell, and for each call of a student's function by a check.
        total_seconds: for the whole notebook, starting the kernel included.
        memory_gb: memory (GiB) that each of its processes may fill. Counted is what a process can write to
            (RLIMIT_DATA), not its address space (RLIMIT_AS), of which torch reserves far more than it ever touches.
            Linux only; elsewhere the limit has no effect.
    """

    cell_seconds: int = 60
    total_seconds: int = 600
    memory_gb: float = 4.0


class Cell(NamedTuple):
    """One cell to run. `role`: "setup" (ours, run on both sides), "student" (in the kernel) or "check" (outside)."""

    role: str
    source: str


class Stopped(Exception):
    """The kernel is gone; nothing of the student's can run any more."""


# ------------------------------------------------------------------------------------------ the grader's side


def run_apart(cells: list[Cell], seed: str, limits: Limits, log: Path) -> tuple[list[list[dict]], str]:
    """Run the cells of one submission in a process of its own.

    Args:
        cells: in the order of the notebook, without its text.
        seed: the course's private word; checks find it as the environment variable COURSE_SEED.
        limits: what it may use.
        log: file to which the process's own troubles are added.

    Returns:
        outputs: for each cell a list of Jupyter outputs; a check that did not come to its end has an error among them.
        stopped: in words why the whole was cut short; empty if it was not.
    """
    token, secret = os.urandom(16).hex(), os.urandom(16).hex()
    outputs: list[list[dict]] = []
    timed_out = threading.Event()
    with tempfile.TemporaryDirectory(prefix="gavs-submission-", ignore_cleanup_errors=True) as folder:
        with open(log, "ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "gavs_lib.course.submission"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=_environment(Path(folder), token),
                start_new_session=True,
            )

        def stop():
            timed_out.set()
            _kill(process, token)

        timer = threading.Timer(limits.total_seconds, stop)
        timer.start()
        try:
            job = {"cells": [cell._asdict() for cell in cells], "seed": seed, "limits": asdict(limits)}
            job["secret"] = secret
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
            stopped = ""
            for line in process.stdout:  # one line a cell, so what was done before a kill is not lost
                seal, _, told = line.rstrip(b"\n").partition(b" ")
                if hmac.compare_digest(seal, _seal(told, len(outputs), secret)):  # else a submission's forgery
                    done = json.loads(told)
                    outputs.append(done["outputs"])
                    stopped = stopped or done["stopped"]
        finally:
            timer.cancel()
            _kill(process, token)
    if len(outputs) < len(cells):
        stopped = (
            f"stopped after {limits.total_seconds} s, the limit for a whole notebook"
            if timed_out.is_set()
            else stopped or "its process ended before its last cell"
        )
        lost = _error("NotRun", f"This cell was not run: {stopped}.")
        outputs += [[lost] for _ in cells[len(outputs) :]]
    return outputs, stopped


def _seal(told: bytes, number: int, secret: str) -> bytes:
    """What stands before the line of cell `number`: only who knows the secret can write it, and not twice."""
    return hmac.new(secret.encode(), b"%d %b" % (number, told), "sha256").hexdigest().encode()


def _environment(folder: Path, token: str) -> dict[str, str]:
    """An environment without the grader's secrets, in which home and all settings lie in the submission's folder."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    home = folder / "home"
    fonts = home / "matplotlib"
    fonts.mkdir(parents=True)
    for ready in _font_lists():  # else every submission would search the machine's fonts anew, for seconds
        shutil.copy(ready, fonts)
    library = Path(gavs_lib.__file__).resolve().parents[1]
    ours = {
        "HOME": home,
        "IPYTHONDIR": home / "ipython",
        "JUPYTER_CONFIG_DIR": home / "jupyter",
        "JUPYTER_DATA_DIR": home / "jupyter",
        "JUPYTER_RUNTIME_DIR": home / "jupyter",
        "MPLCONFIGDIR": fonts,
        "XDG_CACHE_HOME": home / "cache",
        "TMPDIR": folder,
        "PYTHONPATH": library,
        "CUDA_VISIBLE_DEVICES": "",  # graded on the CPU, whose memory the limit counts
        TOKEN: token,
    }
    return kept | {name: str(value) for name, value in ours.items()}


def _font_lists() -> list[Path]:
    try:
        import matplotlib
    except ImportError:
        return []
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that cannot be written is no trouble here
    return list(Path(matplotlib.get_cachedir()).glob("fontlist-*.json"))


def _kill(process: subprocess.Popen, token: str) -> None:
    """End the process, its group, and whatever of it has moved to a group of its own."""
    if process.returncode is None:  # later its number may belong to somebody else
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for other in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if other.environ().get(TOKEN) == token:
                other.kill()


# ---------------------------------------------------------------------------------------- the process's side


class Kernel:
    """The student's kernel: a process of its own that runs code and sends back what it displays."""

    def __init__(self, folder: Path):
        socket = str(folder / "k")
        # Files as sockets need no free port, which another kernel could take first; their names must be short.
        address = {"transport": "ipc", "ip": socket} if len(socket.encode()) < 95 else {}
        path, _ = write_connection_file(str(folder / "kernel.json"), **address)
        # The kernel inherits our limits and our group, and none of our streams.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ipykernel_launcher", "-f", path, "--HistoryManager.enabled=False"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.client = BlockingKernelClient(connection_file=path)
        self.client.load_connection_file()
        self.client.start_channels()
        self.ended = ""  # in words, once the kernel is gone

    def ready(self, seconds: float) -> None:
        """Wait until it answers; Stopped if it does not.

        (jupyter_client's wait_for_ready takes a kernel that starts slowly on a busy machine for a dead one.)
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._finish(self.client.execute("", silent=True), 1, lambda output: None):
                return
        raise Stopped(f"its kernel did not start within {seconds:g} s")

    def run(
        self, code: str, seconds: float, show: Callable[[dict], None], meanwhile: Callable[[], None] | None = None
    ) -> None:
        """Run code and hand over each output; `meanwhile` is done here while the kernel works.

        Raises:
            TimeoutError: it took too long and was interrupted; the kernel is still there.
            Stopped: the kernel has ended, or did not heed the interruption and was ended.
        """
        if self.ended:
            raise Stopped(self.ended)
        request = self.client.execute(code, allow_stdin=False)
        if meanwhile is not None:
            meanwhile()
        if self._finish(request, seconds, show):
            return
        self.process.send_signal(signal.SIGINT)
        if not self._finish(request, GRACE, show):
            self.process.kill()
            self.ended = f"a cell ran longer than {seconds:g} s and could not be interrupted"
            raise Stopped(self.ended)
        raise TimeoutError(f"stopped after {seconds:g} s, the limit for a cell: does a loop never end?")

    def _finish(self, request: str, seconds: float, show: Callable[[dict], None]) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                if self.process.poll() is not None:
                    self.ended = f"its kernel ended (exit code {self.process.returncode})"
                    raise Stopped(self.ended) from None
                continue
            if message["parent_header"].get("msg_id") != request:
                continue
            kind = message["header"]["msg_type"]
            if kind == "status" and message["content"]["execution_state"] == "idle":
                return True
            if kind in ("stream", "display_data", "execute_result", "error"):
                show(output_from_msg(message))
        return False

    def ask(self, code: str, seconds: float, show: Callable[[dict], None]) -> dict:
        """Run a line of ours and return the message it publishes; errors of the student's code are raised here."""
        published, failures = [], []

        def sort(output: dict) -> None:
            if output["output_type"] == "error":
                failures.append(output)
            elif answers.MIME in output.get("data", {}):
                published.append(output["data"][answers.MIME])
            elif output["output_type"] == "stream":
                show(output)

        self.run(f"import gavs_lib.course.answers\ngavs_lib.course.answers.{code}", seconds, sort)
        if failures:
            raise _as_exception(failures[0])
        try:
            message = published[-1] if isinstance(published[-1], dict) else json.loads(published[-1])
            return {str(key): value for key, value in message.items()}
        except (IndexError, ValueError, AttributeError):
            raise RuntimeError("the kernel gave no answer.") from None


class Outputs:
    """What a cell shows, up to SHOWN_BYTES."""

    def __init__(self):
        self.kept: list[dict] = []
        self.room = SHOWN_BYTES
        self.muted = False

    def add(self, output: dict) -> None:
        if self.room <= 0 or self.muted:
            return
        self.room -= len(json.dumps(output))
        last = self.kept[-1] if self.kept else {}
        if self.room <= 0:
            self.kept.append(new_output("stream", name="stdout", text="\n... more was displayed than is kept ...\n"))
        elif output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            self.kept.append(output)


def run_cells(cells: list[Cell], kernel: Kernel, limits: Limits) -> Iterator[list[dict]]:
    """Run cells in order, yielding the outputs of each."""
    shared = {"__name__": "__main__"}  # what set-up cells define, for the checks
    for cell in cells:
        shown = Outputs()
        try:
            if cell.role == "check":
                _check(cell.source, dict(shared), kernel, limits.cell_seconds, shown)
            elif cell.role == "setup":  # ours, so only the whole notebook's limit counts
                here = functools.partial(exec, compile(cell.source, "<set-up>", "exec"), shared)
                kernel.run(cell.source, limits.total_seconds, shown.add, here)
            else:
                kernel.run(cell.source, limits.cell_seconds, shown.add)
        except (TimeoutError, Stopped) as error:
            shown.kept.append(_error(type(error).__name__, str(error)))
        yield shown.kept


def _check(source: str, names: dict, kernel: Kernel, seconds: float, shown: Outputs) -> None:
    """Run a check: first the part that students have, then the hidden one, which shows no more than its message."""

    def tell(output: dict) -> None:
        # nbgrader takes anything on stderr for a failure; a warning is none.
        shown.add({**output, "name": "stdout"})

    for part, hidden in zip(HIDDEN.split(source, maxsplit=1), (False, True)):
        printed = io.StringIO()
        shown.muted = hidden  # a function may print its inputs
        try:
            tree = ast.parse(part)
            names.update(_fetch(tree, names, kernel, seconds, tell))
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                exec(compile(tree, "<check>", "exec"), names)
        except BaseException as error:  # SystemExit too: whatever keeps a check from its end has failed it
            told = f"(hidden check) {_told(error)}" if hidden else _told(error)
            shown.kept.append(_error(type(error).__name__, told, getattr(error, "frames", [])))
            return
        finally:
            if printed.getvalue():
                shown.add(new_output("stream", name="stdout", text=printed.getvalue()))


def _as_exception(failure: dict) -> Exception:
    """An error that the kernel reports, as an exception to be raised here; `frames` shows the student's own lines."""
    name, message = failure["ename"], failure["evalue"]
    known = getattr(builtins, name, None)
    error = RuntimeError(f"{name}: {message}" if message else name)
    # Not for a class of the student's, nor for one like SystemExit that would end more than a check.
    if isinstance(known, type) and issubclass(known, Exception):
        with contextlib.suppress(TypeError):  # some cannot be made of a message
            error = known(message)
    # Before them stand a ruler and the frames of our own call, with the check's inputs.
    error.frames = [frame for frame in failure["traceback"][4:-1] if answers.__file__ not in frame]
    return error


def _told(error: BaseException) -> str:
    if isinstance(error, AssertionError):
        return str(error) or "not as it should be"
    if isinstance(error, NotImplementedError):
        return "there is no answer yet (its cell still says NotImplementedError)."
    if isinstance(error, NameError):
        return f"{error}. Did the cell that defines it run without an error?"
    return str(error) or traceback.format_exception_only(error)[-1].strip()


def _fetch(tree: ast.AST, names: dict, kernel: Kernel, seconds: float, show: Callable) -> dict:
    """From the kernel: what a check names and neither Python nor the set-up defines."""
    loaded = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    stored |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    stored |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    stored |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    stored |= {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    found = {}
    for name in dict.fromkeys(loaded):
        if name in names or name in stored or hasattr(builtins, name):
            continue
        message = kernel.ask(f"publish({name!r})", seconds, show)
        if "function" in message:
            found[name] = _function(name, kernel, seconds, show)
        elif "value" in message:
            found[name] = answers.decode(message["value"])
    return found


def _function(name: str, kernel: Kernel, seconds: float, show: Callable) -> Callable:
    def function(*arguments):
        message = kernel.ask(f"call({name!r}, {answers.encode(list(arguments))!r})", seconds, show)
        return answers.decode(message.get("value"))

    function.__name__ = name
    return function


def _error(name: str, message: str, frames: Sequence[str] = ()) -> dict:
    return new_output("error", ename=name, evalue=message, traceback=[*frames, f"{name}: {message}"])


def _limit(limits: Limits) -> None:
    """Bind this process and all it starts; none of them can lift it."""
    import resource  # not on Windows, where grading says so

    bounds = {
        resource.RLIMIT_DATA: int(limits.memory_gb * 2**30),
        resource.RLIMIT_FSIZE: MOST_FILE_BYTES,
        resource.RLIMIT_CPU: 2 * limits.total_seconds,  # for a process that escapes: two cores' worth
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in bounds.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS does not know all of them
            resource.setrlimit(kind, (most, most))


def main() -> None:
    """Read a job from stdin, write one sealed line of JSON for each cell to stdout."""
    job = json.loads(sys.stdin.read())
    limits = Limits(**job["limits"])
    _limit(limits)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that prints may come between the lines
    kernel = Kernel(Path.cwd())
    os.environ["COURSE_SEED"] = job["seed"]  # after the kernel was started, which must not see it
    try:
        kernel.ready(limits.total_seconds)
        for number, shown in enumerate(run_cells([Cell(**cell) for cell in job["cells"]], kernel, limits)):
            told = json.dumps({"outputs": shown, "stopped": kernel.ended}).encode()
            out.write(b"%b %b\n" % (_seal(told, number, job["secret"]), told))
            out.flush()
    finally:
        kernel.process.kill()


if __name__ == "__main__":
    main()
