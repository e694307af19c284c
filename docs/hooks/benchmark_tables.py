"""Tables of the results in benchmarks/results, with the date, machine and versions of each file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks/results"

Result = dict[str, Any]


def make_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def format_number(value: float | None) -> str:
    """Format a number with three significant digits, or as a whole number from 100 to a million."""
    if value is None:
        return ""
    return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def format_ratio(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} ×" if value >= 100 else f"{value:.2g} ×"


def summary() -> str:
    """One line for each comparison with another library."""
    assign = {(row["case"], row["cost"]): row["times_slower_than_pgen.ot"] for row in read_result("ot_assign")["results"]}
    solve = read_result("ot_solve")["results"][0]["best"]
    batches = {row["way"]: row["later"] for row in read_result("data_batches")["ways"]}
    neighbours = read_result("evaluate_all")["neighbours"]["times_faster"]
    overhead = read_result("engine_step")["seconds_per_step"]["gan 64x64"]["overhead"]
    larcv3 = batches["pgen, LArCV3"] / batches["LArCV3, h5py, DataLoader"]
    rows = [
        ("exact assignment to 60,000 dense targets, l1", "FAISS, the fastest of five", assign["dense 64 x 60,000 x 784", "l1"]["faiss"]),
        (
            "exact assignment to 50,000 sparse images, l1",
            "FAISS, the fastest of five",
            assign["2 % lit, 64 x 50,000 x 4,096", "l1"]["faiss"],
        ),
        ("semi-discrete transport to 4,000 latent codes", "OTT-JAX", solve["OTT-JAX, ema 0.99"]["times_as_long_as_pgen.ot"]),
        ("one outer iteration of EWM", "its authors' loop", read_result("ewm_outer")["times_faster"]),
        ("batches from LArCV3 files, after the first epoch", "h5py and a DataLoader", larcv3),
        ("search for copies among 50,000 images", "NumPy on packed bits", neighbours["numpy"]),
    ]
    table = [(task, other, f"{ratio:.2g} times as fast") for task, other, ratio in rows]
    table.append(("one training step of `gan`", "a minimal PyTorch loop", f"{overhead:.1%} slower"))
    return make_table(["task", "compared with", "pgen is"], table)


def ot_assign(result: Result) -> str:
    peers = list(dict.fromkeys(name for row in result["results"] for name in row["milliseconds"] if name != "pgen.ot"))
    rows = (
        (
            row["case"].replace(" lit", " nonzero").replace(" x ", " × "),
            row["cost"],
            f"{format_number(row['milliseconds']['pgen.ot'])} ms",
            *(format_ratio(row["times_slower_than_pgen.ot"].get(peer)) for peer in peers),
        )
        for row in result["results"]
    )
    return make_table(["samples × targets × dimension", "cost", "pgen.ot", *peers], rows)


def ot_exact(result: Result) -> str:
    rows = ((row["kernel"], row["cost"], f"{row['assignments']:,}", row["wrong"]) for row in result["results"])
    return make_table(["kernel", "cost", "assignments", "wrong"], rows)


def ot_scale(result: Result) -> str:
    costs = list(result["results"][0]["microseconds_a_sample"])
    rows = (
        (f"{row['targets']:,}", *(format_number(row["microseconds_a_sample"][cost]) for cost in costs), row["mebibytes_beyond_targets"])
        for row in result["results"]
    )
    return make_table(["targets", *(f"{cost} [µs per sample]" for cost in costs), "extra memory [MiB]"], rows)


def ot_solve(result: Result) -> str:
    peers = [name for name in result["results"][0]["best"] if name != "pgen.ot"]

    def cell(best: Result, cap: float) -> str:
        if best["seconds"] is None:
            return f"> {cap:g} s"
        return f"{format_number(best['seconds'])} s ({format_ratio(best['times_as_long_as_pgen.ot'])})"

    rows = (
        (
            f"{row['problem']}, {row['targets'][0]:,} × {row['targets'][1]}",
            row["cost"],
            row["goal"],
            f"{format_number(row['best']['pgen.ot']['seconds'])} s",
            *(cell(row["best"][peer], row["cap"]) for peer in peers),
        )
        for row in result["results"]
    )
    return make_table(["problem", "cost", "χ² to reach", "pgen.ot", *peers], rows)


def ewm_outer(result: Result) -> str:
    loops = {"authors' loop": result["authors"], "pgen": result["pgen"]}
    rows = (
        (name, f"{row['steps']:,}", f"{format_number(row['ots_seconds'])} s", f"{format_number(row['fit_seconds'])} s",
         format_number(row["chi2"]), format_number(row["transport_cost_after"]))
        for name, row in loops.items()
    )  # fmt: skip
    table = make_table(["", "steps", "solve", "fit", "χ² of the frozen potential", "transport cost afterwards"], rows)
    return f"{table}\n\nThe transport cost before the iteration was {format_number(result['transport_cost_before'])}."


def data_batches(result: Result) -> str:
    rows = (
        (row["way"], format_number(row["first_epoch"]), format_number(row["later"]), format_number(row["peak_mib"]))
        for row in result["ways"]
    )
    return make_table(["reader", "first epoch [images/s]", "later epochs [images/s]", "memory [MiB]"], rows)


def data_scale(result: Result) -> str:
    rows = ((f"`{row['command']}`", f"{row['seconds']} s", f"{row['peak_gib']:.2f} GiB") for row in result["commands"])
    return make_table(["command", "time", "memory"], rows)


def engine_step(result: Result) -> str:
    rows = (
        (name, f"{row['pgen'] * 1000:.1f}", f"{row['by hand'] * 1000:.1f}", f"{row['overhead']:.1%}")
        for name, row in result["seconds_per_step"].items()
    )
    return make_table(["model and images", "pgen [ms per step]", "minimal loop [ms per step]", "overhead"], rows)


def engine_kills(result: Result) -> str:
    moments = ", ".join(f"{count} {moment}" for moment, count in result["during"].items())
    rows = [
        ("kills", f"{result['kills']} ({moments})"),
        ("newest checkpoint also truncated on purpose", result["torn_after_the_kill"]),
        ("other checkpoints unreadable, or different from those of an undisturbed run", result["unreadable_or_unequal"]),
    ]
    return make_table(["", "count"], rows)


def output_kills(result: Result) -> str:
    moments, outputs = (", ".join(f"{count} {what}" for what, count in result[key].items()) for key in ("during", "left"))
    commands = len({kill["command"] for kill in result["log"]})
    rows = [
        (f"kills of {commands} commands", f"{result['kills']} ({moments})"),
        ("state of the outputs afterwards", outputs),
        ("outputs incomplete, other files changed, or drafts left after the next run", result["half_or_lost"]),
    ]
    return make_table(["", "count"], rows)


def engine_hostile(result: Result) -> str:
    totals: dict[str, list[int]] = {}
    for kind, count in sorted(result["kinds"].items()):
        total = totals.setdefault(" ".join(kind.split()[:2]), [0, 0])
        total[0] += count
        total[1] += result["refused"].get(kind, 0)
    rows = [(kind, *total) for kind, total in totals.items()]
    table = make_table(["file", "cases", "refused with an error message"], rows)
    return f"{table}\n\n{result['cases']:,} cases in all, {result['failed']} failures."


def closure(result: Result) -> str:
    first = next(iter(result["sets"].values()))
    rows = [(name, *(format_number(measure["value"]) for measure in measures.values())) for name, measures in result["sets"].items()]
    return make_table(["images", *first], [("real (floor)", *(format_number(measure["floor"]) for measure in first.values())), *rows])


def classifier(result: Result) -> str:
    head = ["images", "CNN AUC of `c2st`", "95 % interval", "independent network", "twice the width", "twice the epochs"]
    rows = []
    for name, row in result["sets"].items():
        others = (format_auc(row.get(key)) for key in ("independent_auc", "twice_the_width", "twice_the_epochs"))
        rows.append((name, format_auc(row["pgen"]["cnn_auc"]), " to ".join(map(format_auc, row["pgen"]["interval"])), *others))
    return make_table(head, rows)


def format_auc(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def evaluate_all(result: Result) -> str:
    seconds = result["seconds_by_metric"]
    return make_table(seconds, [[f"{format_number(value)} s" for value in seconds.values()]])


def two_stage(result: Result) -> str:
    rows = (
        (row["name"], f"{row['images']:,}", f"{row['charge_mean']:.0f} ± {row['charge_std']:.0f}", f"{row['charge_ratio']:.3f}",
         f"{row['occupancy_mean']:.4f} ± {row['occupancy_std']:.4f}", f"{row['occupancy_ratio']:.3f}", f"{row['blank_rate']:.2%}")
        for row in result["statistics"].values()
    )  # fmt: skip
    return make_table(["images", "number", "total charge [ADC]", "/ held-out", "occupancy", "/ held-out", "blank"], rows)


def mnist_wasserstein(result: Result) -> str:
    rows = [
        (f"`{model}`", format_number(ratio * result["floor"]), format_number(ratio)) for model, ratio in result["ratio_to_floor"].items()
    ]
    return make_table(["", "exact W1", "/ floor"], [*rows, ("real training images (floor)", format_number(result["floor"]), 1)])


def evaluate_oracles(result: Result) -> str:
    rows = []
    for case, metrics in result["cases"].items():
        for metric, row in metrics.items():
            pgen = f"{format_number(row['pgen'])} ± {format_number(row['spread'])}"
            jetnet = f"{format_number(row['jetnet'])} ± {format_number(row['jetnet error'])}"
            rows.append((case, metric, pgen, format_number(row.get("pgen at N")), jetnet))
    return make_table(["case", "metric", "pgen", "pgen, at N images", "jetnet"], rows)


def goodness_of_fit(result: Result) -> str:
    defects = result["defects"]
    columns = {"FPD": "`fpd`", "KPD": "`kpd`", "mean KS": "`ks`, mean", "sliced KS": "`ks`, sliced", "trees AUC": "BDT"}
    columns |= {"NPLM, width 0.9, penalty 0.1": "`nplm`", "NPLM, width 0.9, penalty 0.1, held-out permuted": "NPLM, direct"}
    rows = ((defect, *(f"{shares[test]:.0%}" for test in columns)) for defect, shares in defects.items())
    return make_table(["defect", *columns.values()], rows)


def calibration(result: Result) -> str:
    rows = []
    for n, measures in result["sizes"].items():
        rates = [(row["type_1"][0], row["coverage"][0]) for row in measures.values() if "coverage" in row]
        errors, coverages = map(sorted, zip(*rates, strict=True))
        repetitions = max(row["repetitions"] for row in measures.values())
        rows.append(
            (n, repetitions, len(rates), *(f"{part[len(part) // 2]:.1%} ({part[0]:.1%} to {part[-1]:.1%})" for part in (errors, coverages)))
        )
    return make_table(["images of a set", "repetitions", "measures", "type-1 error, median (range)", "coverage, median (range)"], rows)


def power(result: Result) -> str:
    metrics = ("physics", "profiles", "fpd", "kpd", "wasserstein", "prdc", "memorisation")
    rows = []
    for defect, shares in result["defects"].items():
        cells = []
        for metric in metrics:
            of_metric = {name.partition(": ")[2]: share for name, share in shares.items() if name.startswith(f"{metric}: ")}
            best = max(of_metric, key=lambda name: (of_metric[name], name.endswith("W1"), name))
            cells.append(f"{of_metric[best]:.0%} ({best})")
        rows.append((defect, *cells))
    return make_table(["defect", *(f"`{metric}`" for metric in metrics)], rows)


def busy_machine(result: Result) -> str:
    rows = []
    for state, runs in result["states"].items():
        load = "no other load" if state == "as it is" else f"next to {result['spinning_processes']} busy processes"
        for name, run in runs.items():
            if name != "default_over_one_thread":
                numbers = (run["images_per_second"], run["cores"], run["cores_of_others"])
                rows.append((load, name, *map(format_number, numbers)))
    ratio = result["states"]["busy"]["default_over_one_thread"]
    spread = f"{format_number(min(ratio['rounds']))} to {format_number(max(ratio['rounds']))}"
    table = make_table(["machine", "threads", "images/s", "cores used by the run", "cores used by other jobs"], rows)
    return (
        f"{table}\n\nOn the busy machine the default is {format_number(ratio['median'])} times as fast as one thread "
        f"({spread} in {len(ratio['rounds'])} rounds)."
    )


def two_commands(result: Result) -> str:
    return make_table(["command", "time"], ((f"`{command}`", f"{seconds} s") for command, seconds in result["seconds"].items()))


def few_steps(result: Result) -> str:
    rows = []
    for name, row in result["samplers"].items():
        values = [format_number(draw["value"]) for draw in row["draws"]]
        error = max(abs(draw["interval"][side] - draw["value"]) for draw in row["draws"] for side in (0, 1))
        charge = sum(row["charge"]) / len(row["charge"])
        rows.append((name, format_number(row["fpd"]), ", ".join(values), format_number(error), f"{charge:.3f}"))
    return make_table(["solver and steps", "FPD, mean", "FPD of each draw", "± (95 %)", "mean charge / training"], rows)


def identical_targets(result: Result) -> str:
    rows = (
        (row["targets"], f"`{row['model']}`", f"{row['blank']:.1%}", f"{row['noise_to_blank']:.1%}",
         f"{row['blank_samples']:.1%}" if "blank_samples" in row else None, format_number(row["chi2"]))
        for row in result["rows"]
    )  # fmt: skip
    return make_table(["targets", "model", "blank targets", "noise sent to them", "blank samples", "χ²"], rows)


def presets() -> str:
    """What each preset gave, from the JSON files next to the presets."""
    from pgen.cli.commands.presets import FOLDER

    rows = []
    for path in sorted(FOLDER.glob("*.json")):
        result = json.loads(path.read_text())
        for model, figures in result["figures"].items():
            physics = figures.get("physics")
            w1 = f"{format_number(physics['value'])} (floor {format_number(physics['floor'])})" if physics else None
            mse = format_number(figures.get("held_out_mse_over_blank"))
            mark = "" if result["times"].endswith("alone") else " *"
            seconds = f"{format_number(result['training_seconds'][model])} s{mark}"
            rows.append((f"`{path.stem}`", f"`{model}`", result["images"].partition(":")[0], seconds, w1, mse))
    table = make_table(("preset", "model", "images", "training", "physics, mean W1", "held-out MSE / blank"), rows)
    return f"{table}\n\n\\* measured while other work ran on the machine, so the time is too long."


def read_result(name: str) -> Result:
    return json.loads((RESULTS / f"{name}.json").read_text())


def render(name: str, show: Callable[[Result], str]) -> str:
    """Return the table of a result, and a line on where and when it was measured."""
    result = read_result(name)
    return f"{show(result)}\n\n{_provenance(name, result)}"


def _provenance(name: str, result: Result) -> str:
    machine = result["machine"]
    threads = f"{machine['cores']} cores, {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    where = f"{machine['processor']}, {threads}, {machine['gpu'] or 'no GPU'}"
    versions = ", ".join(f"{package} {version}" for package, version in result["versions"].items())
    return f"<small>`benchmarks/results/{name}.json`, {result['date']}. {where}; {versions}.</small>"


_TABLES: dict[str, Callable[[Result], str]] = {
    show.__name__: show
    for show in (
        ot_assign, ot_exact, ot_scale, ot_solve, ewm_outer, data_batches, data_scale, engine_step, engine_kills, output_kills,
        engine_hostile, evaluate_all, evaluate_oracles, classifier, calibration, power, goodness_of_fit, closure, mnist_wasserstein,
        two_commands, few_steps, identical_targets, busy_machine,
    )
} | {"real_tiles": two_stage, "simulated": two_stage, "ot_exact_triton": ot_exact}  # fmt: skip

PARTS: dict[str, Callable[[], str]] = {
    "summary": summary,
    "presets": presets,
    **{f"benchmark {name}": partial(render, name, show) for name, show in _TABLES.items()},
}
