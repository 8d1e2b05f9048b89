import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift3d.errors import ConfigError
from lift3d.operators.names import OperatorName

WORDS = st.text(alphabet="abcXYZ019_-./ &=%?#é", min_size=1, max_size=12)
KEYS = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
ARGUMENTS = st.from_regex(r"[A-Za-z0-9_./-]{0,20}", fullmatch=True)


@given(
    kind=st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True),
    argument=ARGUMENTS,
    options=st.dictionaries(KEYS, WORDS, max_size=4),
)
def test_writing_and_parsing_a_name_gives_it_back(kind: str, argument: str, options: dict[str, str]) -> None:
    name = OperatorName(kind, argument, tuple(options.items()))
    # Surrounding blanks of a whole name are not part of it.
    if str(name) == str(name).strip():
        assert OperatorName.parse(str(name)) == name


@pytest.mark.parametrize(
    "text", ["rgb", "timm:vit_small_patch14_dinov2?weights=random", "open_clip:ViT-B-16/openai?height=448&seed=1"]
)
def test_a_plain_name_is_written_as_the_user_wrote_it(text: str) -> None:
    assert str(OperatorName.parse(text)) == text
    assert OperatorName.parse("timm:hf-hub:org/net").argument == "hf-hub:org/net"


@pytest.mark.parametrize("text", ["", ":x", "timm:", "rgb?", "1x", "a b", "rgb?x", "rgb?x=", "rgb?=1", "rgb?x=1&x=2"])
def test_malformed_names_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected|give|form"):
        OperatorName.parse(text)
