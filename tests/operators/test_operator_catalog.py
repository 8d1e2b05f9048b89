from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from lift3d.errors import ConfigError, ContractError, UnknownNameError
from lift3d.operators import catalog
from lift3d.operators.catalog import build_operator, known_operators

SUPPORT = "tests.support.operators"


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    entry = EntryPoint(name="shiny", value=value, group=catalog.ENTRY_POINT_GROUP)
    monkeypatch.setattr(catalog, "entry_points", lambda group: [entry])


def test_a_plugin_may_be_a_class_an_instance_or_a_file_whose_name_is_not_taken(tmp_path: Path) -> None:
    assert build_operator("identity", (f"{SUPPORT}:IdentityOperator",)).spec.name == "identity"
    assert build_operator("checker:8?stride=4", (f"{SUPPORT}:CheckerOperator",)).spec.channel_count == 8
    source = tmp_path / "mine.py"
    source.write_text(f"from {SUPPORT} import CheckerOperator\nready = CheckerOperator()\n")
    assert build_operator("checker:8?stride=4", (f"{source}:ready",)).spec.channel_count == 8
    with pytest.raises(UnknownNameError, match="Did you mean 'identity'"):
        build_operator("identiti", (f"{SUPPORT}:IdentityOperator",))
    # A second plug-in of the same file shares its module, so a file runs once.
    again = catalog.load_plugin(f"{source}:ready")
    assert again is catalog.load_plugin(f"{source}:ready")
    for name, plugins in (
        ("rgb", ("lift3d.operators.rgb:RgbOperator",)),
        ("identity", (f"{SUPPORT}:IdentityOperator",) * 2),
    ):
        with pytest.raises(ConfigError, match="taken"):
            build_operator(name, plugins)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("no_colon", "module:attribute"),
        ("no.such.module:x", "cannot be imported"),
        ("no/such/file.py:x", "cannot be imported"),
        (f"{SUPPORT}:Nothing", "no attribute 'Nothing'"),
    ],
)
def test_a_plugin_that_is_not_there_is_refused(location: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_operator("rgb", (location,))


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("thing = 3", ContractError, "lacks spec, encode, fit_scene, decode"),
        ("class thing:\n    spec = 1", ContractError, "lacks encode, fit_scene, decode"),
        ("def thing(size): return size", ContractError, "without arguments"),
        (
            "class thing:\n    spec = 1\n    encode = fit_scene = decode = None",
            ContractError,
            "that is no OperatorSpec",
        ),
        ("class thing:\n    def __init__(self): raise ValueError('no weights')", ContractError, "no weights"),
        ("raise RuntimeError('at import')", ConfigError, "at import"),
        ("def thing(:", ConfigError, "invalid syntax"),
        ("import sys; sys.exit(3)", ConfigError, "3"),
        ("import not_a_package_of_anyone", ConfigError, "not_a_package_of_anyone"),
    ],
)
def test_a_file_that_brings_no_operator_is_named_and_not_kept_half_loaded(tmp_path, body, error, said):
    source = tmp_path / "bad.py"
    source.write_text(body)
    for _ in range(2):
        with pytest.raises(error, match=said) as caught:
            build_operator("rgb", (f"{source}:thing",))
        assert str(source) in str(caught.value)


def test_installed_packages_bring_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{SUPPORT}:build_checker")
    assert "shiny" in known_operators()
    assert build_operator("shiny?channels=7").spec.channel_count == 7
    assert build_operator("rgb").spec.name == "rgb"


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        ("no_such_package:build", ConfigError, r"shiny.*no_such_package"),
        (f"{SUPPORT}:Nothing", ConfigError, "does not load"),
        (f"{SUPPORT}:IdentityOperator.spec", ContractError, "no factory"),
    ],
)
def test_an_installed_package_that_does_not_load_says_so(
    monkeypatch: pytest.MonkeyPatch, value: str, error: type[Exception], said: str
) -> None:
    install(monkeypatch, value)
    with pytest.raises(error, match=said):
        build_operator("shiny")
