"""Tables of the figures in benchmarks/results: what a page shows is what the file holds, with where and when it was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks/results"

Result = dict[str, Any]


def as_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Three significant digits, or all of a whole number that can be read."""
    if value is None:
        return ""
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def ot_assign(result: Result) -> str:
    peers = list(dict.fromkeys(name for row in result["results"] for name in row["milliseconds"] if name != "pgen.ot"))
    return as_table(
        ["samples × targets × dimension", "lit", "cost", "pgen.ot", *peers],
        (
            (
                f"{row['case']}",
                f"{row['lit']:.0%}",
                row["cost"],
                f"{number(row['milliseconds']['pgen.ot'])} ms",
                *(number(row["times_slower_than_pgen.ot"].get(peer)) for peer in peers),
            )
            for row in result["results"]
        ),
    )


def ot_exact(result: Result) -> str:
    rows = ((row["kernel"], row["cost"], f"{row['assignments']:,}", row["wrong"]) for row in result["results"])
    return as_table(["kernel", "cost", "assignments", "wrong"], rows)


def ot_scale(result: Result) -> str:
    costs = list(result["results"][0]["microseconds_a_sample"])
    return as_table(
        ["targets", *(f"{cost}, µs a sample" for cost in costs), "memory beyond targets, MiB"],
        (
            (f"{row['targets']:,}", *(number(row["microseconds_a_sample"][cost]) for cost in costs), row["mebibytes_beyond_targets"])
            for row in result["results"]
        ),
    )


def ot_solve(result: Result) -> str:
    peers = [name for name in result["results"][0]["best"] if name != "pgen.ot"]

    def told(best: Result, cap: float) -> str:
        return f"> {cap:g} s" if best["seconds"] is None else f"{number(best['seconds'])} s ({number(best['times_as_long_as_pgen.ot'])} ×)"

    return as_table(
        ["problem", "cost", "goal, χ²", "pgen.ot", *peers],
        (
            (
                f"{row['problem']}, {row['targets'][0]:,} × {row['targets'][1]}",
                row["cost"],
                row["goal"],
                f"{number(row['best']['pgen.ot']['seconds'])} s",
                *(told(row["best"][peer], row["cap"]) for peer in peers),
            )
            for row in result["results"]
        ),
    )


def ewm_outer(result: Result) -> str:
    loops = {"authors' loop": result["authors"], "pgen": result["pgen"]}
    table = as_table(
        ["", "steps", "solve", "fit", "χ² of the frozen potential", "transport cost after"],
        (
            (name, f"{row['steps']:,}", f"{number(row['ots_seconds'])} s", f"{number(row['fit_seconds'])} s",
             number(row["chi2"]), number(row["transport_cost_after"]))
            for name, row in loops.items()
        ),
    )  # fmt: skip
    before = number(result["transport_cost_before"])
    return f"{table}\n\n{number(result['times_faster'])} times as fast, from the same generator, of transport cost {before}."


def data_batches(result: Result) -> str:
    table = as_table(
        ["way", "images/s, first epoch", "later epochs", "memory, MiB"],
        ((row["way"], number(row["first_epoch"]), number(row["later"]), number(row["peak_mib"])) for row in result["ways"]),
    )
    first, later = (number(result["times_faster"][key]) for key in ("first_epoch", "later"))
    return f"{table}\n\nThe store against the best peer ({result['best_peer']}): {later} × in later epochs, {first} × in the first."


def data_scale(result: Result) -> str:
    rows = ((f"`{row['command']}`", f"{row['seconds']} s", f"{row['peak_gib']:.2f} GiB") for row in result["commands"])
    sizes = f"{result['dense_gib']:.0f} GiB dense, {result['store_gib']:.2f} GiB as a store"
    return f"{as_table(['command', 'time', 'memory'], rows)}\n\n{result['images']:,} images of {result['size']}²: {sizes}."


def engine_step(result: Result) -> str:
    return as_table(
        ["", "pgen, ms a step", "torch loop by hand", "more"],
        (
            (name, f"{row['pgen'] * 1000:.1f}", f"{row['by hand'] * 1000:.1f}", f"{row['overhead']:.1%}")
            for name, row in result["seconds_per_step"].items()
        ),
    )


