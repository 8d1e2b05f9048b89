"""The files of infra/ as tests see them: parsed, with every pod and container that they start."""

import copy
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
INFRA = ROOT / "infra"
KUBERAY = ("RayCluster", "RayJob")
# What a container gets instead of "${NAME:?…}" in the tests.
FILLED = "0123456789abcdef"
_PLACEHOLDER = re.compile(r"(?<!\$)\$\{(\w+)(?::([?-])([^}]*))?\}")
_TEMPLATED = re.compile(r"\{\{ (\w+) \}\}")


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """Return every Kubernetes object of infra/, with the name of its file; kustomizations are none."""
    files = sorted(path for name in ("kubernetes", "ray") for path in (INFRA / name).glob("*.yaml"))
    return [
        (f"{path.name}:{document['kind']}", document)
        for path in files
        for document in yaml.safe_load_all(path.read_text())
        if document.get("apiVersion") and document["kind"] != "Kustomization"
    ]


def flow_run_job() -> dict[str, Any]:
    """Return the Kubernetes job of a flow run, with the values of infra/kubernetes/prefect.yaml put in."""
    template = json.loads((INFRA / "kubernetes" / "base-job-template.json").read_text())
    properties = template["variables"]["properties"]
    given = load("kubernetes/prefect.yaml")["deployments"][0]["work_pool"]["job_variables"]
    values = {name: field["default"] for name, field in properties.items() if "default" in field} | given
    # As Prefect splits it.
    values |= {
        "name": "run",
        "command": shlex.split(given["command"]),
        "image": "registry.example.com/lift3d:0.2.0.dev0",
    }
    values["env"] = [{"name": name, "value": value} for name, value in values["env"].items()]
    job = _put_in(template["job_configuration"]["job_manifest"], values)
    # Prefect asks for these two here and Kubernetes drops them.
    pod = job["spec"]["template"]["spec"]
    assert (pod.pop("parallelism"), pod.pop("completions")) == (1, 1)
    return dict(job)


def ray_clusters() -> list[tuple[str, dict[str, Any]]]:
    """Return the specification of every Ray cluster on Kubernetes."""
    return [
        (name, found["spec"] if found["kind"] == "RayCluster" else found["spec"]["rayClusterSpec"])
        for name, found in manifests()
        if found["kind"] in KUBERAY
    ]


def rayjobs() -> list[tuple[str, dict[str, Any]]]:
    """Return every job of Ray on Kubernetes."""
    return [(name, thing) for name, thing in manifests() if thing["kind"] == "RayJob"]


def pod_templates() -> list[tuple[str, dict[str, Any]]]:
    """Return every pod template: of Ray clusters, of deployments, of flow runs."""
    found = [(name, thing["spec"]["template"]) for name, thing in manifests() if thing["kind"] == "Deployment"]
    for name, spec in ray_clusters():
        found.append((f"{name}:head", spec["headGroupSpec"]["template"]))
        found += [(f"{name}:{group['groupName']}", group["template"]) for group in spec["workerGroupSpecs"]]
    found += [(f"{name}:submitter", thing["spec"]["submitterPodTemplate"]) for name, thing in rayjobs()]
    return [*found, ("base-job-template.json:Job", flow_run_job()["spec"]["template"])]


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return infra/prefect/compose.yaml with its variables put in, as Docker does it."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if variables.get(name):
            return variables[name]
        if kind == "-":
            return str(rest)
        raise KeyError(f"compose.yaml needs {name}")

    parsed = yaml.safe_load(_PLACEHOLDER.sub(value, (INFRA / "prefect" / "compose.yaml").read_text()))
    return {name: part for name, part in parsed.items() if not name.startswith("x-")}


def example_variables() -> dict[str, str]:
    """Return the variables of .env.example as they stand there."""
    lines = (INFRA / "prefect" / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled_variables() -> dict[str, str]:
    """Return the variables of .env.example with something in each."""
    return {name: f"/{FILLED}" if name.endswith("_FOLDER") else FILLED for name in example_variables()}


def images() -> Iterator[tuple[str, str]]:
    """Yield every image that is pulled, with where it is named."""
    for where, template in pod_templates():
        for container in template["spec"]["containers"]:
            yield where, container["image"]
    for name, service in compose(filled_variables())["services"].items():
        yield f"compose.yaml:{name}", service["image"]
    docker = load("ray/autoscaler.yaml")["docker"]
    yield from (("autoscaler.yaml", image) for name, image in docker.items() if name.endswith("image"))


def load(path: str) -> Any:
    """Return a YAML file of infra/ that holds one document."""
    return yaml.safe_load((INFRA / path).read_text())


def _put_in(template: Any, values: Mapping[str, Any]) -> Any:
    """Replace every "{{ name }}" by its value: whole, or inside a text."""
    if isinstance(template, dict):
        return {name: _put_in(part, values) for name, part in template.items()}
    if isinstance(template, list):
        return [_put_in(part, values) for part in template]
    if not isinstance(template, str):
        return template
    whole = _TEMPLATED.fullmatch(template)
    if whole:
        return copy.deepcopy(values[whole[1]])
    return _TEMPLATED.sub(lambda match: str(values[match[1]]), template)
