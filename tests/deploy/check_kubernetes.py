#!/usr/bin/python3
"""Checks that the Kubernetes files under a folder agree with each other and with the server; needs python3-yaml.

check_kubernetes.py FOLDER    prints a line for each fault; the exit status is 1 after one
"""

import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(folder):
    """Every object of every file, but for the kustomizations."""
    objects = []
    for path in sorted(folder.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document["kind"] != "Kustomization":
                objects.append(document)
    return objects


def of_kind(objects, kind):
    return [item for item in objects if item["kind"] == kind]


def check_files_are_listed(folder):
    """Every YAML file is a resource of the kustomization beside it, and every resource is there."""
    for path in sorted(folder.rglob("kustomization.yaml")):
        resources = set(yaml.safe_load(path.read_text())["resources"])
        files = {file.name for file in path.parent.glob("*.yaml")} - {path.name}
        if files != {name for name in resources if name.endswith(".yaml")}:
            yield f"{path}: lists {sorted(resources)}, beside it lie {sorted(files)}"
        for name in resources:
            if not (path.parent / name).exists():
                yield f"{path}: no {name}"


def check_selectors(objects, labels):
    for item in objects:
        spec = item.get("spec", {})
        selector = {
            "Service": lambda: spec["selector"],
            "Deployment": lambda: spec["selector"]["matchLabels"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda: spec["podSelector"]["matchLabels"],
            "PodMonitor": lambda: spec["selector"]["matchLabels"],
        }.get(item["kind"])
        if selector and not selector().items() <= labels.items():
            yield f"{item['kind']} {item['metadata']['name']}: selects {selector()}, the pods have {labels}"


def check_ports(objects, container):
    names = {port["name"] for port in container["ports"]}
    used = [("probe", container[probe]["httpGet"]["port"]) for probe in ("startupProbe", "readinessProbe", "livenessProbe")]
    for service in of_kind(objects, "Service"):
        used += [(f"Service {service['metadata']['name']}", port["targetPort"]) for port in service["spec"]["ports"]]
    for policy in of_kind(objects, "NetworkPolicy"):
        used += [("NetworkPolicy", port["port"]) for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    for monitor in of_kind(objects, "PodMonitor"):
        used += [("PodMonitor", endpoint["port"]) for endpoint in monitor["spec"]["podMetricsEndpoints"]]
    for what, port in used:
        if port not in names:
            yield f"{what}: port {port} is none of {sorted(names)}"


def seconds(text):
    return int(re.fullmatch(r"(\d+)s", text).group(1))


def check_server(pod, container):
    """Flags exist, listening ports are the declared ones, and a drain ends before the pod is killed."""
    flags = dict(argument.split("=", 1) for argument in container["args"])
    known = set(re.findall(r'"(--[a-z-]+)"', (ROOT / "server/server_options.cc").read_text()))
    for flag in sorted(set(flags) - known):
        yield f"args: the server has no {flag}"
    declared = {port["name"]: port["containerPort"] for port in container["ports"]}
    for flag, name in (("--listen", "grpc"), ("--http-listen", "http")):
        if flags[flag] != f"0.0.0.0:{declared[name]}":
            yield f"args: {flag} is {flags[flag]}, the port {name} is {declared[name]}"
    grace = pod["terminationGracePeriodSeconds"]
    if grace != seconds(flags["--drain-timeout"]) + 30:
        yield f"terminationGracePeriodSeconds {grace} is not --drain-timeout and 30 s"
    if int(flags["--threads"]) != int(container["resources"]["requests"]["cpu"]):
        yield "--threads is not the CPU request"


def check_security(pod, container):
    wanted = [
        (pod["automountServiceAccountToken"] is False, "the service account's token is mounted"),
        (pod["securityContext"]["runAsNonRoot"] is True, "may run as root"),
        (pod["securityContext"]["runAsUser"] >= 10000, "runs as a user that the node may have"),
        (pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "no seccomp profile"),
        (container["securityContext"]["readOnlyRootFilesystem"] is True, "the root file system is writable"),
        (container["securityContext"]["allowPrivilegeEscalation"] is False, "may escalate privileges"),
        (container["securityContext"]["capabilities"]["drop"] == ["ALL"], "keeps capabilities"),
        (all(mount["readOnly"] for mount in container["volumeMounts"]), "a volume is writable"),
    ]
    return [fault for holds, fault in wanted if not holds]


def main():
    folder = pathlib.Path(sys.argv[1])
    objects = load(folder)
    (deployment,) = of_kind(objects, "Deployment")
    template = deployment["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    faults = [
        *check_files_are_listed(folder),
        *check_selectors(objects, template["metadata"]["labels"]),
        *check_ports(objects, container),
        *check_server(pod, container),
        *check_security(pod, container),
    ]
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
