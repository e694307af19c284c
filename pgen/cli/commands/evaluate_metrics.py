"""`pgen evaluate all`, and a command for each metric: generated images against real ones, with a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.main import get_command

from pgen.cli.commands.evaluate import ALL
from pgen.cli.console import console, errors, print_next_steps, progress_bar
from pgen.cli.options import DataRoot, Decoder, Overwrite, Threads
from pgen.utils.paths import expand_option
from pgen.utils.text import printable, shorten

if TYPE_CHECKING:
    from pgen.metrics.runner import Evaluation

#: Colours of verdicts; any other is dim.
_STYLES = {"as real": "green", "worse": "red", "beyond": "yellow"}


def metric_command(name: str, summary: str) -> Any:
    """The command of one metric, or of all."""

    def command(
        generated: Annotated[
            list[str],
            typer.Option(help="Generated images, or a run folder; given several times, they are compared.", callback=expand_option),
        ],
        train: Annotated[str, typer.Option(help="Images that the model was trained on.")],
        held_out: Annotated[str, typer.Option(help="Real images that it never saw.")],
        threshold: Annotated[
            float | None,
            typer.Option(
                min=0, help="|charge| at or below this is 0 in all sets.", show_default="the zero suppression that the run was trained with"
            ),
        ] = None,
        out: Annotated[
            Path | None,
            typer.Option(help="Folder for the report.", show_default="evaluation/NAME, after what is evaluated", callback=expand_option),
        ] = None,
        n: Annotated[int, typer.Option("-n", "--n", min=20, help="Images to generate, where a run is given.")] = 10_000,
        checkpoints: Annotated[
            str, typer.Option("--checkpoint", "--checkpoints", help="Which saved state of a run: best, last, the number of a step, or all.")
        ] = "best",
        decoder: Decoder = None,
        features: Annotated[
            str | None, typer.Option(help="A function of your own that describes images, in place of pgen's: package.module:function.")
        ] = None,
        fail_if_copy_rate: Annotated[
            float | None, typer.Option(min=0, max=1, help="End with exit code 1 if a larger share are copies of training images.")
        ] = None,
        data_root: DataRoot = None,
        device: Annotated[str, typer.Option(help="Where to compute: auto (a GPU if there is one), cpu, cuda or cuda:i.")] = "auto",
        threads: Threads = None,
        seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
        overwrite: Overwrite = False,
    ) -> None:
        from pgen.data.io.write import refuse_count
        from pgen.engine.evaluation.evaluate import EvaluateRequest, run_evaluation
        from pgen.engine.runtime.device import choose_device
        from pgen.errors import PgenError
        from pgen.report.report_directory import EvaluationFolder

        if fail_if_copy_rate is not None and name not in (ALL, "memorisation"):
            raise PgenError(f"--fail-if-copy-rate {fail_if_copy_rate:g}: {name} does not look for copies; ask memorisation, or all.")
        folder = EvaluationFolder.choose(out, generated, "results.json", overwrite=overwrite)
        refuse_count(n)
        request = EvaluateRequest(
            metrics=() if name == ALL else (name,),
            generated=tuple(generated),
            train=train,
            held_out=held_out,
            threshold=threshold,
            n=n,
            checkpoint=checkpoints,
            decoder=decoder,
            features=features,
            seed=seed,
            data_root=data_root,
        )
        with progress_bar() as bar:
            report = run_evaluation(request, choose_device(device), bar.start_task)
        console.print(printable(report.about["threshold_note"]), soft_wrap=True)
        for warning in report.warnings:
            _warn(warning)
        for evaluation in report.evaluations:
            _show(evaluation)
        written = folder.fill(report.write)
        console.print("Written: " + ", ".join(map(str, written)), markup=False, highlight=False, soft_wrap=True)
        page = next(path for path in written if path.suffix == ".html")
        runs = [("deploy", each) for each in generated if Path(each).is_dir()]
        print_next_steps(f"open {page} in a browser", *runs[:1])
        if fail_if_copy_rate is not None:
            _judge_copies(report.evaluations, fail_if_copy_rate)

    stub = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    stub.command(name=name, help=summary)(command)
    return get_command(stub)


def _show(evaluation: Evaluation) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "value", "floor", "95 % interval", "n", "", title=shorten(evaluation.name))
    for finding in evaluation.results.values():
        for found in finding.measures:
            if found.headline:
                low, high = found.interval
                verdict = Text(found.verdict, style=_STYLES.get(found.verdict, "dim"))
                numbers = (f"{found.value:.4g}", f"{found.floor:.4g}", f"{low:.4g} to {high:.4g}", str(found.n))
                table.add_row(shorten(found.name), *numbers, verdict)
        table.add_section()
    if evaluation.results:
        console.print(table)
    for reason, measures in evaluation.unclear().items():
        console.print(printable(f"Cannot be told: {', '.join(map(shorten, measures))}: {reason}."), soft_wrap=True)
    for finding in evaluation.results.values():
        for note in finding.notes:
            console.print(printable(note), soft_wrap=True)
        for warning in finding.warnings:
            _warn(warning)
    for why in dict.fromkeys(evaluation.skipped.values()):
        names = ", ".join(metric for metric, found in evaluation.skipped.items() if found == why)
        console.print(printable(f"{evaluation.name}: {names} not asked. {why}"), style="dim", soft_wrap=True)


def _judge_copies(evaluations: Sequence[Evaluation], limit: float) -> None:
    """Exit code 1 where both distances find more copies than ``limit``, or nothing could be judged."""
    for evaluation in evaluations:
        if "memorisation" not in evaluation.results:
            told = f"{evaluation.name}: not judged, so copies may be among the images. {evaluation.skipped.get('memorisation', '')}"
            errors.print(printable(told), style="red", soft_wrap=True)
            raise typer.Exit(1)
        rates = [found.value for found in evaluation.results["memorisation"].measures if found.name.startswith("copy rate")]
        if min(rates) > limit:
            told = f"{evaluation.name}: {min(rates):.2%} of the images are copies, more than {limit:.2%}."
            errors.print(printable(told), style="red", soft_wrap=True)
            raise typer.Exit(1)


def _warn(text: str) -> None:
    console.print(printable(f"Warning: {text}"), style="yellow", soft_wrap=True)
