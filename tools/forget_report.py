"""What tools.forget removed, and what is left to the user."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(kw_only=True)
class Report:
    """What was removed, and what the user must decide or do."""

    sessions: list[str]
    files: int = 0
    rows: int = 0
    outside: list[str] = field(default_factory=list)  # the user's recordings outside the data folder
    manifests: list[str] = field(
        default_factory=list
    )  # the user's manifests outside the data folder from which rows were removed
    unreached: list[str] = field(default_factory=list)  # recordings and stores that could not be reached, and why
    exported: list[str] = field(default_factory=list)  # copies of exports that are not in reach, and who has them
    copies: list[str] = field(default_factory=list)  # sessions that were left out as copies of the removed ones
    weights: list[Path] = field(default_factory=list)  # models of this folder, if train sessions were removed


def print_report(report: Report) -> None:
    print(f"forgotten: {len(report.sessions)} sessions, {report.rows} rows, {report.files} files")
    if report.outside:
        print("recordings that are unchanged, as they are yours or hold another session too; delete them yourself:")
        print("\n".join(f"  {path}" for path in report.outside))
    if report.manifests:
        print("your manifests from which the rows of these sessions were removed:")
        print("\n".join(f"  {path}" for path in report.manifests))
    if report.unreached:
        print("NOT reached: the person may still be in it; fix this and run the same command again:")
        print("\n".join(f"  {line}" for line in report.unreached))
    if report.exported:
        print("copies of exports with this person, which only their owners can delete; ask them to:")
        print("\n".join(f"  {line}" for line in report.exported))
    if report.copies:
        print(f"no longer copies of these sessions: {', '.join(report.copies)}; run the stages again (make repro)")
    if report.weights:
        print(
            "models in this folder: if they were trained here on these sessions, train them again without the sessions:"
        )
        print("\n".join(f"  {path}" for path in report.weights))
