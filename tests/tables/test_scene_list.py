import io

import pandas as pd
import pytest

from lift3d.errors import ConfigError
from lift3d.tables.scene_list import read_scene_list

SCENES = ("data/a b", "s3://bucket/c#1", "procedural:room?seed=1")


def parquet(**columns):
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.txt", b"\xef\xbb\xbf# scenes\n\ndata/a b\n  s3://bucket/c#1 # why\r\nprocedural:room?seed=1"),
        ("s.CSV", b'split,location\nx,"data/a b"\ny,s3://bucket/c#1\nz,procedural:room?seed=1\n'),
        ("s.jsonl", b'"data/a b"\n{"location": "s3://bucket/c#1"}\n\n{"location": "procedural:room?seed=1"}\n'),
        ("s.parquet", parquet(location=list(SCENES), split=[1, 2, 3])),
    ],
)
def test_every_kind_of_list_says_the_same(name, content):
    assert read_scene_list(content, name) == SCENES


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("s.txt", b"a\n\nb\na\n", "'a' twice: in lines 1 and 4"),
        ("s.txt", b"# nothing\n", "lists no scene"),
        ("s.txt", b"\xff\xfe", "cannot be read"),
        ("s.csv", b"scene\na\n", "no column 'location' in line 1; it has scene"),
        ("s.csv", b"location\na\n,\n", "Line 3"),
        ("s.csv", b"", "has none|it has none"),
        ("s.jsonl", b'"a"\n{"scene": "b"}\n', "Line 2 .* it has scene"),
        ("s.jsonl", b'"a"\n{half\n', "Line 2 .* not JSON"),
        ("s.jsonl", b'"a"\n3\n', "Line 2 .* got 3"),
        ("s.parquet", b"no parquet", "is no Parquet file"),
        ("s.parquet", parquet(scene=["a"]), "no column 'location'"),
        ("s.parquet", parquet(location=["a", None]), "Line 2"),
        ("s.yaml", b"a", "Expected one of .txt"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(name, content, said):
    with pytest.raises(ConfigError, match=said):
        read_scene_list(content, name)
