"""Find stripe-mock, Stripe's own server for checking requests against its OpenAPI document, or build it (tests only).

The ways, in order: the configured path, PATH, an earlier build, ``go install``.
"""

import os
import shutil
import subprocess
from pathlib import Path

from devstack.processes import StackError
from devstack.temporal_binary import Say, cache_directory
from settings import environment_with, settings

GO_MODULE = "github.com/stripe/stripe-mock@latest"
BUILD_SECONDS = 300.0


def find(configured: str | None, *, say: Say) -> Path:
    """Find or build stripe-mock.

    ``configured`` is ``DURABILL_STRIPE_MOCK_BIN``. Raises StackError that says what to install when no way works.
    """
    if configured is not None:
        named = shutil.which(configured)
        if named is None:
            raise StackError(f"DURABILL_STRIPE_MOCK_BIN is {configured}, which is not a program that can be run.")
        return Path(named)
    on_path = shutil.which("stripe-mock")
    if on_path is not None:
        return Path(on_path)
    built = cache_directory() / "stripe-mock"
    return built if built.exists() else _build(built, say)


def _build(target: Path, say: Say) -> Path:
    go = shutil.which("go")
    if go is None:
        raise StackError(
            "stripe-mock is missing, and there is no Go to build it with.\n"
            "Install it (https://github.com/stripe/stripe-mock) and put it on PATH or name it in "
            "DURABILL_STRIPE_MOCK_BIN."
        )
    say(f"stripe-mock: building it with `go install {GO_MODULE}` (once on this machine)")
    # An own directory until it is whole, so that an interrupted build is never taken for a binary.
    unfinished = target.parent / f"build-stripe-mock-{os.getpid()}"
    environment = environment_with({"GOBIN": str(unfinished), "CGO_ENABLED": "0"})
    try:
        done = subprocess.run(
            [go, "install", GO_MODULE], env=environment, capture_output=True, timeout=BUILD_SECONDS, check=False
        )
        if done.returncode != 0:
            raise StackError(f"`go install {GO_MODULE}` failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unfinished / "stripe-mock", target)
    except subprocess.TimeoutExpired:
        raise StackError(f"`go install {GO_MODULE}` took longer than {BUILD_SECONDS:.0f} s.") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


if __name__ == "__main__":
    find(settings().stripe_mock_bin, say=print)
