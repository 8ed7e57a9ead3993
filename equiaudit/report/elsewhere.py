"""How the report says what another runtime makes of a file."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from equiaudit.report.escape import terminal
from equiaudit.results.elsewhere import RuntimeComparison


def beside_onnxruntime(found: RuntimeComparison | None) -> Iterator[Text]:
    """Labels, errors and the operation that drifts first; nothing where there is one runtime."""
    if found is None:
        return
    agreed = found.labels - found.label_changes
    yield Text(f"The same {found.images} images in {terminal(found.reference)}:")
    yield Text(
        f"{agreed:,} of {found.labels:,} labels are the same, {found.bit_equal} outputs bit-equal;"
        f" worst difference {found.worst_relative:.1e} of the output range."
    )
    drift = found.drift
    if drift is not None:
        yield Text(
            f"The first operation that drifts: {terminal(drift.node)} ({terminal(drift.op)}), by"
            f" {drift.error:.1e} of its range; what it reads is apart by {drift.inputs:.1e}."
        )
    elif found.label_changes or found.worst_relative > found.tolerance:
        yield Text(
            f"No single operation drifts by more than {found.tolerance:.0e}: the difference comes"
            " from fused operations, or from rounding that adds up."
        )
