"""`pgen models`: what can be trained."""

from pgen.cli.console import console


def models() -> None:
    """List the installed models; a broken plug-in is shown with its cause."""
    from rich.table import Table
    from rich.text import Text

    from pgen.plugins import registry

    table = Table("name", "summary", "distribution", "version", "status")
    for line in registry.listing():
        style = "yellow" if line.summary else "red"
        status = Text(line.problem, style=style) if line.problem else Text("ok", style="green")
        table.add_row(line.name, Text(line.summary), line.distribution, line.version, status)
    console.print(table)
