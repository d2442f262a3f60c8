"""Csv files to tables, with every wrong field named by file, line and column."""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pushpull.annotations.table import BOX_COLUMNS, COLUMNS, LABELS, AvaTable
from pushpull.errors import AnnotationError
from pushpull.runtime.files import read_bytes

__all__ = ["read_table", "read_tables"]

TEXT_COLUMNS = ("video_id", "label", "entity_id")
NUMBER_COLUMNS = ("frame_timestamp", *BOX_COLUMNS, "score")

FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*([^\r\n]*)(?:\r\n|\n|\r|\Z)")
"""The first line that is not empty, after a byte order mark if there is one."""

SHOWN = 60
"""Characters of a wrong value that a message shows."""


MOST_TABLE_BYTES = 1 << 30
"""Of a csv, which is read whole: seven times all of AVA."""

BLOCK_BYTES = 1 << 23
"""Parsed at once; pieces of 1 MB, the default, take a third longer."""


def read_table(path: str | PathLike[str], *, need_score: bool = False) -> AvaTable:
    r"""Read one csv file, with or without a header.

    Args:
        path: File, UTF-8.
        need_score: Whether there must be a score on every row.

    Raises:
        AnnotationError: If it cannot be read, lacks columns, or a field is not what it should be.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import read_table
        >>> row = "vid,{},0.1,0.1,0.4,0.6,{},vid:1\n"
        >>> _ = Path("truth.csv").write_text(
        ...     row.format(900.0, "NOT_SPEAKING") + row.format(900.04, "SPEAKING_AUDIBLE")
        ... )
        >>> table = read_table("truth.csv")
        >>> len(table), table.timestamps_s, table.entities
        (2, array([900.  , 900.04]), ('vid:1',))
    """
    path = Path(path)
    try:
        data = read_bytes(path, most_bytes=MOST_TABLE_BYTES)
    except OSError as e:
        raise AnnotationError(f"{path}: cannot be read ({e.strerror})") from e
    return parse_table(data, str(path), need_score=need_score)


def read_tables(path: str | PathLike[str]) -> Iterator[AvaTable]:
    r"""Read every csv of a file, a folder (searched in depth) or a tar archive.

    A folder is read in the order of names, an archive in its own. Hidden files are left out.

    Raises:
        AnnotationError: If there is none, or one cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> from pushpull.annotations import read_tables
        >>> row = "{0},0.0,0.1,0.1,0.4,0.6,NOT_SPEAKING,{0}:1\n"
        >>> for name in ("a", "b"):
        ...     _ = Path(f"{name}.csv").write_text(row.format(name))
        >>> [table.source for table in read_tables(".")]
        ['a.csv', 'b.csv']
    """
    path = Path(path)
    count = 0
    if path.is_dir():
        for file in sorted(path.rglob("*.csv")):
            if not file.name.startswith(".") and not file.is_dir():
                yield read_table(file)
                count += 1
    elif path.is_file() and ".tar" in path.suffixes:
        for name, data in csv_members(path):
            yield parse_table(data, f"{path}:{name}", need_score=False)
            count += 1
    else:
        yield read_table(path)
        count += 1
    if not count:
        raise AnnotationError(f"{path}: holds no .csv file; expected AVA-ActiveSpeaker tables")


def csv_members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every csv file of a tar archive, read as a stream."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = Path(member.name)
                content = archive.extractfile(member) if member.isfile() else None
                if content and name.suffix == ".csv" and not name.name.startswith("."):
                    if member.size > MOST_TABLE_BYTES:
                        raise AnnotationError(
                            f"{path}:{member.name}: is larger than {MOST_TABLE_BYTES} bytes; "
                            "expected a csv table"
                        )
                    yield member.name, content.read()
    except (tarfile.TarError, EOFError, OSError) as e:
        raise AnnotationError(f"{path}: is not a whole tar archive ({e})") from e


def parse_table(data: bytes, source: str, *, need_score: bool) -> AvaTable:
    """Parse the bytes of a csv file; see `read_table`."""
    names, start = header_of(data, source, need_score=need_score)
    wanted = [*COLUMNS, *(["score"] if "score" in names else [])]
    table = arrow_table(data, start, names, wanted, source)
    lines = line_numbers(data, start, table.num_rows)

    def place(row: int) -> str:
        return f"{source}, line {lines[row]}"

    numbers = {name: number_column(table, name, place) for name in wanted if name in NUMBER_COLUMNS}
    codes = {name: text_column(table, name, place) for name in TEXT_COLUMNS}
    return AvaTable(
        source=source,
        lines=lines,
        videos=codes["video_id"][0],
        entities=codes["entity_id"][0],
        video=codes["video_id"][1],
        entity=codes["entity_id"][1],
        timestamps_s=numbers["frame_timestamp"],
        boxes=np.stack([numbers[name] for name in BOX_COLUMNS], 1),
        label=label_codes(*codes["label"], place),
        score=numbers.get("score"),
    )


