"""What the files of infra/ must never say: an open port without a password, a secret, a floating image, root."""

import re
import subprocess
from collections.abc import Iterator
from datetime import timedelta

import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.settings import Settings

from lift3d.config import parse_recipe
from lift3d.pipeline.models import Models
from tests.infra import infra_files
from tests.infra.infra_files import INFRA

PODS = [pytest.param(template["spec"], id=name) for name, template in infra_files.pod_templates()]
CLUSTERS = [pytest.param(spec, id=name) for name, spec in infra_files.ray_clusters()]
SERVICES = infra_files.compose(infra_files.filled_variables())["services"]
TEXTS = sorted(path for path in INFRA.rglob("*") if path.is_file() and path.name not in (".env", "README.md"))
# Variables that hold a secret, by their names; a token's path and a secret's name and key are references to one.
_SECRET_NAME = re.compile(r"(PASSWORD|TOKEN|SECRET|AUTH_STRING|ACCESS_KEY)(?!\w*(_PATH|_NAME|_KEY$))", re.IGNORECASE)
# Private keys, keys of AWS, user and password in a URL, and 24 hexadecimal digits in a row.
_SECRET_TEXT = re.compile(r"PRIVATE KEY|AKIA[0-9A-Z]{16}|://[^/\s$:@]*:[^$@\s/{]+@|\b[0-9a-f]{24,}\b")


