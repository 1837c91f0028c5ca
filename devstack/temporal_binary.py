"""Find the Temporal CLI, whose ``server start-dev`` is the embedded Temporal server, or build it.

The ways, in order: the configured path, PATH, an earlier build, the SDK's own download, ``go install``. Where one is
refused the next is tried, with one line saying so, and each has a time limit.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from devstack.processes import StackError
from settings import environment_with, settings

# Newer tags carry a replace directive, which `go install` refuses.
GO_MODULE = "github.com/temporalio/cli/cmd/temporal@v1.5.1"
DOWNLOAD_SECONDS = 20.0
BUILD_SECONDS = 600.0
PROGRESS_SECONDS = 15.0

Say = Callable[[str], None]


def cache_directory() -> Path:
    """Return the per-user directory where a built binary is kept, shared by all checkouts."""
    return Path.home() / ".cache" / "durabill" / "bin"


def find(configured: str | None, *, say: Say) -> Path:
    """Find or make the Temporal CLI.

    ``configured`` is ``DURABILL_TEMPORAL_BIN``. Raises StackError that says what to install when no way works.
    """
    if configured is not None:
        return _configured(configured)
    on_path = shutil.which("temporal")
    if on_path is not None:
        return Path(on_path)
    built = cache_directory() / "temporal"
    if built.exists():
        return built
    return _download(say) or _build(built, say)


def _configured(path: str) -> Path:
    found = shutil.which(path)
    if found is None:
        raise StackError(f"DURABILL_TEMPORAL_BIN is {path}, which is not a program that can be run.")
    return Path(found)


def _download(say: Say) -> Path | None:
    """Let the SDK fetch its dev server: it does so when it starts one, so start one and stop it."""
    target = cache_directory()
    target.mkdir(parents=True, exist_ok=True)
    say(f"Temporal CLI: not installed; trying the SDK's download (at most {DOWNLOAD_SECONDS:.0f} s)")
    script = (
        "import asyncio, sys\n"
        "from temporalio.testing import WorkflowEnvironment as E\n"
        "async def main():\n"
        "    e = await E.start_local(download_dest_dir=sys.argv[1], dev_server_log_level='error')\n"
        "    await e.shutdown()\n"
        "asyncio.run(main())\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(target)], capture_output=True, timeout=DOWNLOAD_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        done = None
    found = next((path for path in sorted(target.glob("temporal-*")) if os.access(path, os.X_OK)), None)
    if done is None or done.returncode != 0 or found is None:
        say("Temporal CLI: the download was refused or too slow")
        return None
    return found


def _build(target: Path, say: Say) -> Path:
    go = shutil.which("go")
    if go is None:
        raise StackError(
            "The Temporal CLI is missing, its download was refused, and there is no Go to build it with.\n"
            "Install it (https://docs.temporal.io/cli) and put it on PATH or name it in DURABILL_TEMPORAL_BIN."
        )
    say(f"Temporal CLI: building it with `go install {GO_MODULE}` (about 2 minutes, once on this machine)")
    # An own directory until it is whole, so that an interrupted build is never taken for a binary.
    unfinished = target.parent / f"build-{os.getpid()}"
    environment = environment_with({"GOBIN": str(unfinished), "CGO_ENABLED": "0"})
    try:
        _run_with_progress([go, "install", GO_MODULE], environment, say)
        os.replace(unfinished / "temporal", target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _run_with_progress(command: list[str], environment: dict[str, str], say: Say) -> None:
    began = time.monotonic()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                elapsed = time.monotonic() - began
                if elapsed > BUILD_SECONDS:
                    process.kill()
                    raise StackError(f"`{' '.join(command)}` took longer than {BUILD_SECONDS:.0f} s.") from None
                say(f"Temporal CLI: still building ({elapsed:.0f} s)")
    if process.returncode != 0:
        raise StackError(f"`{' '.join(command)}` failed:\n{output.decode(errors='replace')[-2000:]}")


if __name__ == "__main__":
    # Before the tests: a build that takes minutes should be seen, and not eat a test's time limit.
    try:
        find(settings().temporal_bin, say=lambda text: print(text, flush=True))
    except StackError as error:
        sys.exit(str(error))