def engine_kills(result: Result) -> str:
    during = ", ".join(f"{count} {when}" for when, count in result["during"].items())
    rows = [
        ("kills", f"{result['kills']} ({during})"),
        ("newest checkpoint torn as well", result["torn_after_the_kill"]),
        ("checkpoints unreadable, or unlike those of an undisturbed run", result["unreadable_or_unequal"]),
    ]
    return as_table(["", ""], rows)


def output_kills(result: Result) -> str:
    during, left = (", ".join(f"{count} {what}" for what, count in result[key].items()) for key in ("during", "left"))
    commands = len({kill["command"] for kill in result["log"]})
    rows = [
        (f"kills of {commands} commands", f"{result['kills']} ({during})"),
        ("outputs afterwards", left),
        ("outputs half there, files of others touched, or anything left over by the next run", result["half_or_lost"]),
    ]
    return as_table(["", ""], rows)


def engine_hostile(result: Result) -> str:
    totals: dict[str, list[int]] = {}
    for kind, count in sorted(result["kinds"].items()):
        total = totals.setdefault(" ".join(kind.split()[:2]), [0, 0])
        total[0] += count
        total[1] += result["refused"].get(kind, 0)
    rows = [(kind, *total) for kind, total in totals.items()]
    table = as_table(["what was damaged, or made to do harm", "cases", "refused with a sentence"], rows)
    return f"{table}\n\n{result['cases']:,} cases in all, {result['failed']} failures: no code run, no traceback, nothing hung or lost."


def closure(result: Result) -> str:
    measures = next(iter(result["sets"].values()))
    rows = [(name, *(number(each["value"]) for each in found.values())) for name, found in result["sets"].items()]
    return as_table(["", *measures], [("real (floor)", *(number(each["floor"]) for each in measures.values())), *rows])


def evaluate_all(result: Result) -> str:
    (command,) = result["all"] if isinstance(result["all"], list) else [result["all"]]
    seconds = result["seconds_by_metric"]
    faster = ", ".join(f"{number(times)} times as fast as {name}" for name, times in result["neighbours"]["times_faster"].items())
    table = as_table(seconds, [[f"{number(value)} s" for value in seconds.values()]])
    what = (
        f"{result['generated']:,} generated, {result['train']:,} training and {result['held_out']:,} held-out images of {result['size']}²"
    )
    total = f"{command['seconds']} s and {command['peak_gib']:.1f} GiB in all"
    return f"{table}\n\n{what}: {total}. The search for neighbours is {faster}."


def two_stage(result: Result) -> str:
    rows = (
        (each["name"], f"{each['images']:,}", f"{each['charge_mean']:.0f} ± {each['charge_std']:.0f}", f"{each['charge_ratio']:.3f}",
         f"{each['occupancy_mean']:.4f} ± {each['occupancy_std']:.4f}", f"{each['occupancy_ratio']:.3f}", f"{each['blank_rate']:.2%}")
        for each in result["statistics"].values()
    )  # fmt: skip
    head = ["images", "number", "charge [ADC]", "of held-out", "occupancy", "of held-out", "blank"]
    solved = f"χ² {number(result['ewm_chi2'])}, {result['ewm_never_hit']:.0f} codes never hit"
    return f"{as_table(head, rows)}\n\nHeld-out MSE {number(result['held_out_mse_over_predict_zero'])} of that of blank images; {solved}."


def mnist_wasserstein(result: Result) -> str:
    rows = [(f"`{model}`", number(ratio * result["floor"]), number(ratio)) for model, ratio in result["ratio_to_floor"].items()]
    table = as_table(["", "exact W1", "over the floor"], [*rows, ("real training images (floor)", number(result["floor"]), 1)])
    return f"{table}\n\n{result['images']:,} images, {result['seconds']:.0f} s of training each, {result['compared']:,} compared."


def evaluate_oracles(result: Result) -> str:
    rows = []
    for case, found in result["cases"].items():
        for metric, each in found.items():
            at_n = each.get("pgen at N")
            pgen, jetnet = (f"{number(each[v])} ± {number(each[e])}" for v, e in (("pgen", "spread"), ("jetnet", "jetnet error")))
            rows.append((case, metric, pgen, number(at_n), jetnet))
    return as_table(["case", "metric", "pgen", "pgen, at N", "jetnet"], rows)


