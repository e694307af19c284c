"""`pgen evaluate`: score generated images, reconstructions and generators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from pgen.cli.console import command_line, console, echo, echo_message, print_next_steps, progress_bar
from pgen.cli.error_messages import with_flags
from pgen.cli.options import Checkpoint, DataRoot, Decoder, Device, Overwrite, Seed, Threads
from pgen.utils.paths import expand_option
from pgen.utils.text import printable, shorten

if TYPE_CHECKING:
    from pgen.metrics.runner import Evaluation
    from pgen.report.tables import Table

#: Name of the command that computes every metric.
ALL = "all"
#: Colours of verdicts in a table.
_STYLES = {"as real": "green", "worse": "red", "beyond": "yellow", "cannot be told": "dim"}

Out = Annotated[
    Path | None,
    typer.Option(help="Folder for results and figures.", show_default="evaluation/NAME, after what is evaluated", callback=expand_option),
]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders of pgen train.", callback=expand_option)]
Train = Annotated[str, typer.Option(help="Images that the model was trained on.")]
HeldOut = Annotated[str, typer.Option(help="Real images that the model was not trained on.")]


class MetricGroup(TyperGroup):
    """Commands of `pgen evaluate`: its own, `all` and, built when named, one per metric."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List `all`, the metrics and the other commands."""
        return [ALL, *_metric_summaries(), *super().list_commands(ctx)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is none of this name."""
        if own := super().get_command(ctx, cmd_name):
            return own
        summaries = {ALL: "All metrics, in a report that opens in a browser.", **_metric_summaries()}
        return metric_command(cmd_name, summaries[cmd_name]) if cmd_name in summaries else None


def _metric_summaries() -> dict[str, str]:
    from pgen.plugins import registry

    metrics, problems = registry.metrics()
    for problem in problems:
        echo_message(f"Warning: {problem}", style="yellow")
    return {name: printable(spec.summary) for name, (_, spec) in metrics.items()}


app = typer.Typer(cls=MetricGroup, help="Evaluate generated images and trained models.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Evaluate generated images and trained models."""


def metric_command(name: str, summary: str) -> Any:
    """Build the command of one metric, or of `all`."""

    def command(
        generated: Annotated[
            list[str],
            typer.Option(help="Generated images, or a run folder. Repeat it to compare several.", callback=expand_option),
        ],
        train: Train,
        held_out: HeldOut,
        threshold: Annotated[
            float | None,
            typer.Option(
                min=0, help="Zero suppression of all sets: |charge| at or below this is 0.", show_default="that of the training of the run"
            ),
        ] = None,
        out: Out = None,
        n: Annotated[int, typer.Option("-n", "--n", min=20, help="Images to generate from a run.")] = 10_000,
        checkpoints: Annotated[
            str, typer.Option("--checkpoint", "--checkpoints", help="Checkpoint of a run: best, last, a step number, or all.")
        ] = "best",
        decoder: Decoder = None,
        features: Annotated[
            str | None, typer.Option(help="Your own function that computes features of images, as package.module:function.")
        ] = None,
        downstream: Annotated[
            str | None, typer.Option(help="Your own reconstruction, whose outputs are compared, as package.module:function.")
        ] = None,
        fail_if_copy_rate: Annotated[
            float | None,
            typer.Option(min=0, max=1, help="Exit with code 1 if a larger fraction of the images are copies of training images."),
        ] = None,
        fail_if: Annotated[
            list[str] | None,
            typer.Option(
                metavar="CONDITION", help='Exit with code 1 if this holds, as in "c2st.CNN AUC > 0.9" or "fpd.FPD is worse". Repeatable.'
            ),
        ] = None,
        data_root: DataRoot = None,
        device: Device = "auto",
        threads: Threads = None,
        seed: Seed = 0,
        overwrite: Overwrite = False,
    ) -> None:
        from pgen.engine.evaluation.evaluate import evaluate
        from pgen.errors import ConfigError, option
        from pgen.metrics.gates import Gate, check_gates
        from pgen.report.report_directory import EvaluationFolder

        if fail_if_copy_rate is not None and name not in (ALL, "memorisation"):
            raise ConfigError(
                f"{option('fail_if_copy_rate', f'{fail_if_copy_rate:g}')}: {name} does not look for copies; use memorisation, or all."
            )
        gates = [Gate.parse(text) for text in fail_if or ()]
        for gate in gates:
            if name not in (ALL, gate.metric):
                raise ConfigError(f"{option('fail_if', gate.text)}: {name} does not compute {gate.metric}; use {gate.metric}, or {ALL}.")
        folder = EvaluationFolder.choose(out, generated, "results.json", overwrite=overwrite)
        with progress_bar() as bar:
            report = evaluate(
                generated,
                train=train,
                held_out=held_out,
                metrics=None if name == ALL else name,
                threshold=threshold,
                n=n,
                seed=seed,
                device=device,
                features=features,
                downstream=downstream,
                checkpoint=checkpoints,
                decoder=decoder,
                data_root=data_root,
                progress=bar.start_task,
            )
        echo(report.about["threshold_note"])
        for warning in report.warnings:
            _warn(warning)
        for evaluation in report.evaluations:
            _show(evaluation, report.table(evaluation.name))
        written = _report_written(folder.fill(report.write))
        page = next(path for path in written if path.suffix == ".html")
        runs = [("deploy", source) for source in generated if Path(source).is_dir()]
        print_next_steps(f"open {page} in a browser", *runs[:1])
        failures = [] if fail_if_copy_rate is None else _check_copies(report.evaluations, fail_if_copy_rate)
        failures += check_gates(gates, report.evaluations)
        for failure in failures:
            echo_message(with_flags(failure), style="red")
        if failures:
            raise typer.Exit(1)

    stub = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    stub.command(name=name, help=summary)(command)
    return get_command(stub)


@app.command()
def hamming(
    generated: Annotated[str, typer.Option(help="Generated images, for example of pgen sample.")],
    train: Train,
    held_out: HeldOut,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            min=0,
            help="Zero suppression of all sets: |charge| at or below this is 0. Repeat it for several.",
            show_default="the zero suppression of the generated images",
        ),
    ] = None,
    out: Out = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    threads: Threads = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Test whether generated images are copies: closer to training images than real ones are."""
    from pgen.engine.evaluation.hamming_report import evaluate_hamming
    from pgen.report.report_directory import EvaluationFolder

    folder = EvaluationFolder.choose(out, [generated], "hamming.json", overwrite=overwrite)
    with progress_bar("comparing") as tick:
        report = evaluate_hamming(
            generated,
            train=train,
            held_out=held_out,
            thresholds=threshold,
            seed=seed,
            device=device,
            data_root=data_root,
            progress=tick,
        )
    for choice in report.thresholds:
        echo(choice.note)
    for table, result in zip(report.tables(), report.result.thresholds, strict=True):
        _print_table(table)
        echo(result.verdict)
    for warning in report.warnings:
        _warn(warning)
    _report_written(folder.fill(report.write))
    root = () if data_root is None else ("--data-root", data_root)
    real = ("--train", train, "--held-out", held_out, "--threshold", f"{report.thresholds[0].value:g}", *root)
    print_next_steps(("evaluate", ALL, "--generated", generated, *real))


@app.command()
def losses(
    runs: Runs,
    out: Annotated[
        Path | None, typer.Option(help="Figure to write.", show_default="evaluation/NAME/losses.png", callback=expand_option)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Plot the training curves of one or more runs."""
    from pgen.cli.next_steps import suggest_next_steps
    from pgen.engine.artifacts.run_directory import RunDirectory
    from pgen.report.figures.base import check_figure_path, save_figure
    from pgen.report.figures.curves import plot_losses
    from pgen.report.report_directory import default_folder
    from pgen.utils.files import refuse_existing

    path = check_figure_path(out or default_folder(map(str, runs), overwrite=overwrite) / "losses.png")
    refuse_existing(path, overwrite=overwrite)
    save_figure(plot_losses({str(run): RunDirectory.open(run).read_metrics() for run in runs}), path)
    _report_written([path])
    config = RunDirectory.open(runs[0]).read_config()
    longer = ("train", config["model"], "--resume", runs[0], "--num-epochs", 2 * config["settings"]["num_epochs"])
    print_next_steps(next(iter(suggest_next_steps(runs[0]))), f"{command_line(*longer)} where the curves still fall")


