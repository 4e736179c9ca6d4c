"""Write the application: ``python -m tests.application FOLDER``."""

from __future__ import annotations

from pathlib import Path

import click

from tests.application.project import write_project


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--sound", is_flag=True, help="Without the seeded faults and their twins.")
def main(folder: Path, sound: bool) -> None:
    """Write the application's SQL files, migrations and configuration to FOLDER."""
    files = write_project(folder, seeded=not sound)
    click.echo(f"wrote {len(files)} SQL files to {folder}")


if __name__ == "__main__":
    main()
