"""`python -m tests.golden FOLDER`: every stem of a folder against our code, as a table (tests/references/README.md)."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.golden import apm_preprocess, cam_apm_unet, chunk_loop, mawe_warp, randomized_blending, refiner_unet
from tests.golden.folder import GoldenError, GoldenFolder
from tests.golden.report import StemReport, table
from tests.golden.rounding import THREAD_COUNTS, rounds_as_published, threads
from tests.golden.stem import Runner, Stem

RUNNERS: dict[str, Runner] = {
    "apm_preprocess": apm_preprocess.run,
    "cam_apm_unet": cam_apm_unet.run,
    "chunk_loop": chunk_loop.run,
    "mawe_warp": mawe_warp.run,
    "randomized_blending": randomized_blending.run,
    "refiner_unet": refiner_unet.run,
}


def main(arguments: Sequence[str]) -> int:
    """Print the table of the folder named; 1 if anything is over tolerance, damaged, missing or unknown."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tests.golden FOLDER\n")
        return 2
    try:
        folder = GoldenFolder(Path(arguments[0]))
        folder.check_sums()
        stems = folder.stems()
        if not stems:
            raise GoldenError(f"{arguments[0]} holds no golden numbers")
    except GoldenError as error:
        sys.stderr.write(f"golden: {error}\n")
        return 1
    reports = [report_on(folder, stem) for stem in stems]
    sys.stdout.write(table(reports) + "\n")
    if all(report.ok for report in reports):
        return 0
    sys.stdout.write("golden: FAIL\n")
    if not rounds_as_published():
        sys.stdout.write("golden: this processor rounds differently from the one that made the numbers\n")
    return 1


def report_on(folder: GoldenFolder, name: str) -> StemReport:
    """Compute one stem and compare; if rounding alone can be why it fails, also with other numbers of threads."""
    if name not in RUNNERS:
        return StemReport(name, failure="unknown stem")
    try:
        stem = Stem.open(folder, name)
        reports = (_computed(stem, count) for count in THREAD_COUNTS)
        first = next(reports)
        return first if first.ok or first.failure else next((report for report in reports if report.ok), first)
    except GoldenError as error:
        return StemReport(name, failure=str(error))
    except KeyError as error:
        return StemReport(name, failure=f"its sidecar lacks {error}")
    except (RuntimeError, ValueError) as error:
        # torch's error for shapes that do not match one another or the constants.
        return StemReport(name, failure=f"its files do not fit together: {str(error).splitlines()[0]}")


def _computed(stem: Stem, num_threads: int) -> StemReport:
    with threads(num_threads), torch.no_grad():
        findings = tuple(RUNNERS[stem.name](stem))
    missed = stem.outputs() - {finding.tensor for finding in findings}
    failure = f"not computed: {', '.join(sorted(missed))}" if missed else ""
    return StemReport(stem.name, findings, failure=failure, num_threads=num_threads)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
