"""Tables of models side by side, from what benchmarks/compare_models.py wrote of real tiles and of simulated particles."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from site_benchmarks import Result, as_table, number, part, read

MARKS = {"as real": "✓", "worse": "✗", "beyond": "!", "cannot be told": "?", "unknown": "?"}


def commands(result: Result) -> str:
    """How each model was trained, and in what time."""
    lines = (f"{line}   # {seconds:.0f} s" for line, seconds in result["seconds"].items() if line.split()[1] in ("train", "deploy"))
    return "\n".join(["```", *lines, "```"])


def costs(result: Result) -> str:
    """Seconds of training, with those of the auto-encoder, and images a second, 2,000 at a time."""
    seconds = result["seconds"]
    rows = []
    for run, found in result["cost"].items():
        model = run.removeprefix("runs/")
        (line,) = (line for line in seconds if line.endswith(f"--name {model}"))
        encoder = re.search(r"--targets runs/(\S+)/deploy", line)
        parts = [line]
        if encoder:
            parts += [each for each in seconds if each.endswith((f"--name {encoder[1]}", f"deploy runs/{encoder[1]}"))]
        rows.append((f"`{model}`", number(sum(map(seconds.__getitem__, parts))), number(found["samples_per_second"]["2000"])))
    rows.append(("`ddpm`", number(result["ddpm"]["seconds"]), number(result["ddpm"]["samples_per_second"])))
    return as_table(["", "training [s]", "images a second"], rows)


def measures(result: Result) -> str:
    """Every headline measure of every model, and of images through the auto-encoders."""
    models = result["generated"]
    # One whose images are all blank has been asked less.
    most = max(models.values(), key=lambda model: len(model["metrics"]))["metrics"]
    rows = []
    for metric, finding in most.items():
        for place, measure in enumerate(finding["measures"]):
            if measure["headline"]:
                found = [model["metrics"][metric]["measures"][place] if metric in model["metrics"] else None for model in models.values()]
                cells = (f"{number(each['value'])} {MARKS[each['verdict']]}" if each else "?" for each in found)
                rows.append((metric, measure["name"], number(measure["floor"]), *cells))
    return as_table(["metric", "measure", "floor", *(f"`{model}`" for model in models)], rows)


def few_steps(result: Result) -> str:
    """The two couplings of flow, by Euler's steps, and by as many of Heun's as are usual."""
    couplings = ("independent", "semidiscrete")
    rows = []
    for metric, few in result["in_few_steps"].items():
        steps = sorted({int(name.rpartition("-")[2]) for name in few})
        for told, ends in [*((f"{n}", f"-{n}") for n in steps), ("16 of Heun's", "")]:
            sets = few if ends else result["generated"]
            found = [sets[f"flow-{coupling}{ends}"]["metrics"][metric]["measures"][0] for coupling in couplings]
            rows.append((told, metric, found[0]["name"], number(found[0]["floor"]), *(number(each["value"]) for each in found)))
    return as_table(["steps", "metric", "measure", "floor", *couplings], rows)


def _parts(name: str) -> dict[str, Callable[[], str]]:
    result = f"compare_{name}"
    bare = {f"{name} {show.__name__}": partial(lambda show: show(read(result)), show) for show in (commands, costs, few_steps)}
    return {**bare, f"{name} measures": partial(part, result, measures)}


PARTS = {f"comparison {key}": made for name in ("real", "simulated") for key, made in _parts(name).items()}