@pytest.mark.parametrize("spec", CLUSTERS)
def test_ray_on_kubernetes_asks_for_the_token_is_not_shown_outside_and_works_on_workers_that_come_and_go(spec):
    assert spec["authOptions"] == {"mode": "token", "secretName": "ray-token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not spec["headGroupSpec"].get("enableIngress", False)
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"
    assert spec["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False
    for group in spec["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        # A pod that Ray has given up must not come back under the same name.
        assert group["template"]["spec"]["restartPolicy"] == "Never"
        if "nvidia.com/gpu" in group["template"]["spec"]["containers"][0]["resources"]["limits"]:
            assert any("spot" in toleration["key"] for toleration in group["template"]["spec"]["tolerations"])


def test_pods_reach_only_what_a_policy_names():
    policies = [thing["spec"] for _, thing in infra_files.manifests() if thing["kind"] == "NetworkPolicy"]
    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    opened = [rule for policy in policies for rule in policy.get("ingress", [])]
    assert opened
    assert all(rule.get("from") for rule in opened)
    assert not any("ipBlock" in peer for rule in opened for peer in rule["from"])
    for rule in (rule for policy in policies for rule in policy.get("egress", [])):
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            # The address at which clouds give a machine's keys to whoever asks.
            assert block["cidr"] != "0.0.0.0/0" or "169.254.0.0/16" in block["except"]
            assert {port["port"] for port in rule["ports"]} <= {443, 6443}


def test_what_listens_on_all_interfaces_asks_for_a_password():
    assert {name for name, service in SERVICES.items() if "0.0.0.0" in str(service)} == {"server", "store"}
    assert SERVICES["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"] == infra_files.FILLED
    assert SERVICES["server"]["environment"]["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert any("-s3.config=" in part for part in SERVICES["store"]["command"])
    launcher = (INFRA / "ray" / "autoscaler.yaml").read_text()
    assert "0.0.0.0" not in launcher
    assert "--dashboard-host=127.0.0.1" in launcher
    # On Kubernetes the head alone does, and only with the token (the test of Ray on Kubernetes above).
    on_pods = [name for name, thing in infra_files.manifests() if "0.0.0.0'" in str(thing)]
    assert set(on_pods) == {"raycluster.yaml:RayCluster", "rayjob.yaml:RayJob"}


def test_every_start_of_ray_on_machines_has_the_token():
    config = infra_files.load("ray/autoscaler.yaml")
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starts = [command for command in commands if "ray start" in command]
    assert len(starts) == 2
    for command in starts:
        assert command.startswith("RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/home/lift3d/.ray/auth_token ")
    assert "/home/lift3d/.ray/auth_token" in config["file_mounts"]
    assert "--num-cpus=0" in starts[0]
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
    assert config["provider"]["use_internal_ips"] is True


def test_a_flow_run_is_a_node_without_cores_of_the_cluster_and_what_kubernetes_ends_is_prefect():
    (container,) = infra_files.flow_run_job()["spec"]["template"]["spec"]["containers"]
    cluster = next(thing for _, thing in infra_files.manifests() if thing["kind"] == "RayCluster")
    assert container["args"][:2] == ["bash", "-c"]
    start, run = container["args"][2].split(" && ")
    assert start.startswith(f"ray start --address={cluster['metadata']['name']}-head-svc:6379 --num-cpus=0 ")
    assert run == "exec prefect flow-run execute"
    assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
    (deployment,) = infra_files.load("kubernetes/prefect.yaml")["deployments"]
    assert deployment["parameters"]["execution"]["ray_address"] == "auto"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_open_on_this_machine_alone_cannot_become_root_and_says_when_it_is_well(name):
    service = SERVICES[name]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "network_mode" not in service
    assert service["user"].split(":")[0] not in ("root", "0")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged", False)
    # What runs Prefect's services listens nowhere.
    assert name == "services" or service["healthcheck"]["test"]


@pytest.mark.parametrize("spec", PODS)
def test_no_pod_is_root_or_can_become_it(spec):
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))
    assert not any("hostPath" in volume for volume in spec.get("volumes", []))
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"]["memory"]


def test_the_image_is_built_for_a_user_that_is_not_root():
    lines = (INFRA / "containers" / "Dockerfile").read_text().splitlines()
    steps = [line.split(maxsplit=1) for line in lines if re.match(r"[A-Z]+ ", line)]
    users = [rest for step, rest in steps if step == "USER"]
    assert users == ["1000:1000"]
    last = [step for step, _ in steps].index("USER")
    assert {step for step, _ in steps[last:]} <= {"USER", "HEALTHCHECK", "CMD"}
    bases = [rest for step, rest in steps if step == "FROM"]
    assert bases == ["python:${PYTHON_VERSION}-slim-bookworm"]
    arguments = [rest for step, rest in steps if step == "ARG"]
    assert any(re.fullmatch(r"PYTHON_VERSION=3\.12\.\d+", rest) for rest in arguments)
    assert not any(_SECRET_NAME.search(rest) for rest in arguments)


def test_only_what_is_named_goes_to_the_builder():
    lines = (INFRA / "containers" / "Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert "**/.env" in rules[rules.index("!infra") :]
    copied = re.findall(r"^COPY (.+) \S+$", (INFRA / "containers" / "Dockerfile").read_text(), re.MULTILINE)
    assert {name.split("/")[0] for line in copied for name in line.split()} <= {rule[1:] for rule in rules}


def test_images_have_a_version():
    for where, image in infra_files.images():
        tag = image.rsplit("/", 1)[-1].partition(":")[2]
        assert re.match(r"v?\d+\.\d+", tag), f"{where}: {image}"


def test_no_value_of_a_secret_is_written_anywhere():
    secrets = ("redis://:hunter2@redis:6379", "AKIAIOSFODNN7EXAMPLE", "-----BEGIN RSA PRIVATE KEY-----", "0123abcd" * 3)
    assert all(_SECRET_TEXT.search(text) for text in secrets)
    assert [path for path in TEXTS if _SECRET_TEXT.search(path.read_text())] == []
    assert all(value == "" for value in infra_files.example_variables().values())
    named = list(_named_values())
    assert named
    for where, name, value in named:
        if _SECRET_NAME.search(name):
            assert value in (None, infra_files.FILLED), f"{where}: {name}"
    assert not any(thing["kind"] == "Secret" for _, thing in infra_files.manifests())


def test_git_would_not_take_a_filled_environment_file():
    asked = ["git", "check-ignore", "--quiet", "infra/prefect/.env"]
    assert subprocess.run(asked, cwd=INFRA.parent, check=False).returncode == 0


def test_silent_runs_crash_within_three_heartbeats_even_before_their_first():
    (found,) = infra_files.load("prefect/zombies.yaml")["automations"]
    automation = AutomationCore.model_validate(found)
    trigger = automation.trigger
    assert isinstance(trigger, EventTrigger)
    assert set(found["trigger"]) <= set(EventTrigger.model_fields)
    assert trigger.posture is Posture.Proactive
    assert trigger.after == {"prefect.flow-run.Running", "prefect.flow-run.heartbeat"}
    assert trigger.for_each == {"prefect.resource.id"}
    frequency = Settings().flows.heartbeat_frequency
    assert frequency is not None
    assert timedelta(seconds=3 * frequency) <= trigger.within <= timedelta(seconds=4 * frequency)
    (action,) = automation.actions
    assert set(found["actions"][0]) <= set(type(action).model_fields)
    assert (action.type, action.state.value, action.force) == ("change-flow-run-state", "CRASHED", False)


def _named_values() -> Iterator[tuple[str, str, str | None]]:
    """Yield the variables of every container, with the value that the file gives them."""
    for name, service in SERVICES.items():
        yield from ((name, variable, value) for variable, value in service.get("environment", {}).items())
    for name, template in infra_files.pod_templates():
        for container in template["spec"]["containers"]:
            yield from ((name, variable["name"], variable.get("value")) for variable in container.get("env", []))


@pytest.mark.outside(
    kind="9 operations",
    case="the default deployment in the image",
    right="what it writes lies in a volume of the image's user",
)
@pytest.mark.parametrize("number", range(3))
def test_what_the_default_deployments_write_lies_in_a_volume_of_the_images_user(number):
    deployment = yaml.safe_load((INFRA.parent / "prefect.yaml").read_text())["deployments"][number]
    written = [
        value
        for part in deployment["parameters"].values()
        for name, value in part.items()
        if name in ("store", "out", "folder")
    ]
    dockerfile = (INFRA / "containers" / "Dockerfile").read_text()
    assert "install --directory --owner 1000 --group 1000 runs\nVOLUME /opt/lift3d/runs" in dockerfile
    assert "LIFT3D_HOME=/opt/lift3d" in dockerfile
    assert written
    assert all(place.startswith("runs/") for place in written)
    assert "runs:/opt/lift3d/runs" in SERVICES["worker"]["volumes"]


@pytest.mark.outside(
    kind="9 operations", case="the default deployment's recipe", right="names lifters and operators that there are"
)
def test_the_default_deployment_names_what_there_is():
    (recipe,) = (
        parse_recipe(one["parameters"]["recipe"])
        for one in yaml.safe_load((INFRA.parent / "prefect.yaml").read_text())["deployments"]
        if "recipe" in one["parameters"]
    )
    models = Models.of(recipe)
    assert len(models.lifters) == len(recipe.lifters)
    assert len(models.operators) == len(recipe.operators)


@pytest.mark.outside(
    kind="9 operations",
    case="KubeRay's submitter of a RayJob",
    right="the namespace's own policy lets it start, and a deadline ends its wait",
)
@pytest.mark.parametrize(("name", "job"), infra_files.rayjobs())
def test_a_job_of_ray_starts_or_ends(name, job):
    spec = job["spec"]["submitterPodTemplate"]["spec"]
    namespace = next(thing for _, thing in infra_files.manifests() if thing["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    # Its rights are those of all pods, by the test above; it lacks what only Ray's own need.
    assert spec["restartPolicy"] == "Never"
    assert "volumes" not in spec
    assert job["spec"]["preRunningDeadlineSeconds"] < job["spec"]["activeDeadlineSeconds"]
