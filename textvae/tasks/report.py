"""`textvae report`: report a study, or any runs, as one HTML page, CSV and PNG."""

from pathlib import Path

from textvae.studies.report.page import write_report

__all__ = ["report"]


def report(directory: Path) -> Path:
    """Write the report of a study, or of all runs in a directory, into its folder `report`; the page's path.

    Raises
    ------
    RunError
        If the directory holds neither.
    """
    return write_report(directory)
