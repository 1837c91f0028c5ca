"""The garbage collector of a process that serves for weeks."""

import gc


def freeze_gc(thresholds: tuple[int, int, int]) -> None:
    """Keep what was loaded out of the collector's sight, once, and let it look at the rest less often.

    Routes, schemas and modules live as long as the process, and thousands of workflows for weeks: walking them again
    and again cost a quarter of the time of a busy ingesting process and a sixth of each close. `thresholds` are the
    allocations between looks at the youngest objects, then how many of these between looks at the older and the oldest.
    """
    if gc.get_freeze_count() == 0:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*thresholds)
