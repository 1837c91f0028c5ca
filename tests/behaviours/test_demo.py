"""The demo runs against a stack, checks its own numbers, and can be run again."""

import asyncio
import sys

import pytest

from tests.support.stack import ROOT, Stack


@pytest.mark.slow
async def test_the_demo_ends_well_and_may_be_repeated(stack: Stack) -> None:
    organization = await stack.new_organization("Demo")
    (stack.directory / "demo_key").write_text(organization["api_key"]["key"])
    for _ in range(2):
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "examples.demo"),
            cwd=ROOT,
            env=stack.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(run.communicate(), 120)
        text = output.decode()
        assert run.returncode == 0, text
        assert "14,900" in text
        assert "tier 2: above 100,000 up to 1,000,000" in text
        assert "card_declined" in text
