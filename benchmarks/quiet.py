"""Timings in turn on a machine that others may use: turns in which they took part of the processors do not count."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

STAT = Path('/proc/stat')
MAX_OTHERS = 0.1  # of one core, taken by other processes while a turn is timed
MAX_TRIES = 4  # of one turn
WAIT_SECONDS = 0.2
MAX_WAIT_SECONDS = 15


def busy_seconds() -> float | None:
    """Return the processor seconds of all processes since the start of the machine; None where /proc does not tell."""
    if not STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, STAT.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf('SC_CLK_TCK')


def own_seconds(processes: Sequence[int]) -> float:
    """Return the processor seconds of this process and of those by number, which must live."""
    fields = (Path(f'/proc/{number}/stat').read_text().rpartition(')')[2].split() for number in processes)
    return time.process_time() + sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf('SC_CLK_TCK')


def time_call(call: Callable[[], object], processes: Sequence[int] = ()) -> tuple[float, float]:
    """Return the seconds of a call, and the cores that others took meanwhile (0 where unknown).

    `processes`, by number, do the call's work beside this one.
    """
    busy, own, began = busy_seconds(), own_seconds(processes), time.perf_counter()
    call()
    seconds, own = time.perf_counter() - began, own_seconds(processes) - own
    others = 0.0 if busy is None else (busy_seconds() - busy - own) / seconds  # type: ignore[operator]
    return seconds, max(0.0, others)


def wait_for_quiet() -> None:
    """Wait until other processes take no more than MAX_OTHERS of a core, at most MAX_WAIT_SECONDS."""
    until = time.monotonic() + MAX_WAIT_SECONDS
    while time.monotonic() < until and time_call(lambda: time.sleep(WAIT_SECONDS))[1] > MAX_OTHERS:
        pass


def time_in_turn(
    runners: Mapping[str, Callable[[], object]], rounds: int, calls: int = 1, *, processes: Sequence[int] = ()
) -> tuple[list[dict[str, float]], int]:
    """Return by round the seconds per call of each runner, and how many turns were thrown away.

    The runners take turns of `calls` calls; every second round goes backward, so that no runner always follows the
    same one. `processes` are those that work for the runners. A turn during which others took more than MAX_OTHERS of a
    core is repeated, after MAX_TRIES left out.
    """
    results, discarded = [], 0

    def repeat(call: Callable[[], object]) -> None:
        for _ in range(calls):
            call()

    for number in range(rounds):
        seconds: dict[str, float] = {}
        for name in list(runners) if number % 2 == 0 else list(runners)[::-1]:
            for _ in range(MAX_TRIES):
                wait_for_quiet()
                taken, others = time_call(lambda name=name: repeat(runners[name]), processes)
                if others <= MAX_OTHERS:
                    seconds[name] = taken / calls
                    break
                discarded += 1
        results.append(seconds)
    return results, discarded


def compare_rounds(rounds: list[dict[str, float]], name: str, base: str) -> tuple[float, float, float]:
    """Return the median, lowest and highest over the rounds of the time of `name` over that of `base`; NaN without."""
    ratios = [each[name] / each[base] for each in rounds if name in each and base in each] or [float('nan')]
    return statistics.median(ratios), min(ratios), max(ratios)


def seconds_of(rounds: list[dict[str, float]], name: str) -> list[float]:
    """Return the seconds of one runner over the rounds in which it counted."""
    return [each[name] for each in rounds if name in each] or [float('nan')]
