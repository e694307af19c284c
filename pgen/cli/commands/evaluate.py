"""`pgen evaluate`: how good generated images and reconstructions are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pgen.cli.console import command_line, console, echo_message, print_next_steps, progress_bar
from pgen.cli.options import DataRoot, Decoder, Overwrite, Threads
from pgen.utils.paths import expand_option
from pgen.utils.text import printable


class MetricGroup(TyperGroup):
    """Its own commands, and one for `all` and for each installed metric, which is built when it is named."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [ALL, *_metrics(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if own := super().get_command(ctx, cmd_name):
            return own
        from pgen.cli.commands.evaluate_metrics import metric_command

        summaries = {ALL: "Every metric, and a report that opens in a browser.", **_metrics()}
        return metric_command(cmd_name, summaries[cmd_name]) if cmd_name in summaries else None


def _metrics() -> dict[str, str]:
    """Installed metrics with their summaries."""
    from pgen.plugins import registry

    found, problems = registry.metrics()
    for problem in problems:
        echo_message(f"Warning: {problem}", style="yellow")
    return {name: printable(spec.summary) for name, (_, spec) in found.items()}


#: Name of the command that asks every metric.
ALL = "all"

app = typer.Typer(cls=MetricGroup, help="Measure how good generated images and trained models are.", no_args_is_help=True)

#: Mean net charge and mean |charge|, as statistics of sets call them.
KINDS_OF_CHARGE = ("charge_mean", "absolute_charge_mean")

Out = Annotated[
    Path | None,
    typer.Option(help="Folder for results and pictures.", show_default="evaluation/NAME, after what is evaluated", callback=expand_option),
]

Runs = Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders of pgen train.", callback=expand_option)]


@app.callback()
def _group() -> None:
    """Measure how good generated images and trained models are."""


