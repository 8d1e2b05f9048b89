"""Options that several commands share, and options that are the fields of settings."""

import gc
import json
import os
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

import click
from click.core import ParameterSource

from lift3d.domain.keys import shown
from lift3d.errors import ConfigError
from lift3d.messages import loading

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

# Click's own words for a file or a folder that is written.
PATH = click.Path(path_type=Path)
# A recipe of a hundred thousand scenes names them in a list.
_MOST_VALUES = 10**6

# By option: words for it that people try.
_TRIED = {
    "--operator": "model models network backbone encoder",
    "--lifter": "method",
    "--store": "output out outdir o",
    "--image-height": "resolution size height",
    "--device": "gpu cuda",
    "--recipe": "config c",
}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Exit(IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    ERROR = 1
    USAGE = 2
    PARTIAL = 3
    REGRESSION = 4
    INTERRUPTED = 130
    TERMINATED = 143


def say(text: str, *, err: bool = False, **style: Any) -> None:
    """Print text. What a terminal would obey is printed as its code: names and reasons may be a stranger's words."""
    # https://no-color.org
    colour = False if os.environ.get("NO_COLOR") else None
    click.secho("\n".join(map(shown, text.split("\n"))), err=err, color=colour, **style)


def show(found: Any, text: str, as_json: bool) -> None:
    """Print what was found, as JSON for programs or as text for people."""
    say(json.dumps(found, indent=1) if as_json else text)


class AnsweredArgument(click.Argument):
    """An argument whose lack is answered by what could be given."""

    def __init__(self, *args: Any, answer: Callable[[click.Context], str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answer = answer

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        """Return the value; UsageError with the answer if there is none."""
        try:
            return super().process_value(ctx, value)
        except click.MissingParameter as error:
            raise click.UsageError(self._answer(ctx), ctx) from error


def which_store(ctx: click.Context) -> str:
    """Return which stores there are for a command that was given none."""
    from lift3d.storage.location import stores_near

    some = stores_near(str(Path.cwd() / "store")) or " lift3d demo makes one at runs/demo."
    return f"Which store? Give lift3d {ctx.info_name} a folder or a URL.{some}"


store_argument = click.argument(
    "store", cls=AnsweredArgument, answer=which_store, help="Folder, s3://BUCKET/PREFIX or memory://NAME."
)


def print_places(places: Mapping[str, object]) -> None:
    """Print where everything lies, a line each."""
    width = max(map(len, ("report", *places))) + 2
    for name, place in places.items():
        say(f"{name:{width}s} {place}")


@contextmanager
def importing() -> Iterator[None]:
    """Import what a command needs, and say so on a terminal.

    What is imported stays, so looking through it for garbage, now and later, would be time lost.
    """
    gc.disable()
    try:
        with loading():
            yield
    finally:
        gc.freeze()
        gc.enable()


class SettingsCommand(click.Command):
    """A command with the fields of settings among its options; they are made when needed, for models import slowly."""

    def __init__(self, *args: Any, fields: Callable[[], list[click.Option]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fields: Callable[[], list[click.Option]] | None = fields

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return arguments and options."""
        if self._fields is not None:
            self.params += self._fields()
            self._fields = None
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return what is left of the arguments; NoSuchOption of a word for another option names that one."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            known = {name for one in self.get_params(ctx) for name in one.opts}
            word = error.option_name.lstrip("-")
            for meant in known.intersection(one for one, words in _TRIED.items() if word in words.split()):
                message = f"{error.message} Did you mean '{meant}'?"
                raise click.NoSuchOption(error.option_name, message, ctx=ctx) from error
            raise


def options_of(model: "type[BaseModel]", without: Collection[str] = (), **defaults: Any) -> list[click.Option]:
    """Return an option for each field of settings, with its type, its default and its description.

    Lists are options that are repeated, named in the singular: ``operators`` is ``--operator``.
    """
    fields = {name: field for name, field in model.model_fields.items() if name not in without}
    return [_option(name, field, defaults.get(name)) for name, field in fields.items()]


def given_values(values: Mapping[str, Any], model: "type[BaseModel]") -> dict[str, Any]:
    """Return those fields of a model that the user gave; the others are for files and defaults to say."""
    ctx = click.get_current_context()
    return {
        name: value
        for name, value in values.items()
        if name in model.model_fields and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def read_settings(path: Path | None) -> dict[str, Any]:
    """Return the fields of a YAML file; none without a file."""
    if path is None:
        return {}
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        count = _value_count(yaml.compose(text, Loader=yaml.SafeLoader), {})
        if count > _MOST_VALUES:
            raise ConfigError(f"'{path}' has {count} values, aliases written out; at most {_MOST_VALUES} are read.")
        fields = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read '{path}': {error}. Expected a YAML mapping of fields.") from error
    except RecursionError as error:
        raise ConfigError(f"'{path}' nests too deep; expected a YAML mapping of fields.") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"'{path}' holds {type(fields).__name__}; expected a YAML mapping of fields.")
    return fields


def _value_count(node: Any, known: dict[int, int]) -> int:
    """Return how many values a node of YAML has, with those behind aliases as often as they are meant."""
    if id(node) not in known:
        inner = getattr(node, "value", ())
        pairs = [one for pair in inner for one in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_value_count(one, known) for one in pairs if not isinstance(one, str))
    return known[id(node)]


def _option(name: str, field: "FieldInfo", default: Any) -> click.Option:
    kind = _without_none(field.annotation)
    is_list = get_origin(kind) is tuple
    if is_list:
        kind = get_args(kind)[0]
    flag = "--" + (name.removesuffix("s") if is_list else name).replace("_", "-")
    told = f"{field.description or ''}{' Repeatable.' * is_list}".strip()
    if kind is bool and field.default is None:
        return click.Option([f"{flag}/--no-{flag.removeprefix('--')}", name], default=None, help=told)
    if kind is bool:
        return click.Option([flag, name], is_flag=True, help=told)
    default = default if field.is_required() else field.default
    return click.Option([flag, name], type=_click_type(kind), multiple=is_list, default=default, help=told)


def _without_none(annotation: Any) -> Any:
    """Return X of ``X | None``."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation
    (kind,) = (one for one in get_args(annotation) if one is not types.NoneType)
    return kind


def _click_type(kind: Any) -> click.ParamType[Any]:
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    known: dict[Any, click.ParamType[Any]] = {int: click.INT, float: click.FLOAT, Path: PATH}
    return known.get(kind, click.STRING)
