"""`expunge suites`, `expunge recipes`: what there is, by name."""

import typer


def suites() -> None:
    """List the suites: what each asks, of which sets, with which metrics, and its paper."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from expunge.evaluation.suites import SUITES

    console = Console()
    for suite in SUITES.values():
        console.print(Text.assemble((suite.name, "bold"), f"  {suite.summary} ({suite.source})"))
        for title, names in (
            ("sets", [spec.name for spec in suite.sets]),
            ("metrics", [metric.name for metric in suite.metrics]),
        ):
            console.print(Padding(Text(f"{title}: {', '.join(names)}"), (0, 0, 0, 4)))
    console.print(Text("A custom suite: expunge eval --suite file.py:NAME"))


def recipes() -> None:
    """List the recipes that come with expunge: what for, which objective, which model."""
    import yaml

    from expunge.shipped import shipped_recipes

    for name, file in shipped_recipes().items():
        text = file.read_text(encoding="utf-8")
        recipe = yaml.safe_load(text)
        typer.echo(f"{name}\n    {text.splitlines()[0].removeprefix('# ')}\n    target model: {recipe['model']}")
