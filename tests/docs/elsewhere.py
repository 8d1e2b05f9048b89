"""Programs of others that pages show, and why no test of the documentation runs them."""

_SERVERS = "needs servers; the same commands are run by tests/cluster and their files checked by tests/infra"
_CLOUD = "needs a cloud, Docker or Kubernetes; the files that are named are checked by tests/infra"
_MACHINE = "prepares the reader's own machine"

ELSEWHERE: dict[str, str] = {
    "prefect": _SERVERS,
    "ray": _SERVERS,
    "curl": _SERVERS,
    "docker": _CLOUD,
    "kubectl": _CLOUD,
    "alias": _CLOUD,
    "on": _CLOUD,
    "cp": _CLOUD,
    "chmod": _CLOUD,
    "umask": _CLOUD,
    "openssl": _CLOUD,
    "mkdir": _CLOUD,
    "export": _MACHINE,
    "pip": _MACHINE,
    "source": _MACHINE,
    "printf": "part of the shell; run with its page",
    "hf": "downloads a model from a hub",
}
