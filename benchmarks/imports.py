"""What it costs to bring a large file into a study: time for each phase, rows a second, memory, how long the end locks.

    python benchmarks/imports.py [--rows 100000] [--format kibitz trl] [--stop]

A PostgreSQL of its own with fsync, the import in this process as a worker does it. Memory is this process's peak over
what it had before. `--stop` also stops an import when nine tenths are stored and times the removal.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = "the guest asks whether breakfast is included and until when it is served on a sunday in the garden"
WORDS = TEXT.split()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--format", nargs="+", choices=["kibitz", "trl"], default=["kibitz", "trl"])
    parser.add_argument("--stop", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kibitz-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user where this runs as root
        os.environ |= {"KIBITZ_HOME": folder, "BROKER_URL": "memory://"}
        os.environ["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
        sys.path.insert(0, str(ROOT))
        from webapp import embedded

        with embedded.database():
            import django

            django.setup()
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            for format in asked.format:
                measure(format, asked.rows, stop=False)
            if asked.stop:
                measure("trl", asked.rows, stop=True)


def row(format: str, n: int) -> dict:
    """A row of the size of a short real one: a prompt of 100 words, two answers of 60."""
    text = [" ".join(WORDS[(n + k + i) % len(WORDS)] for i in range(60)) for k in range(2)]
    prompt = f"{n}: " + " ".join(WORDS[(n + i) % len(WORDS)] for i in range(100))
    if format == "trl":
        return {"id": f"row-{n}", "prompt": prompt, "chosen": text[0], "rejected": text[1]}
    return {"kind": "item", "id": f"row-{n}", "prompt": prompt, "candidates": text}


def lines(format: str, rows: int):
    for n in range(rows):
        yield json.dumps(row(format, n)).encode() + b"\n"


def measure(format: str, rows: int, stop: bool) -> None:
    from django.contrib.auth import get_user_model

    from annotation import import_jobs
    from annotation.models import ImportJob
    from annotation.services import create_study

    owner, _ = get_user_model().objects.get_or_create(username="owner")
    study = create_study(name=f"{format}, {rows}", owner=owner)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    job = import_jobs.keep(study=study, by=owner, chunks=lines(format, rows), filename="rows", format=format)
    times: dict[str, float] = {}
    cpu = time.process_time()

    def timed(name: str):
        function = getattr(import_jobs, name)

        def run(*given):
            began = time.perf_counter()
            try:
                return function(*given)
            finally:
                times[name] = time.perf_counter() - began

        setattr(import_jobs, name, run)
        return lambda: setattr(import_jobs, name, function)

    undo = [timed(name) for name in ("_check", "_store", "_open", "_remove")]
    advance = import_jobs._advance

    def wish(job, **changes):
        if stop and job.status == "storing" and job.done >= 0.9 * rows:
            ImportJob.objects.filter(pk=job.pk).update(cancel_asked=True)
        advance(job, **changes)

    import_jobs._advance = wish
    import_jobs.run(job.pk)
    import_jobs._advance = advance
    for one in undo:
        one()
    job.refresh_from_db()
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    total = sum(times.values())
    print(
        f"{format}: {rows:,} rows {job.status} in {total:.1f} s ({rows / total:,.0f} rows/s): "
        + ", ".join(f"{name.strip('_')} {seconds:.1f} s" for name, seconds in times.items())
        + f"; peak memory +{peak:.0f} MiB; "
        f"CPU of the worker {time.process_time() - cpu:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
