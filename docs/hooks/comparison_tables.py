"""Tables that compare models, from the results of benchmarks/compare_models.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from benchmark_tables import Result, format_number, make_table, read_result, render

MARKS = {"as real": "✓", "worse": "✗", "beyond": "!", "cannot be told": "?", "unknown": "?"}


def commands(result: Result) -> str:
    """The training commands, with their times."""
    lines = (f"{line}   # {seconds:.0f} s" for line, seconds in result["seconds"].items() if line.split()[1] in ("train", "deploy"))
    return "\n".join(["<!-- checked: it takes an hour -->", "```", *lines, "```"])


def costs(result: Result) -> str:
    """Training time, including the auto-encoder's, and sampling speed in batches of 2,000."""
    seconds = result["seconds"]
    rows = []
    for run, cost in result["cost"].items():
        model = run.removeprefix("runs/")
        (command,) = (line for line in seconds if line.endswith(f"--name {model}"))
        commands = [command]
        if encoder := re.search(r"--targets runs/(\S+)/deploy", command):
            commands += [line for line in seconds if line.endswith((f"--name {encoder[1]}", f"deploy runs/{encoder[1]}"))]
        rows.append(
            (f"`{model}`", format_number(sum(map(seconds.__getitem__, commands))), format_number(cost["samples_per_second"]["2000"]))
        )
    rows.append(("`ddpm`", format_number(result["ddpm"]["seconds"]), format_number(result["ddpm"]["samples_per_second"])))
    return make_table(["model", "training [s]", "images/s"], rows)


def measures(result: Result) -> str:
    """Every headline measure of every model, and of reconstructions."""
    models = result["generated"]
    # A model whose images are all blank has fewer metrics.
    metrics = max(models.values(), key=lambda model: len(model["metrics"]))["metrics"]
    rows = []
    for metric, finding in metrics.items():
        for index, measure in enumerate(finding["measures"]):
            if measure["headline"]:
                values = [model["metrics"][metric]["measures"][index] if metric in model["metrics"] else None for model in models.values()]
                cells = (f"{format_number(value['value'])} {MARKS[value['verdict']]}" if value else "?" for value in values)
                name = measure["name"].replace("mean lit pixel", "mean pixel").replace("lit pixels", "number of pixels")
                rows.append((metric, name, format_number(measure["floor"]), *cells))
    return make_table(["metric", "measure", "floor", *(f"`{model}`" for model in models)], rows)


def _part(name: str, show: Callable[[Result], str]) -> str:
    return show(read_result(f"compare_{name}"))


PARTS: dict[str, Callable[[], str]] = {}
for _name in ("real", "simulated"):
    PARTS |= {f"comparison {_name} {show.__name__}": partial(_part, _name, show) for show in (commands, costs)}
    PARTS[f"comparison {_name} measures"] = partial(render, f"compare_{_name}", measures)
