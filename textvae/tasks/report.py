"""`textvae report`: report a study as one HTML page, CSV and PNG."""

from pathlib import Path

from textvae.studies.report.page import write_report

__all__ = ["report"]


def report(directory: Path) -> Path:
    """Write the report of a study into its folder `report`, and return the page's path.

    Raises
    ------
    RunError
        If the directory holds no study.
    """
    return write_report(directory)
