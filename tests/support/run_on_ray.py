"""A driver in a process of its own: ``python -m tests.support.run_on_ray RECIPE EXECUTION`` (JSON), prints outcomes."""

import json
import sys

from flows.batch_driver import run_batch
from flows.ray_cluster import connect
from lift3d.config import parse_execution, parse_recipe
from lift3d.runs import begin_run
from lift3d.storage.location import open_store


def main(recipe_json: str, execution_json: str) -> None:
    recipe, execution = parse_recipe(json.loads(recipe_json)), parse_execution(json.loads(execution_json))
    begin_run(recipe, open_store(execution.store, create=True))
    with connect(execution):
        manifests = run_batch(recipe.scenes, recipe, execution)
    sys.stdout.write(json.dumps([manifest["outcome"] for manifest in manifests]))


if __name__ == "__main__":
    main(*sys.argv[1:])
