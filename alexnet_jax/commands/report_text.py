"""The texts and tables of the page about a run, from what its directory says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_jax.commands.run_facts import RunFacts
from alexnet_jax.config import schema, validate
from alexnet_jax.evaluate.view_places import describe_views
from alexnet_jax.models.architecture import Architecture
from alexnet_jax.report.run_result import BASELINE_NAMES
from alexnet_jax.report.text import format_percent
from alexnet_jax.train import timing
from alexnet_jax.train.timing import format_duration


def describe_progress(facts: RunFacts) -> str:
    """Return the verdict on a run that was not evaluated yet."""
    if not facts.metrics:
        imported = facts.stored.get('imported')
        begun = 'Its weights were imported' if imported else 'No step was logged yet'
        return f'Not evaluated yet. {begun}; --mode=evaluate measures its error.'
    epoch, total = facts.last_value('epoch') or 0.0, facts.fields.get('train.num_epochs')
    done = f'{facts.metrics[-1]["step"]:,} steps, {epoch:.3g} of {total:g} epochs'
    if (error := facts.last_value('validation_top1_error')) is not None:
        measured = f'the newest top-1 error on the validation images is {format_percent(error)}'
        return f'Not evaluated yet. After {done} {measured}.'
    loss = facts.last_value('loss')
    return (
        f'Not evaluated yet. After {done} the training loss is {loss:.3f}.' if loss else f'Not evaluated yet: {done}.'
    )


def list_numbers(facts: RunFacts, arch: Architecture | None) -> list[tuple[str, str, str]]:
    """Return the figures of a run: label, value, note."""
    found: list[tuple[str, str, str]] = []
    if measured := facts.measured:
        low, high = (format_percent(bound) for bound in measured.interval)
        scored = f'{measured.images:,} {measured.split} images, {describe_views(measured.views)}'
        found += [
            ('top-1 error', format_percent(measured.top1_error), f'95 % interval {low} to {high}'),
            ('top-5 error', format_percent(measured.top5_error), scored),
        ]
        if measured.loss is not None:
            found.append(('loss', f'{measured.loss:.3f}', 'nats'))
    if facts.info:
        classes = len(facts.info.class_names)
        found.append(('chance', format_percent(1 - 1 / classes), f'{classes:,} classes'))
    if result := facts.result:
        baseline = result['baseline']
        found += [
            (
                'without a network',
                format_percent(baseline['best']),
                f'nearest neighbors on {BASELINE_NAMES[baseline["kind"]]}',
            ),
            ('training', format_duration(result['seconds']), f'{result["images_per_second"]:,.0f} images/s'),
            ('epochs', f'{result["epochs"]:.3g}', f'{result["checkpoint_step"]:,} steps'),
        ]
    if arch:
        exchanged = sum(arch.numbers_exchanged().values())
        crossing = f'{exchanged:,} numbers per image cross' if exchanged else 'nothing crosses'
        columns = f'{arch.columns} columns, {crossing}' if arch.columns > 1 else 'one column'
        found.append(('parameters', f'{sum(arch.parameter_counts().values()):,}', columns))
    return found


def describe_curves(facts: RunFacts) -> str:
    """Return the curves as a sentence."""
    parts = []
    for key, name in (
        ('loss', 'training loss'),
        ('validation_loss', 'validation loss'),
        ('top1_error', 'training top-1 error'),
        ('validation_top1_error', 'validation top-1 error'),
    ):
        values = [row[key] for row in facts.metrics if key in row]
        if values:
            first, last = (format_percent(v) if 'error' in key else f'{v:.2f}' for v in (values[0], values[-1]))
            parts.append(f'{name} from {first} to {last}')
    epochs = facts.last_value('epoch') or 0.0
    return f'Curves over {epochs:.3g} epochs: {", ".join(parts)}.'


def describe_network(arch: Architecture) -> str:
    """Return the layers with weights and what crosses between columns, as a sentence."""
    shapes = arch.activation_shapes()
    layers = ', '.join(f'{name} {" by ".join(map(str, shapes[name]))}' for name in arch.parameter_counts())
    exchanged = ', '.join(f'{number:,} at {layer}' for layer, number in arch.numbers_exchanged().items())
    crossing = f' Numbers of an image that cross between the columns: {exchanged}.' if exchanged else ''
    number = f'{arch.columns} columns' if arch.columns > 1 else 'one column'
    return f'The network {arch.name} in {number}, layer by layer: {layers}.{crossing}'


def list_differences(deciding: Mapping[str, object]) -> list[tuple[str, str, str, str]]:
    """Return the fields that decide the result and are not the paper's: name, value, the paper's, meaning."""
    paper = validate.result_fields(schema.default_config())
    return [
        (field, format_value(value), format_value(paper[field]), schema.FIELDS[field].help)
        for field, value in deciding.items()
        if value != paper[field]
    ]


def format_value(value: object) -> str:
    """Return the value of a field; an empty text says so."""
    return 'empty' if value == '' else str(value)


def list_phases(rows: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[str, str, float]], str]:
    """Return the time by phase (name, duration, share), the longest first, and a sentence about the whole."""
    sums = {phase: seconds for phase, seconds in timing.sum_phases(rows).items() if seconds}
    total, starts = sum(sums.values()), sum('start_seconds' in row for row in rows)
    if not total:
        return [], ''
    ordered = sorted(sums.items(), key=lambda pair: -pair[1])
    times = 'once' if starts < 2 else f'{starts} times'
    note = f'{format_duration(total)} in all; the command was started {times}.'
    return [(timing.PHASES[phase], format_duration(seconds), seconds / total) for phase, seconds in ordered], note