def header_of(data: bytes, source: str, *, need_score: bool) -> tuple[list[str], int]:
    """Column names, and where in `data` the rows begin."""
    first = FIRST_LINE.match(data)
    if first is None or not first[1].strip():
        raise AnnotationError(f"{source}: is empty; expected a csv table")
    line = len(data[: first.start(1)].splitlines()) + 1
    where = f"{source}, line {line}"
    try:
        text = first[1].decode()
        fields = [field.strip() for field in next(csv.reader([text]))]
    except (UnicodeDecodeError, csv.Error) as e:
        raise AnnotationError(f"{where}: is not UTF-8 text; expected a csv table") from e
    columns = [*COLUMNS, "score"] if need_score else list(COLUMNS)
    if len(fields) > 1 and is_number(fields[1]):
        if len(fields) not in (len(columns), len(COLUMNS) + 1):
            raise AnnotationError(
                f"{where}: has {len(fields)} fields and no header; expected {len(columns)}: "
                f"{', '.join(columns)}"
            )
        return [*COLUMNS, "score"][: len(fields)], first.start(1)
    for other, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(fields) < len(COLUMNS) <= len(text.split(other)):
            raise AnnotationError(f"{where}: fields stand between {name}; expected commas")
    if not set(columns) & set(fields):
        raise AnnotationError(
            f"{where}: {text[:SHOWN]!r} is neither a header nor a row; expected the columns "
            f"{', '.join(columns)}"
        )
    missing = [name for name in columns if name not in fields]
    if missing:
        raise AnnotationError(
            f"{where}: lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has "
            f"{', '.join(fields)[:200]}"
        )
    twice = [name for name in (*COLUMNS, "score") if fields.count(name) > 1]
    if twice:
        raise AnnotationError(f"{where}: has the column {twice[0]} twice; keep one")
    return fields, first.end()


def arrow_table(
    data: bytes, start: int, names: Sequence[str], wanted: Sequence[str], source: str
) -> Any:
    """Some columns of the rows from `start`: numbers as float64, text as dictionary codes."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    if not data[start : start + 4096].strip():
        raise AnnotationError(f"{source}: holds no rows; expected one per face and frame")
    text = pa.dictionary(pa.int32(), pa.string())
    types = {name: text if name in TEXT_COLUMNS else pa.float64() for name in wanted}
    try:
        table = arrow_csv.read_csv(
            pa.BufferReader(pa.py_buffer(data).slice(start)),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=BLOCK_BYTES),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, include_columns=list(wanted)
            ),
        )
    except pa.ArrowInvalid as e:
        raise AnnotationError(f"{source}, {bad_field(data, start, names, e)}") from e
    return table.combine_chunks()


def line_numbers(data: bytes, start: int, rows: int) -> Sequence[int]:
    """Line of each row, from 1; empty lines hold none."""
    end = b"\n" if b"\n" in data else b"\r"
    first = data.count(end, 0, start) + 1
    if data.count(end, start) + (not data.endswith(end)) == rows:
        return range(first, first + rows)
    return [number for number, line in enumerate(data.splitlines(), start=1) if line][-rows:]


def is_number(text: str) -> bool:
    """Whether a field holds a number; unlike Python's, one of ASCII without underscores."""
    try:
        float(text)
    except ValueError:
        return False
    return text.isascii() and "_" not in text


def number_column(table: Any, name: str, place: Callable[[int], str]) -> NDArray[np.float64]:
    """A column of numbers, none of them missing; only scores may be infinite."""
    values: NDArray[np.float64] = table[name].to_numpy()
    wrong = np.isnan(values) if name == "score" else ~np.isfinite(values)
    if wrong.any():
        row = int(wrong.argmax())
        what = "empty or NaN" if np.isnan(values[row]) else "infinite"
        raise AnnotationError(f"{place(row)}: {name} is {what}; expected a number")
    return values


def text_column(
    table: Any, name: str, place: Callable[[int], str]
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The different values of a column, and which of them each row has; none is empty."""
    column = table[name].combine_chunks()
    values = tuple(column.dictionary.to_pylist())
    codes = column.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    if "" in values:
        row = int((codes == values.index("")).argmax())
        raise AnnotationError(f"{place(row)}: {name} is empty; expected a name")
    return values, codes


def label_codes(
    values: Sequence[str], column: NDArray[np.int64], place: Callable[[int], str]
) -> NDArray[np.int64]:
    """Labels as indices into `LABELS`."""
    for i, value in enumerate(values):
        if value not in LABELS:
            row = int((column == i).argmax())
            raise AnnotationError(
                f"{place(row)}: label is {value[:SHOWN]!r}; expected one of {', '.join(LABELS)}"
            )
    codes: NDArray[np.int64] = np.array([LABELS.index(v) for v in values], np.int64)[column]
    return codes


def bad_field(data: bytes, start: int, names: Sequence[str], error: Exception) -> str:
    """Where a table breaks; the fast reader only says that it does."""
    first = len(data[:start].splitlines())
    try:
        rows = csv.reader(io.StringIO(data[start:].decode(), newline=None))
        for fields in rows:
            line = first + rows.line_num
            if fields and len(fields) != len(names):
                return f"line {line}: has {len(fields)} fields; expected {len(names)}"
            for name, value in zip(names, fields, strict=False):
                if name in NUMBER_COLUMNS and value and not is_number(value):
                    return f"line {line}: {name} is {value[:SHOWN]!r}; expected a number"
    except UnicodeDecodeError as e:
        line = first + data.count(b"\n", start, start + e.start) + 1
        return f"line {line}: is not UTF-8 text; expected a csv table"
    except csv.Error as e:
        return f"line {first + rows.line_num}: {e}"
    return f"lines from {first + 1}: cannot be parsed as csv ({' '.join(str(error).split())[:200]})"
