"""The report of a stem: one line per tensor with its largest error and its tolerance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Finding:
    """One tensor compared."""

    tensor: str
    error: float
    """Largest absolute difference; infinite if shapes differ, NaN if a value is NaN."""
    tolerance: float
    serving_error: float | None = None
    """The same for the serving network, if it computes this tensor; for information."""
    relative: bool = False
    """Errors and tolerance are relative to the stored numbers."""

    @property
    def ok(self) -> bool:
        """Within tolerance; NaN is not."""
        return self.error <= self.tolerance


@dataclass(frozen=True)
class StemReport:
    """One stem: its findings, or a word instead of them."""

    stem: str
    findings: tuple[Finding, ...] = ()
    failure: str = ""
    num_threads: int = 0
    """Used in the computation."""

    @property
    def ok(self) -> bool:
        """No failure, every finding within tolerance."""
        return not self.failure and all(finding.ok for finding in self.findings)


def largest_error(actual: Tensor, stored: Tensor, *, relative: bool = False) -> float:
    """Largest absolute difference, in float64; `relative`: to the stored numbers, none of which may be 0."""
    if actual.shape != stored.shape:
        return math.inf
    difference = (actual.double() - stored.double()).abs()
    if relative:
        difference = difference / stored.double().abs()
    return float(difference.max()) if difference.numel() else 0.0


def table(reports: Sequence[StemReport]) -> str:
    """All lines, aligned."""
    rows: list[tuple[str, ...]] = [("stem", "tensor", "largest error", "tolerance", "", "serving network", "threads")]
    for report in reports:
        rows += [_row(report, finding) for finding in report.findings]
        if report.failure:
            rows.append((report.stem, report.failure, "", "", "FAIL", "", ""))
    # A failure's message does not widen the column.
    widths = [max(len(row[column]) for row in rows if row[2] or column != 1) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(report: StemReport, finding: Finding) -> tuple[str, ...]:
    serving = "" if finding.serving_error is None else f"{finding.serving_error:.1e}"
    numbers = (f"{finding.error:.1e}", f"{finding.tolerance:.0e}{' rel' if finding.relative else ''}")
    return report.stem, finding.tensor, *numbers, "ok" if finding.ok else "FAIL", serving, str(report.num_threads)
