"""Steps at the same time, of which one error is one error."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def together(steps: Sequence[Coroutine[Any, Any, ResultT]]) -> list[ResultT]:
    """Run steps at the same time; where one raises, the others are stopped and its error is raised as it is."""
    if len(steps) == 1:
        return [await steps[0]]
    try:
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(step) for step in steps[1:]]
            results = [await step for step in steps[:1]]  # in this task: one less to start
    except* Exception as failed:  # noqa: BLE001 - raised below, out of its group
        error = failed.exceptions[0]
    else:
        return [*results, *(task.result() for task in others)]
    raise error