def busy_machine(result: Result) -> str:
    rows = []
    for state, runs in result["states"].items():
        where = state if state == "as it is" else f"next to {result['spinning_processes']} spinning processes"
        for name, run in runs.items():
            if name != "default_over_one_thread":
                rows.append((where, name, number(run["images_per_second"]), number(run["cores"]), number(run["cores_of_others"])))
    ratio = result["states"]["busy"]["default_over_one_thread"]
    spread = f"{number(min(ratio['rounds']))} to {number(max(ratio['rounds']))}"
    table = as_table(["machine", "threads", "images/s", "cores of the run", "cores of other people"], rows)
    times = f"{number(ratio['median'])} times as fast as one ({spread} in {result['rounds']} rounds)"
    return f"{table}\n\nOn the busy machine the default threads are {times}."


def two_commands(result: Result) -> str:
    return as_table(["command", "time"], ((f"`{command}`", f"{seconds} s") for command, seconds in result["seconds"].items()))


def few_steps(result: Result) -> str:
    rows = []
    for name, row in result["samplers"].items():
        values = [number(draw["value"]) for draw in row["draws"]]
        low, high = (max(abs(draw["interval"][side] - draw["value"]) for draw in row["draws"]) for side in (0, 1))
        charge = sum(row["charge"]) / len(row["charge"])
        rows.append((name, number(row["fpd"]), ", ".join(values), f"{number(max(low, high))}", f"{charge:.3f}"))
    table = as_table(["steps", "FPD, mean of the draws", "draws", "± (95 %)", "charge / training"], rows)
    coupling = result["coupling"]
    return (
        f"{table}\n\nThe training tiles that noise is coupled to have {coupling['charge']:.3f} of the charge and "
        f"{coupling['pixels']:.3f} of the pixels above threshold of all training tiles, at χ² {coupling['chi2']:.3f}."
    )


def identical_targets(result: Result) -> str:
    rows = (
        (row["targets"], f"`{row['model']}`", f"{row['blank']:.1%}", f"{row['noise_to_blank']:.1%}",
         f"{row['blank_samples']:.1%}" if "blank_samples" in row else None, number(row["chi2"]))
        for row in result["rows"]
    )  # fmt: skip
    return as_table(["targets", "model", "identical", "noise sent to them", "samples like them", "χ²"], rows)


SHOWN: dict[str, Callable[[Result], str]] = {
    each.__name__: each
    for each in (
        ot_assign, ot_exact, ot_scale, ot_solve, ewm_outer, data_batches, data_scale,
        engine_step, engine_kills, output_kills, engine_hostile, evaluate_all, evaluate_oracles, closure,
        mnist_wasserstein, two_commands, few_steps, identical_targets, busy_machine,
    )
} | {"real_tiles": two_stage, "simulated": two_stage, "ot_exact_triton": ot_exact}  # fmt: skip


def presets() -> str:
    """What each preset gave, from the files beside the presets."""
    from pgen.cli.commands.presets import FOLDER

    rows = []
    for path in sorted(FOLDER.glob("*.json")):
        result = json.loads(path.read_text())
        for model, figures in result["figures"].items():
            physics = figures.get("physics")
            told = f"{number(physics['value'])}, floor {number(physics['floor'])}" if physics else None
            mse = number(figures.get("held_out_mse_over_blank"))
            shared = "" if result["times"].endswith("alone") else " *"
            seconds = f"{number(result['training_seconds'][model])} s{shared}"
            rows.append((f"`{path.stem}`", f"`{model}`", result["images"].partition(":")[0], seconds, told, mse))
    table = as_table(("preset", "model", "images", "training", "physics, mean W1", "held-out MSE / blank"), rows)
    return f"{table}\n\n\\* on a machine that other work shared, which makes the time too long."


def read(name: str) -> Result:
    return json.loads((RESULTS / f"{name}.json").read_text())


def part(name: str, show: Callable[[Result], str]) -> str:
    """What ``show`` makes of a result, with where and when it was measured."""
    result = read(name)
    return f"{show(result)}\n\n{_about(name, result)}"


def _about(name: str, result: Result) -> str:
    machine = result["machine"]
    threads = f"{machine['cores']} cores, {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    where = f"{machine['processor']}, {threads}, {machine['gpu'] or 'no GPU'}"
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return f"<small>`benchmarks/results/{name}.json`, {result['date']}. {where}; {versions}.</small>"


PARTS = {"presets": presets, **{f"benchmark {name}": partial(part, name, show) for name, show in SHOWN.items()}}
