"""The catalog knows every lifter by name and stays light."""

import subprocess
import sys

import pytest

from lift3d.errors import UnknownNameError
from lift3d.lifters.catalog import LIFTERS, build_lifter, lifter_spec


@pytest.mark.parametrize("name", sorted(LIFTERS))
def test_names_are_those_of_the_specs(name):
    assert lifter_spec(name).name == name
    assert lifter_spec(name).identity["name"] == name


@pytest.mark.parametrize("ask", [lifter_spec, build_lifter])
def test_an_unknown_name_says_what_exists(ask):
    with pytest.raises(UnknownNameError, match="depth_mean"):
        ask("depth_men")


def test_the_catalog_imports_without_torch():
    code = "import sys, lift3d.lifters.catalog; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
