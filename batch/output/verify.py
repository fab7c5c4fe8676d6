"""Counts a finished output again, and compares it with what its manifest says of each part."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from batch.dataset.dataset import REJECTED, Chunk, part_file
from batch.output.folder import OutputFolder
from batch.output.part_record import PartRecord, measure_part
from batch.output.refusals import OutputRefused
from common.service.masking import mask_urls


def report_differences(path: Path) -> bool:
    """Print what is wrong with an output, or else its counts; whether nothing is wrong."""
    if wrong := verify(path):
        print(mask_urls("\n".join(wrong)), file=sys.stderr)
    else:
        print(OutputFolder(path).describe())
    return not wrong


def verify(path: Path) -> list[str]:
    """What is wrong with an output, a line each; none if every row that went in is accounted for."""
    folder = OutputFolder(path)
    try:
        manifest, deferred = folder.read_manifest(), {chunk.name for chunk in folder.read_deferred()}
    except OutputRefused as error:
        return [str(error)]
    if manifest is None or not folder.is_finished:
        return [f"{path}: expected a finished output with _manifest.json and _SUCCESS"]
    records = {one.name: one for one in manifest.parts}
    wrong = []
    for chunk in manifest.chunks:
        record = records.pop(chunk.name, None)
        if record is None and chunk.name not in deferred:
            wrong.append(f"{part_file(path, chunk)}: the manifest has no counts of it, and it is not deferred")
        elif record is not None:
            wrong += _compare(path, chunk, record)
    wrong += [f"{name}: the manifest has no such chunk" for name in records]
    known = {part_file(path, chunk).name for chunk in manifest.chunks if chunk.name not in deferred}
    for part in sorted([*path.glob("part-*.parquet"), *(path / REJECTED).glob("part-*.parquet")]):
        if part.name not in known:
            wrong.append(f"{part}: expected no such part")
    return wrong


def _compare(path: Path, chunk: Chunk, record: PartRecord) -> list[str]:
    part = part_file(path, chunk)
    try:
        found = measure_part(path, chunk)
        pq.read_table(part, columns=[])
    except (OSError, pa.ArrowException) as error:
        return [f"{part}: {' '.join(str(error).split())}"]
    wrong = [
        f"{part}: {name} is {getattr(found, name)}, the manifest has {getattr(record, name)}"
        for name in PartRecord.model_fields
        if getattr(found, name) != getattr(record, name)
    ]
    if found.rows_out + found.rejected != chunk.rows:
        wrong.append(f"{part}: {chunk.rows} rows went in, {found.rows_out} came out, {found.rejected} were rejected")
    return wrong
