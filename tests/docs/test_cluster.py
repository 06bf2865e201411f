"""The recipes for clusters are whole: each file parses, and names what exists."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml

from pipelines.engine.params import read_sections
from pipelines.params import section_classes
from tests.helpers.paths import ROOT

FOLDER = ROOT / "docs" / "cluster"
GPU = "nvidia.com/gpu"
STAGES = ("ingest", "quality", "annotate", "vae", "encode", "pack")


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Containerfile, with continued lines joined."""
    lines = [line for line in (FOLDER / "Containerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def pinned(package: str) -> str:
    (line,) = (line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith(f"{package}=="))
    return line.partition("==")[2]


def test_the_launchers_file_fits_its_schema() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((FOLDER / "ray-aws.yaml").read_text())
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    validate_config(prepare_config(config))  # as `ray up` does it
    types = config["available_node_types"]
    assert config["head_node_type"] in types and types["head"]["resources"] == {"CPU": 0}
    assert {name for name, node in types.items() if node["resources"].get("GPU")} == {"gpu"}
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert any("RAY_AUTH_MODE=token ray start" in command for command in config[commands])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**config, "max_worker": 3}, schema)


def test_the_job_for_kubernetes_is_whole() -> None:
    """There is no schema at hand: what KubeRay requires, and what the engine relies on."""
    job, claim = yaml.safe_load_all((FOLDER / "ray-kubernetes.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob") and job["metadata"]["generateName"]
    known = {"entrypoint", "rayClusterSpec", "shutdownAfterJobFinishes", "submissionMode", "ttlSecondsAfterFinished"}
    assert set(job["spec"]) == known and job["spec"]["shutdownAfterJobFinishes"] is True
    cluster = job["spec"]["rayClusterSpec"]
    known = {"autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion", "workerGroupSpecs"}
    assert set(cluster) == known and cluster["enableInTreeAutoscaling"] is True
    assert cluster["rayVersion"] == pinned("ray")
    head, groups = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert set(head) == {"rayStartParams", "template"} and head["rayStartParams"] == {"num-cpus": "0"}
    known = {"groupName", "maxReplicas", "minReplicas", "rayStartParams", "replicas", "template"}
    for group in groups:
        assert set(group) == known and group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    assert [group["groupName"] for group in groups] == ["cpu", "gpu"]
    for group in (head, *groups):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert re.fullmatch(r"\S+/wanstreamer(-gpu)?:[\d.]+", container["image"]) and pod["restartPolicy"] == "Never"
        limits, requests = (container["resources"][name] for name in ("limits", "requests"))
        assert limits == requests, "Ray takes a node's size from the limits"
        assert (GPU in limits) == (group.get("groupName") == "gpu") == container["image"].count("-gpu")
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        assert {mount["name"] for mount in container.get("volumeMounts", ())} == volumes
    (volume,) = head["template"]["spec"]["volumes"]
    assert claim["kind"] == "PersistentVolumeClaim"
    assert claim["metadata"]["name"] == volume["persistentVolumeClaim"]["claimName"]


def test_the_command_of_the_job_names_stages_and_parameters() -> None:
    job = next(yaml.safe_load_all((FOLDER / "ray-kubernetes.yaml").read_text()))
    shell, options, script = shlex.split(job["spec"]["entrypoint"])
    assert (shell, options) == ("sh", "-ec")
    stages = re.search(r"for stage in ([a-z ]+);", script)
    assert stages is not None and tuple(stages[1].split()) == STAGES
    words = script.split()
    settings = [words[place + 1].rstrip(";") for place, word in enumerate(words) if word == "--set"]
    classes = section_classes()
    for section, values in read_sections(None, settings).items():
        for name in values:
            assert name in classes[section].__dataclass_fields__, f"{section}.{name}"
    assert "run.store=s3://bucket/made" in settings and "ingest.source=s3://bucket/recordings" in settings


def test_the_containerfile_is_pinned_and_needs_no_network_later() -> None:
    steps = instructions()
    assert {name for name, _ in steps} == {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    (image,) = (arguments for name, arguments in steps if name == "FROM")
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-\w+", image)
    for name, arguments in steps:
        if name == "COPY":
            assert all((ROOT / source).exists() for source in arguments.split()[:-1]), arguments
        for command in re.split(r"&&|;|then|else", arguments) if name == "RUN" else ():
            assert not re.search(r"\b(?:curl|wget)\b|https?://", command)
            if "pip install" in command:
                assert "-c constraints.txt" in command or "==' constraints.txt" in command, command
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for found in re.findall(r"\.\[([\w,]+)\]", " ".join(arguments for _, arguments in steps)):
        assert set(found.split(",")) <= set(extras)
    names = [name for name, _ in steps]
    assert dict(steps)["USER"] == "ray" and names.index("USER") > max(i for i, n in enumerate(names) if n == "RUN")
    assert "HF_HUB_OFFLINE=1" in dict(steps)["ENV"]
    json.loads(dict(steps)["CMD"])


def builder() -> str | None:
    """A program that can build images here."""
    for program in ("docker", "podman", "buildah"):
        if (
            shutil.which(program)
            and subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0
        ):
            return program
    return None


@pytest.mark.stress
def test_the_container_is_built_and_works_without_a_network() -> None:
    program = builder()
    if program is None:
        pytest.skip("no program that builds images runs here")
    build = ["build", "-f", str(FOLDER / "Containerfile"), "-t", "wanstreamer-test", "."]
    subprocess.run([program, *build], cwd=ROOT, check=True)
    command = ["python", "-m", "pipelines.ingest", "--help"]
    subprocess.run([program, "run", "--rm", "--network", "none", "wanstreamer-test", *command], check=True)
