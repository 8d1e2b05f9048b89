import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift3d.domain.keys import Written, canonical_json, digest, digest_bytes, slug

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=5))
def test_digest_ignores_the_order_of_keys(content):
    assert digest(content) == digest(dict(reversed(content.items())))


@given(st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=5))
def test_an_empty_new_field_keeps_the_digest(content):
    assert digest(content) == digest({**content, "a new field": None, "another": []})


@given(JSON)
def test_what_is_written_already_is_as_good_as_what_it_says(content):
    assert digest([{"a": [0, Written(canonical_json(content))]}]) == digest([{"a": [0, content]}])
    assert digest({"b": [1, 2.5, None], "a": {"c": [], "d": "\u00e9"}}) == "99df18034b32ce69"


def test_digest_is_stable_across_processes():
    code = "from lift3d.domain.keys import digest; print(digest({'b': [1, 2.5], 'a': 'x'}))"
    runs = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(2)}
    assert runs == {digest({"a": "x", "b": [1, 2.5]}) + "\n"}


def test_boundaries_of_byte_strings_count():
    assert digest_bytes(b"ab", b"c") != digest_bytes(b"a", b"bc")


@given(st.text(max_size=300))
def test_a_slug_is_one_safe_ascii_segment(name):
    made = slug(name)
    assert made.isascii()
    assert made not in {"", ".", ".."}
    assert not set(made) & set("/\\ %:?\0")
    assert len(made) < 90


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_names_never_share_a_slug(first, second):
    assert (slug(first) == slug(second)) == (first == second)


@pytest.mark.parametrize("name", ["kitchen", "vit_small.p14", "a=1"])
def test_a_safe_name_is_its_own_slug(name):
    assert slug(name) == name
