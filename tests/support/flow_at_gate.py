"""A flow run in a process of its own whose workers halt in the middle of a scene until they may go on.

``python -m tests.support.flow_at_gate RECIPE EXECUTION GATE``; see ``run_on_ray`` for the gate.
"""

import json
import sys
from pathlib import Path

from flows.local_run import run_flow
from lift3d.config import parse_execution, parse_recipe
from tests.support.run_on_ray import HeldScenes


def main(recipe_json: str, execution_json: str, gate: str) -> None:
    recipe, execution = parse_recipe(json.loads(recipe_json)), parse_execution(json.loads(execution_json))
    ignore = [lambda record: None, lambda stage, done, total: None]
    records = run_flow(recipe, execution, *ignore, HeldScenes(Path(gate)))
    sys.stdout.write(json.dumps([record.outcome for record in records]))


if __name__ == "__main__":
    main(*sys.argv[1:])
