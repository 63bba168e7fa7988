"""The synthetic province: made once into a cache folder, from a seed, on all cores.

`python -m regions.province --cache DIR` makes it and reports progress as JSON lines.
"""

import argparse
import csv
import fcntl
import json
import multiprocessing
import os
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final, TypeAlias

from regions import truth as manifest
from regions.guard import end_with_stdin
from regions.index import Entry, Index
from regions.objects import Job, Made, Writer
from regions.people import REGIONS, Person, people
from regions.plan import FULL, SCALES, Scale, StudyPlan
from regions.schedule import schedule
from regions.truth import Patient, TrueInstance, TrueSeries, TrueStudy, Truth, default_cache, is_complete

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told the phase ("generate" or "load"), how many instances are done, and of how many."""

_RUN: Final = 40
"""Instances per job: few enough to keep two cores busy to the end, many enough to draw a phantom's noise once."""


class NotOurs(Exception):
    """The cache folder holds something that is not a province."""


def _silent(_phase: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def generate(
    cache: Path, *, seed: int = 1, scale: Scale = FULL, workers: int | None = None, progress: Progress = _silent
) -> None:
    """Make the province unless it is there.

    It grows in a folder beside the cache, which takes its place at the end by a rename: a cache folder is whole
    or absent. What an interrupted run left is discarded. Two processes with the same cache take turns.

    Args:
        cache: the folder to fill.
        seed: same seed, same bytes.
        scale: how large.
        workers: processes, 0 for none beside this one; when None as many as pay.
        progress: called as it goes.

    Raises:
        NotOurs: the folder exists, has content, and none of it is a manifest.
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    with _turn(cache.with_name(f"{cache.name}.lock")):
        if is_complete(cache, seed, scale.name):
            return
        if cache.exists() and any(cache.iterdir()) and not (cache / manifest.MANIFEST).exists():
            raise NotOurs(f"{cache} is not empty and holds no {manifest.MANIFEST}: name another folder, or empty it")
        partial = cache.with_name(f"{cache.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _fill(partial, seed, scale, _workers(scale) if workers is None else workers, progress)
        shutil.rmtree(cache, ignore_errors=True)
        partial.rename(cache)


def _workers(scale: Scale) -> int:
    """A process per core, unless starting them costs more than the work."""
    return (os.cpu_count() or 1) if scale is FULL else 0


@contextmanager
def _turn(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(root: Path, seed: int, scale: Scale, workers: int, progress: Progress) -> None:
    persons = people(seed, scale.patients)
    studies = schedule(seed, scale, persons)
    jobs = list(_jobs(studies, scale))
    total = sum(job.last - job.first for job in jobs)
    made: dict[str, list[Made]] = defaultdict(list)
    done = 0
    for series, results in _results(jobs, root, workers):
        made[series] += results
        done += len(results)
        progress("generate", done, total)
    true = _truth(seed, scale, persons, studies, made)
    _load(root, made, progress)
    with (root / manifest.CROSSWALK).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("health_card_number", "issuer", "patient_id", "issuer_of_patient_id"))
        writer.writerows(manifest.crosswalk(true.patients))
    manifest.write(root, true)


def _jobs(studies: Sequence[StudyPlan], scale: Scale) -> Iterator[Job]:
    """The long series first, so that no core ends alone with one."""
    jobs = [
        Job(study, series, f"{study.study_id}/{series.number:03d}", first, min(first + _RUN, series.count), scale)
        for study in studies
        for series in study.series
        for first in range(0, series.count, _RUN)
    ]
    return iter(sorted(jobs, key=lambda job: job.first - job.last))


def _results(jobs: Sequence[Job], root: Path, workers: int) -> Iterator[tuple[str, list[Made]]]:
    if workers == 0:
        for job in jobs:
            yield job.series.uid, _work(job, root)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        running = {pool.submit(_work, job, root): job for job in jobs}
        for future in as_completed(running):
            yield running[future].series.uid, future.result()


def _work(job: Job, root: Path) -> list[Made]:
    return list(Writer(job, root).write())


def _end_with_parent() -> None:
    """A worker whose parent was killed ends too; the pool alone would let it wait for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _load(root: Path, made: dict[str, list[Made]], progress: Progress) -> None:
    """Enter every instance into the index of each region that holds it."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    for results in made.values():
        for instance in sorted(results, key=lambda one: one.position):
            for region, entry in instance.entries.items():
                entries[region].append(entry)
    total, done = sum(map(len, entries.values())), 0
    for region in REGIONS:
        (root / region).mkdir(exist_ok=True)
        index = Index(root / region)
        index.add(sorted(entries[region], key=lambda entry: entry.sop_instance_uid))
        index.close()
        done += len(entries[region])
        progress("load", done, total)


def _truth(
    seed: int, scale: Scale, persons: Sequence[Person], studies: Sequence[StudyPlan], made: dict[str, list[Made]]
) -> Truth:
    patients = tuple(
        Patient(p.key, p.name, p.sex, p.birth_date, p.health_card_number, p.medical_record_numbers) for p in persons
    )
    return Truth(manifest.VERSION, seed, scale.name, patients, tuple(_true_study(study, made) for study in studies))


def _true_study(study: StudyPlan, made: dict[str, list[Made]]) -> TrueStudy:
    series = tuple(
        TrueSeries(
            plan.uid,
            plan.modality,
            plan.number,
            tuple(_true_instance(one) for one in sorted(made[plan.uid], key=lambda one: one.position)),
        )
        for plan in study.series
    )
    regions = sorted({region for one in series for region in one.regions})
    copies = study.foreign_copies
    return TrueStudy(
        study_instance_uid=study.uid,
        region=study.region,
        patient=study.person.key,
        patient_ids={
            region: study.person.medical_record_numbers[region if region in copies else study.region]
            for region in regions
        },
        accession_numbers={
            region: f"FX{study.accession_number[2:]}" if region in copies else study.accession_number
            for region in regions
        },
        date=study.date,
        time=study.time,
        description=study.description,
        character_set=() if "no-character-set" in study.quirks else study.character_set,
        purposes=study.purposes,
        series=series,
    )


def _true_instance(made: Made) -> TrueInstance:
    return TrueInstance(
        made.sop_instance_uid,
        made.sop_class_uid,
        made.transfer_syntax_uid,
        {region: os.path.normpath(Path(region) / entry.path) for region, entry in made.entries.items()},
        made.pixel_data_sha256,
        made.data_set_sha256,
    )


def main() -> None:
    """Make a province and say how far it is, a JSON line at a time."""
    parser = argparse.ArgumentParser(prog="python -m regions.province", description="make the synthetic province")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", choices=SCALES, default=FULL.name)
    parser.add_argument("--workers", type=int, help="processes; 0 works in this one")
    parser.add_argument("--stdin-guard", action="store_true", help="end when standard input ends")
    arguments = parser.parse_args()
    if arguments.stdin_guard:
        end_with_stdin()
    scale = SCALES[arguments.scale]
    cache = arguments.cache or default_cache(arguments.seed, scale.name)

    def say(phase: str, done: int, total: int) -> None:
        sys.stdout.write(json.dumps({"event": "progress", "phase": phase, "done": done, "total": total}) + "\n")
        sys.stdout.flush()

    try:
        generate(cache, seed=arguments.seed, scale=scale, workers=arguments.workers, progress=say)
    except NotOurs as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
