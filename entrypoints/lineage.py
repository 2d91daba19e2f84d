"""lineage: the way from a model back to the photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from json import dumps
from typing import TYPE_CHECKING

import click

from entrypoints.command import Command

if TYPE_CHECKING:
    from odml.tracking import Origin


@click.command(cls=Command)
@click.option(
    "--model",
    default="models:/detector@champion",
    show_default=True,
    help="A models:/ URI, or the id of any run.",
)
@click.option(
    "--json", type=click.BOOL, default=False, show_default=True, help="Print JSON for machines (true, false)."
)
def lineage(model: str, json: bool) -> None:
    """Show what a model was made of: its runs, its first weights, its data, back to the photos."""
    from odml import tracking

    with tracking.given_run("lineage"):
        origin = tracking.lineage_of(model)
        click.echo(dumps(asdict(origin), indent=2, ensure_ascii=False) if json else "\n".join(_lines(origin)))


def _lines(origin: Origin, first: str = "", others: str = "") -> Iterator[str]:
    """Write the tree; ``first`` stands before the first line, ``others`` before all the others."""
    yield f"{first}{origin.role}: {origin.name}"
    inside = others + ("│  " if origin.origins else "   ")
    if origin.facts:
        yield inside + ", ".join(f"{name} {value}" for name, value in origin.facts.items())
    if origin.page:
        yield inside + origin.page
    for number, each in enumerate(origin.origins, start=1):
        is_last = number == len(origin.origins)
        yield from _lines(each, others + ("└─ " if is_last else "├─ "), others + ("   " if is_last else "│  "))


if __name__ == "__main__":
    lineage()
