"""Every file of infra/ against the schema of what reads it; ours (schemas/) where no package has one."""

import copy
import json
import tomllib
from typing import Any

import botocore.session
import compose_spec
import jsonpatch
import jsonschema
import kubernetes_validate
import pytest
import yaml
from botocore.validate import validate_parameters
from prefect.cli.deploy._models import ConcurrencyLimitSpec, PrefectYamlModel, RawScheduleConfig
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import Settings
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.infra import infra_files
from tests.infra.infra_files import INFRA, KUBERAY, ROOT

# The oldest that is still kept up; newer ones read the same.
KUBERNETES = "1.34"
MANIFESTS = infra_files.manifests()
KUBERAY_SCHEMA = json.loads((ROOT / "tests" / "infra" / "schemas" / "kuberay.json").read_text())
PREFECT_FILES = [ROOT / "prefect.yaml", INFRA / "kubernetes" / "prefect.yaml"]


@pytest.mark.parametrize("manifest", [pytest.param(thing, id=name) for name, thing in MANIFESTS])
def test_kubernetes_objects(manifest):
    _validate(manifest)
    misspelt = copy.deepcopy(manifest)
    place = misspelt["spec"]["workerGroupSpecs"][0] if manifest["kind"] == "RayCluster" else misspelt["metadata"]
    place["nmae"] = "x"
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        _validate(misspelt)


def test_pods_and_the_job_of_a_flow_run():
    for name, template in infra_files.pod_templates():
        _validate({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name}, "template": template})
    _validate(infra_files.flow_run_job())


def test_the_ray_version_is_the_one_that_is_installed():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert {spec["rayVersion"] for _, spec in infra_files.ray_clusters()} == {pinned["ray"]}
    versions = {yaml.safe_load(path.read_text())["prefect-version"] for path in PREFECT_FILES}
    assert versions == {pinned["prefect"]}


def test_the_image_has_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ours = {image for _, image in infra_files.images() if "/lift3d" in image}
    assert {image.rsplit(":", 1)[1] for image in ours} == {version}


def test_the_compose_file():
    parsed = infra_files.compose(infra_files.filled_variables())
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(parsed)).validate()
    parsed["services"]["server"]["imagee"] = "x"
    with pytest.raises(ValueError, match="imagee"):
        compose_spec.PyCompose.from_yaml(yaml.safe_dump(parsed))


def test_compose_needs_every_variable_of_the_example():
    filled = infra_files.filled_variables()
    for name in filled:
        with pytest.raises(KeyError, match=name):
            infra_files.compose({**filled, name: ""})


def test_prefect_knows_every_setting_of_the_compose_file(monkeypatch):
    services = infra_files.compose(infra_files.filled_variables())["services"]
    for service in ("server", "services", "worker"):
        # Those of Redis are of the package prefect-redis, which the image adds.
        ours = {
            name: value
            for name, value in services[service]["environment"].items()
            if name.startswith("PREFECT_") and not name.startswith("PREFECT_REDIS_MESSAGING_")
        }
        with monkeypatch.context() as patch:
            for name, value in ours.items():
                patch.setenv(name, value)
            assert {_canonical(name) for name in ours} <= set(Settings().to_environment_variables(exclude_unset=True))


def test_the_ray_launcher():
    config = prepare_config(infra_files.load("ray/autoscaler.yaml"))
    validate_config(config)
    config["available_node_types"]["gpu-spot"]["max_worker"] = 3
    with pytest.raises(jsonschema.ValidationError):
        validate_config(config)


def test_the_lifecycle_of_the_bucket():
    rules = json.loads((INFRA / "object_store" / "lifecycle.json").read_text())
    service = botocore.session.get_session().get_service_model("s3")
    shape = service.operation_model("PutBucketLifecycleConfiguration").input_shape
    validate_parameters({"Bucket": "any", "LifecycleConfiguration": rules}, shape)
    (rule,) = rules["Rules"]
    # Nothing that is committed may expire by itself.
    assert set(rule) == {"ID", "Status", "Filter", "AbortIncompleteMultipartUpload"}


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in PREFECT_FILES])
def test_prefect_files(path):
    raw = yaml.safe_load(path.read_text())
    parsed = PrefectYamlModel.model_validate(raw)
    assert parsed.deployments
    for deployment, given in zip(parsed.deployments, raw["deployments"], strict=True):
        # The model drops what it does not know, so that a misspelt key is one that is missing from it.
        assert set(given) <= set(type(deployment).model_fields)
        assert set(given["concurrency_limit"]) == set(ConcurrencyLimitSpec.model_fields)
        assert all(RawScheduleConfig.model_validate(schedule).cron for schedule in given["schedules"])
        flow = load_flow_from_entrypoint(given["entrypoint"])
        assert flow.validate_parameters(given["parameters"])


def test_a_deployment_gives_variables_that_its_pool_knows():
    template = json.loads((INFRA / "kubernetes" / "base-job-template.json").read_text())
    (deployment,) = infra_files.load("kubernetes/prefect.yaml")["deployments"]
    properties = template["variables"]["properties"]
    assert set(deployment["work_pool"]["job_variables"]) <= set(properties)
    jsonschema.Draft202012Validator.check_schema(template["variables"])
    jsonschema.validate(
        deployment["work_pool"]["job_variables"], {**template["variables"], "additionalProperties": False}
    )


@pytest.mark.parametrize("folder", ["kubernetes", "ray", "ray-with-redis"])
def test_kustomizations(folder):
    found = infra_files.load(f"{folder}/kustomization.yaml")
    assert (found["apiVersion"], found["kind"]) == ("kustomize.config.k8s.io/v1beta1", "Kustomization")
    # No package has its schema: these are the fields that are used.
    assert set(found) <= {"apiVersion", "kind", "resources", "images", "patches"}
    assert all(set(image) == {"name", "newTag"} for image in found.get("images", []))
    assert all(set(patch) == {"target", "patch"} for patch in found.get("patches", []))
    assert all((INFRA / folder / resource).exists() for resource in found["resources"])
    if folder != "ray-with-redis":
        # Every manifest that is there to stay is applied; a RayJob is created by hand, once per piece of work.
        there = {path.name for path in (INFRA / folder).glob("*.yaml") if "apiVersion" in path.read_text()}
        assert set(found["resources"]) == there - {"kustomization.yaml", "rayjob.yaml", "autoscaler.yaml"}
    images = {image.rsplit(":", 1)[0] for _, image in infra_files.images()}
    assert {image["name"] for image in found.get("images", [])} <= images


def test_a_cluster_with_redis():
    manifests = {(thing["kind"], thing["metadata"].get("name")): thing for _, thing in copy.deepcopy(MANIFESTS)}
    for patch in infra_files.load("ray-with-redis/kustomization.yaml")["patches"]:
        target = manifests[patch["target"]["kind"], patch["target"]["name"]]
        patched = jsonpatch.apply_patch(target, yaml.safe_load(patch["patch"]))
        _validate(patched)


def _validate(manifest: dict[str, Any]) -> None:
    if manifest["kind"] in KUBERAY:
        jsonschema.validate(manifest, KUBERAY_SCHEMA)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def _canonical(name: str) -> str:
    """Return the name under which Prefect itself writes a setting that has a short one."""
    return name.replace("PREFECT_MESSAGING_", "PREFECT_SERVER_EVENTS_MESSAGING_")
