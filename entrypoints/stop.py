"""stop: end trainings that go on in other terminals, as Ctrl-C there would."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from entrypoints.command import Command
from odml.errors import ConfigurationError, TrackingError

if TYPE_CHECKING:
    from odml.tracking import OngoingRun

OPERATIONS = ("train", "transfer_learn")
STEPS_OF = "train/loss/total"
WAIT_SECONDS = 300.0
SECONDS_BETWEEN_LINES = 10.0


@click.command(cls=Command)
@click.option("--run-id", default="", help="The training to stop; by default all of this experiment on this host.")
@click.option(
    "--yes", type=click.BOOL, default=False, show_default=True, help="Do not ask before stopping (true, false)."
)
def stop(run_id: str, yes: bool) -> None:
    """Stop trainings from another terminal; each saves a checkpoint, evaluates it and ends."""
    from odml import tracking

    with tracking.given_run("stop") as run:
        runs = [tracking.ongoing_run(run_id, OPERATIONS)] if run_id else tracking.ongoing_runs(OPERATIONS)
        if not runs:
            click.echo("no training of this experiment is running")
            return
        click.echo(_table(runs))
        runs = runs if run_id else [each for each in runs if _is_here(each)]
        chosen = [(each, each.process_here()) for each in runs]
        if not chosen or not (yes or _confirmed(len(chosen))):
            click.echo("nothing was stopped")
            return
        if run:
            run.tag("odml.stopped", " ".join(each.id for each, _ in chosen))
        for each, process in chosen:
            if process.terminate():
                click.echo(f"run {each.id}: was asked to stop; it saves a checkpoint, evaluates it and ends")
        _wait([each for each, _ in chosen])
        for each, process in chosen:
            click.echo(f"run {each.id}: {'goes on until it has ended' if process.is_alive() else each.close()}")


def _table(runs: list[OngoingRun]) -> str:
    rows = [("run", "name", "host", "process", "started", "last step"), *map(_row, runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(run: OngoingRun) -> tuple[str, ...]:
    process, step = run.process, run.last_step(STEPS_OF)
    gone = " (gone)" if process and process.is_here and not process.is_alive() else ""
    return (
        run.id,
        run.name,
        process.host if process else "?",
        f"{process.pid}{gone}" if process else "?",
        f"{run.started.astimezone():%Y-%m-%d %H:%M:%S}",
        "-" if step is None else str(step),
    )


def _is_here(run: OngoingRun) -> bool:
    """Say whether a run can be stopped from here, and if not, why."""
    try:
        run.process_here()
    except TrackingError as error:
        click.echo(str(error))
        return False
    return True


def _confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise ConfigurationError("yes: there is no terminal to ask at whether to stop; pass -P yes=true")
    return click.confirm(f"Stop {'this training' if count == 1 else f'these {count} trainings'}?")


def _wait(runs: list[OngoingRun]) -> None:
    """Wait until the runs' processes have ended, or for five minutes, or until Ctrl-C."""
    started = last_line = time.monotonic()
    click.echo("waiting for the end; Ctrl-C ends the waiting only")
    try:
        while alive := [run.id for run in runs if run.process_here().is_alive()]:
            time.sleep(0.5)
            now = time.monotonic()
            if now - started > WAIT_SECONDS:
                return
            if now - last_line > SECONDS_BETWEEN_LINES:
                click.echo(f"{now - started:.0f} s: waiting for {', '.join(alive)}")
                last_line = now
    except KeyboardInterrupt:
        click.echo("waits no longer")


if __name__ == "__main__":
    stop()