@app.command()
def hamming(
    generated: Annotated[str, typer.Option(help="Generated images, as of pgen sample.")],
    train: Annotated[str, typer.Option(help="Images that the model was trained on.")],
    held_out: Annotated[str, typer.Option(help="Real images that it never saw.")],
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            help="|charge| at or below this is 0 in all sets; may be given several times.",
            show_default="the zero suppression of the generated images",
        ),
    ] = None,
    out: Out = None,
    data_root: DataRoot = None,
    device: Annotated[str, typer.Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:i.")] = "auto",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Are generated images copies: closer to training images than unseen real ones are?"""
    from rich.table import Table

    from pgen.data import open_images, read_all
    from pgen.data.transforms.zero_suppression import suppress
    from pgen.engine.evaluation.threshold import choose_threshold
    from pgen.engine.runtime.device import choose_device
    from pgen.metrics.features.image_statistics import compare_statistics
    from pgen.metrics.memorisation.hamming import hamming as compare
    from pgen.report.figures.hamming import save_hamming
    from pgen.report.figures.image_grid import save_pairs
    from pgen.report.report_directory import EvaluationFolder, write_json

    folder = EvaluationFolder.choose(out, [generated], "hamming.json", overwrite=overwrite)
    place = choose_device(device)
    sources = {"held-out": held_out, "train": train, "generated": generated}
    sets = {name: open_images(source, data_root=data_root) for name, source in sources.items()}
    suppression = {f"{name} images": one.zero_suppression for name, one in sets.items()}
    chosen = [choose_threshold(value, suppression, sets["train"].unit) for value in (threshold or (None,))]
    thresholds = [choice.value for choice in chosen]
    images = {name: read_all(one) for name, one in sets.items()}
    with progress_bar("comparing") as tick:
        result = compare(
            images["generated"], images["train"], images["held-out"], thresholds=thresholds, seed=seed, device=place, progress=tick
        )
    statistics = {
        f"{value:g}": compare_statistics({name: suppress(pixels, value) for name, pixels in images.items()}, value) for value in thresholds
    }
    for choice in chosen:
        console.print(printable(choice.note), soft_wrap=True)
    for at in result.thresholds:
        table = Table("", "generated", "held-out (null)", title=f"threshold {at.threshold:g}")
        for name, distance in at.distances.items():
            memory, near = distance.memorisation, distance.nearest
            table.add_row(
                f"{name}: median distance to train", *(f"{near[key].median:.3g}" for key in ("generated_to_train", "held_out_to_train"))
            )
            low, high = memory.copy_interval
            table.add_row(f"{name}: copy rate", f"{memory.copy_rate:.2%} [{low:.2%}, {high:.2%}]", f"{memory.null_rate:.2%}", style=None)
            table.add_row(f"{name}: Z against held-out", f"{memory.z:.2f}", "0")
        table.add_row("blank images", f"{at.blank_rate['generated']:.2%}", f"{at.blank_rate['held_out']:.2%}")
        mean = {one.name: one for one in statistics[f"{at.threshold:g}"]}
        signed = any(one.charge_mean != one.absolute_charge_mean for one in mean.values())
        net, absolute = ([f"{getattr(mean[name], key):.4g}" for name in ("generated", "held-out")] for key in KINDS_OF_CHARGE)
        table.add_row("mean net charge" if signed else "mean charge", *net)
        if signed:
            table.add_row("mean |charge|", *absolute)
        table.add_row("occupancy", f"{mean['generated'].occupancy_mean:.4f}", f"{mean['held-out'].occupancy_mean:.4f}")
        console.print(table)
        console.print(at.verdict)
    warnings = [*(warning for choice in chosen for warning in choice.warnings), *result.warnings]
    for warning in warnings:
        console.print(printable(f"Warning: {warning}"), style="yellow", soft_wrap=True)
    report = {
        "sources": sources,
        **result.to_dict(),
        "threshold_notes": [choice.note for choice in chosen],
        "warnings": warnings,
        "statistics": {key: [one.to_dict() for one in row] for key, row in statistics.items()},
    }
    pairs = result.thresholds[0].pairs

    def write(draft: Path) -> None:
        save_hamming(draft / "hamming.png", result)
        if pairs:
            left, right = images["generated"][[pair.generated for pair in pairs]], images["train"][[pair.train for pair in pairs]]
            captions = [f"Jaccard {p.jaccard:.2f}, Hamming {p.hamming}" for p in pairs]
            save_pairs(draft / "pairs.png", left, right, captions, unit=sets["train"].unit)
        write_json(draft / "hamming.json", report, ["hamming.png", *(["pairs.png"] if pairs else [])])

    _written(folder.fill(write))
    root = () if data_root is None else ("--data-root", data_root)
    real = ("--train", train, "--held-out", held_out, "--threshold", f"{thresholds[0]:g}", *root)
    print_next_steps(("evaluate", ALL, "--generated", generated, *real))


@app.command()
def losses(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write.", show_default="evaluation/NAME/losses.png", callback=expand_option)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Plot the training curves of one or more runs."""
    from pgen.cli.next_steps import suggest_next_steps
    from pgen.engine.artifacts.run_directory import RunDirectory
    from pgen.report.figures.base import check_picture
    from pgen.report.figures.curves import save_losses
    from pgen.report.report_directory import default_folder
    from pgen.utils.files import refuse_existing

    path = check_picture(out or default_folder(map(str, runs), overwrite=overwrite) / "losses.png")
    refuse_existing(path, overwrite=overwrite)
    save_losses(path, {str(run): RunDirectory.open(run).read_metrics() for run in runs})
    _written([path])
    config = RunDirectory.open(runs[0]).read_config()
    longer = ("train", config["model"], "--resume", runs[0], "--num-epochs", 2 * config["settings"]["num_epochs"])
    print_next_steps(next(iter(suggest_next_steps(runs[0]))), f"{command_line(*longer)} where the curves still fall")


@app.command()
def cost(
    runs: Runs,
    checkpoint: Annotated[str, typer.Option(help="Which saved state: best, last, or the number of a step.")] = "best",
    decoder: Decoder = None,
    out: Out = None,
    device: Annotated[str, typer.Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:i.")] = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """What generators cost: parameters, seconds a training step, images a second, memory."""
    from rich.table import Table

    from pgen.cli.next_steps import suggest_evaluation
    from pgen.engine.inference.benchmark import benchmark_generator
    from pgen.engine.run import Run
    from pgen.engine.runtime.device import choose_device
    from pgen.report.report_directory import EvaluationFolder, write_json

    folder = EvaluationFolder.choose(out, list(map(str, runs)), "cost.json", overwrite=overwrite)
    place, found = choose_device(device), {}
    for run in runs:
        opened = Run.open(run, device=place)
        found[str(run)] = benchmark_generator(opened, opened.load_model(checkpoint), opened.image_decoder(decoder))
    table = Table("", *found)
    costs = list(found.values())
    table.add_row("parameters", *(f"{each.parameters:,}" for each in costs))
    table.add_row("of its decoder", *(f"{each.decoder_parameters:,}" for each in costs))
    steps = ("" if each.seconds_per_step is None else f"{each.seconds_per_step:.3g}" for each in costs)
    table.add_row("seconds a training step", *steps)
    for size in costs[0].samples_per_second:
        table.add_row(f"images a second, {size} at a time", *(f"{each.samples_per_second[size]:,.0f}" for each in costs))
    table.add_row("peak memory", *(f"{each.peak_memory / 2**30:.2f} GiB" for each in costs))
    console.print(table)
    values = {name: each.to_dict() for name, each in found.items()}
    _written(folder.fill(lambda draft: write_json(draft / "cost.json", values, [])))
    print_next_steps(suggest_evaluation(runs[0], runs[0]))


@app.command()
def reconstruction(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of an auto-encoder.", callback=expand_option)],
    held_out: Annotated[str, typer.Option(help="Real images that it never saw.")],
    data: Annotated[str | None, typer.Option(help="Training images.", show_default="those of the run")] = None,
    out: Out = None,
    data_root: DataRoot = None,
    device: Annotated[str, typer.Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:i.")] = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """How well an auto-encoder reconstructs training and held-out images, at each checkpoint, and which checkpoint to use."""
    from rich.table import Table

    from pgen.engine.artifacts.weights import read_header
    from pgen.engine.inference.reconstruct import choose_checkpoint, reconstruct_checkpoints
    from pgen.engine.run import Run
    from pgen.engine.runtime.device import choose_device
    from pgen.metrics.features.image_statistics import ratio
    from pgen.report.figures.curves import save_reconstruction_curve
    from pgen.report.report_directory import EvaluationFolder, write_json

    folder = EvaluationFolder.choose(out, [str(run)], "reconstruction.json", overwrite=overwrite)
    opened = Run.open(run, device=choose_device(device))
    with progress_bar("reconstructing") as tick:
        results = reconstruct_checkpoints(opened, data, held_out, data_root, tick)
    table = Table("step", "train MSE", "held-out MSE", "of predicting zero", "charge", "occupancy")
    for step, (on_train, unseen) in results.items():
        cells = (on_train.mse, unseen.mse, ratio(unseen.mse, unseen.predict_zero_mse), unseen.charge_ratio, unseen.occupancy_ratio)
        table.add_row(str(step), *(f"{value:.4g}" for value in cells))
    console.print(table)
    steps, train_mse = list(results), [train.mse for train, _ in results.values()]
    held_out_mse = [unseen.mse for _, unseen in results.values()]
    choice = choose_checkpoint(opened, dict(zip(steps, held_out_mse, strict=True)))
    console.print(f"Checkpoint to use: step {choice.step}, the best by {choice.by}", highlight=False)
    rows = {str(step): {"train": a.to_dict(), "held_out": b.to_dict()} for step, (a, b) in results.items()}
    zero = next(iter(results.values()))[1].predict_zero_mse

    def write(draft: Path) -> None:
        picture = draft / "reconstruction.png"
        save_reconstruction_curve(picture, steps, train_mse, held_out_mse, chosen=choice.step, predict_zero_mse=zero, unit=opened.info.unit)
        write_json(draft / "reconstruction.json", {"checkpoints": rows, "choice": choice.to_dict()}, [picture.name])

    _written(folder.fill(write))
    is_default = opened.folder.weights.is_file() and read_header(opened.folder.weights).step == choice.step
    print_next_steps(("deploy", run) if is_default else ("deploy", run, "--checkpoint", choice.step))


def _written(paths: Sequence[Path]) -> None:
    console.print("Written: " + ", ".join(map(str, paths)), markup=False, highlight=False, soft_wrap=True)