@app.command()
def cost(
    runs: Runs,
    checkpoint: Checkpoint = "best",
    decoder: Decoder = None,
    out: Out = None,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure the cost of generators: parameters, time per step, images per second, memory."""
    from pgen.cli.next_steps import suggest_evaluation
    from pgen.engine.evaluation.cost_report import evaluate_cost
    from pgen.report.report_directory import EvaluationFolder

    folder = EvaluationFolder.choose(out, list(map(str, runs)), "cost.json", overwrite=overwrite)
    report = evaluate_cost(runs, checkpoint=checkpoint, decoder=decoder, device=device)
    _print_table(*report.tables())
    _report_written(folder.fill(report.write))
    print_next_steps(suggest_evaluation(runs[0], runs[0]))


@app.command()
def reconstruction(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of an auto-encoder.", callback=expand_option)],
    held_out: HeldOut,
    data: Annotated[str | None, typer.Option(help="Training images.", show_default="those of the run")] = None,
    out: Out = None,
    data_root: DataRoot = None,
    device: Device = "auto",
    threads: Threads = None,
    overwrite: Overwrite = False,
) -> None:
    """Reconstruction error of an auto-encoder at each checkpoint, and which checkpoint to use."""
    from pgen.engine.evaluation.reconstruction_report import evaluate_reconstruction
    from pgen.report.report_directory import EvaluationFolder

    folder = EvaluationFolder.choose(out, [str(run)], "reconstruction.json", overwrite=overwrite)
    with progress_bar("reconstructing") as tick:
        report = evaluate_reconstruction(run, held_out=held_out, data=data, data_root=data_root, device=device, progress=tick)
    _print_table(*report.tables())
    echo(f"Checkpoint to use: step {report.choice.step}, the best by {report.choice.by}")
    _report_written(folder.fill(report.write))
    print_next_steps(("deploy", run) if report.is_default else ("deploy", run, "--checkpoint", report.choice.step))


def _show(evaluation: Evaluation, table: Table) -> None:
    if evaluation.results:
        _print_table(table)
    for reason, measures in evaluation.unclear().items():
        echo(f"Cannot be told: {', '.join(map(shorten, measures))}: {reason}.")
    for result in evaluation.results.values():
        for note in result.notes:
            echo(note)
        for warning in result.warnings:
            _warn(warning)
    for reason, metrics in evaluation.skipped_by_reason().items():
        echo(with_flags(f"{evaluation.name}: {', '.join(metrics)} not computed. {reason}"), style="dim")


def _check_copies(evaluations: Sequence[Evaluation], limit: float) -> list[str]:
    """Return a sentence for each set with more copies than ``limit``, or that was not tested."""
    failures = []
    for evaluation in evaluations:
        if evaluation.copy_rate is None:
            reason = evaluation.skipped.get("memorisation", "")
            failures.append(f"{evaluation.name}: not tested, so copies may be among the images. {reason}")
        elif evaluation.copy_rate > limit:
            failures.append(f"{evaluation.name}: {evaluation.copy_rate:.2%} of the images are copies, more than {limit:.2%}.")
    return failures


def _print_table(table: Table) -> None:
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(*table.head, title=table.title or None)
    for section in table.sections:
        for row in section:
            grid.add_row(*(Text(cell, style=_STYLES[cell]) if cell in _STYLES else cell for cell in row))
        grid.add_section()
    console.print(grid)


def _report_written(paths: Sequence[Path]) -> Sequence[Path]:
    echo("Written: " + ", ".join(map(str, paths)))
    return paths


def _warn(text: str) -> None:
    echo(f"Warning: {text}", style="yellow")
