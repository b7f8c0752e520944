"""The files that `faucet example` prints: real tools accept them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import kubernetes_validate
import pytest
import yaml
from websockets.asyncio.client import connect

from faucet import __version__
from faucet.cli.main import main
from faucet.cli.tools import EXAMPLES, ExampleName
from tests.bench.peers import consecutive_ports, process, scratch
from tests.support.kubeapi import KubeApi
from tests.support.load import get
from tests.support.running import Faucet, python_worker

Tool = Callable[[str], str]
Start = Callable[..., Faucet]


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["example", name]) == 0
    return capsys.readouterr().out


def test_the_manifests_fit_the_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    objects = list(yaml.safe_load_all(printed("kubernetes", capsys)))
    for found in objects:
        kubernetes_validate.validate(found, "1.32", strict=True)
    by_kind = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    assert by_kind["Service", "plumber"]["spec"]["clusterIP"] == "None"
    assert by_kind["Deployment", "faucet"]["spec"]["strategy"] == {"type": "Recreate"}
    for name in ("faucet", "plumber"):
        labels = by_kind["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        assert by_kind["Service", name]["spec"]["selector"] == labels


def test_the_manifests_of_two_faucets_differ_in_what_they_must(capsys: pytest.CaptureFixture[str]) -> None:
    objects = list(yaml.safe_load_all(printed("kubernetes-ha", capsys)))
    for found in objects:
        kubernetes_validate.validate(found, "1.32", strict=True)
    by_kind = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    deployment = by_kind["Deployment", "faucet"]["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    container = deployment["template"]["spec"]["containers"][0]
    assert {entry["name"] for entry in container["env"]} == {"POD_NAME", "POD_UID", "POD_IP"}
    assert "--ha" in container["args"]
    leases = by_kind["Role", "faucet"]["rules"][1]
    assert (leases["resources"], leases["verbs"]) == (["leases"], ["get", "create", "update"])
    assert {"PodDisruptionBudget", "NetworkPolicy"} <= {found["kind"] for found in objects}


def manifests(name: str, capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], Any]:
    found = list(yaml.safe_load_all(printed(name, capsys)))
    for each in found:
        kubernetes_validate.validate(each, "1.32", strict=True)
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def test_the_manifests_with_strict_pods_differ_in_what_makes_them_strict(capsys: pytest.CaptureFixture[str]) -> None:
    usual, strict = manifests("kubernetes-ha", capsys), manifests("kubernetes-strict", capsys)
    assert set(strict) - set(usual) == {("NetworkPolicy", "plumber")}
    assert {key for key in usual if usual[key] != strict[key]} == {("Deployment", "plumber"), ("Deployment", "faucet")}
    pod = strict["Deployment", "plumber"]["spec"]["template"]["spec"]["containers"][0]
    assert pod["args"][:6] == ["local", "--workers", "1", "--queue-limit", "0", "--fencing"]
    faucets = [which["Deployment", "faucet"]["spec"]["template"]["spec"]["containers"][0] for which in (usual, strict)]
    added = set(faucets[1]["args"]) - set(faucets[0]["args"])
    assert added == {"--fencing", "--ha-on-partition", "serve"}
    assert faucets[0] | {"args": ()} == faucets[1] | {"args": ()}
    (to_r,) = [
        rule for rule in strict["NetworkPolicy", "plumber"]["spec"]["ingress"] if {"port": "http"} in rule["ports"]
    ]
    assert to_r["from"] == [{"podSelector": {"matchLabels": {"app": "faucet"}}}]


def test_pods_get_no_variables_of_services(capsys: pytest.CaptureFixture[str]) -> None:
    """A service `faucet` would give each pod FAUCET_PORT=tcp://…, which is what an API reads its port from."""
    for found in yaml.safe_load_all(printed("kubernetes", capsys)):
        if found["kind"] == "Deployment":
            assert found["spec"]["template"]["spec"]["enableServiceLinks"] is False, found["metadata"]["name"]


async def test_kubectl_would_apply_them(
    tool: Callable[[str], str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kubectl = tool("kubectl")
    (tmp_path / "faucet.yaml").write_text(printed("kubernetes", capsys))
    async with KubeApi(tmp_path / "api") as api:
        environment = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(api.kubeconfig(tmp_path / "config"))}
        # Validation against the server's own schemas would need a server that has them.
        words = [kubectl, "apply", "--dry-run=client", "--validate=false", "-f", str(tmp_path / "faucet.yaml")]
        done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("created (dry run)") == 7


@pytest.mark.parametrize(
    ("name", "deployment"),
    [
        ("kubernetes", "faucet"),
        ("kubernetes-ha", "faucet"),
        ("kubernetes-strict", "faucet"),
        ("kubernetes-strict", "plumber"),
    ],
)
def test_the_command_in_the_manifests_is_understood(
    name: str, deployment: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = manifests(name, capsys)["Deployment", deployment]
    arguments = found["spec"]["template"]["spec"]["containers"][0]["args"]
    words = [sys.executable, "-m", "faucet", *arguments, "--log-level", "nonsense"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "nonsense" in done.stderr
    assert "log-level" in done.stderr, "all else was understood"


def test_completions_are_of_the_shells_language(tool: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        text = capsys.readouterr().out
        assert "queue-limit" in text
        assert "rolling-restart" in text
    main(["completion", "bash"])
    done = subprocess.run(
        [tool("bash"), "-n"], input=capsys.readouterr().out, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_versions_of_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"faucet {__version__}\nPython 3.")
    assert "uvloop" in said


def test_the_unit_is_one(capsys: pytest.CaptureFixture[str], tmp_path: Path, tool: Tool) -> None:
    unit = printed("systemd", capsys)
    command = unit.partition("ExecStart=")[2].partition("\nExecReload")[0].replace("\\\n", " ").split()[1:]
    words = [sys.executable, "-m", "faucet", *command, "--log-level", "nonsense"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "log-level" in done.stderr, "all else was understood"

    def verify(text: str) -> str:
        path = tmp_path / "faucet.service"
        path.write_text(text.replace("/opt/faucet/bin/faucet", sys.executable))
        words = [tool("systemd-analyze"), "verify", "--man=no", str(path)]
        return subprocess.run(words, capture_output=True, text=True, check=False).stderr

    assert verify(unit) == ""
    assert "Unknown key" in verify(unit.replace("ReadWritePaths", "ReadWritingPaths")), "it would be said"


def test_the_unit_lets_an_api_write_and_speak(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed("systemd", capsys).splitlines()
    wanted = {"ProtectSystem=strict", "ReadWritePaths=-/srv/api/data", "StateDirectory=faucet"}
    assert wanted | {"Environment=LANG=C.UTF-8", "LimitNOFILE=65536"} <= set(lines)


# -- nginx -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def nginx_with(snippet: str, nginx: str, faucet_port: int) -> Iterator[int]:
    """The snippet in an nginx that it is not the main file of, with other ports. The port."""
    port = consecutive_ports(1)[0]
    snippet = snippet.replace("listen 80;", f"listen 127.0.0.1:{port};").replace(":3838;", f":{faucet_port};")
    with scratch() as directory:
        temporary = " ".join(f"{name}_temp_path {directory};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
        (directory / "faucet.conf").write_text(snippet)
        (directory / "nginx.conf").write_text(
            f"daemon off; pid {directory}/pid; error_log stderr;\nevents {{}}\nhttp {{ access_log off;\n"
            f"client_body_temp_path {directory}; {temporary} include {directory}/faucet.conf; }}\n"
        )
        words = [nginx, "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        tested = subprocess.run([*words, "-t"], capture_output=True, text=True, check=False)
        assert (tested.returncode, "warn" in tested.stderr) == (0, False), tested.stderr
        with process("nginx", port, words):
            yield port


def test_a_request_through_nginx(faucet: Start, tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--command", python_worker("echo"), "-w", "1", "--ip-from", "x-forwarded-for", "--trust", "127.0.0.1")
    service = faucet(*options).wait_ready()
    with nginx_with(printed("nginx", capsys), tool("nginx"), service.port) as port:
        words = ["curl", "-s", "--interface", "127.0.0.2", "-H", "X-Forwarded-For: 203.0.113.5"]
        words += ["-H", "X-Forwarded-Proto: https", f"http://127.0.0.1:{port}/there"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    fields = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    assert fields["Host"] == f"127.0.0.1:{port}"
    assert fields["X-Forwarded-For"] == fields["X-Real-IP"] == "127.0.0.2", "not what the client made up"
    assert fields["X-Forwarded-Proto"] == "http"
    assert "Connection" not in fields, "or each request would open a connection"
    service.wait_line(r'127\.0\.0\.2 "GET /there')


async def test_a_websocket_through_nginx(faucet: Start, tool: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    service = faucet("--command", python_worker("websocket"), "-w", "1").wait_ready()
    with nginx_with(printed("nginx", capsys), tool("nginx"), service.port) as port:
        async with connect(f"ws://127.0.0.1:{port}/ws") as websocket:
            await websocket.send("there and back")
            assert await websocket.recv() == "there and back"


def test_nginx_waits_longer_than_faucet(capsys: pytest.CaptureFixture[str]) -> None:
    from faucet.settings import LocalSettings

    seconds = re.search(r"proxy_read_timeout (\d+)s;", printed("nginx", capsys))
    assert seconds is not None
    assert int(seconds[1]) > LocalSettings().queue_timeout + LocalSettings().request_timeout


# -- Prometheus ------------------------------------------------------------------------------------------------------


def promtool(tool: Tool, directory: Path, *words: str) -> str:
    done = subprocess.run([tool("promtool"), *words], capture_output=True, text=True, check=False, cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_both_files(tool: Tool, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for example, file in (("prometheus", "prometheus.yml"), ("alerts", "alerts.yml")):
        (tmp_path / file).write_text(printed(example, capsys))
    assert "8 rules found" in promtool(tool, tmp_path, "check", "config", "prometheus.yml")


def test_the_metrics_in_the_alerts_exist(faucet: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """An alert on a metric that nobody exports never fires, and nobody notices."""
    port = consecutive_ports(1)[0]
    service = faucet("--command", python_worker("echo"), "-w", "1", "--admin", f"127.0.0.1:{port}").wait_ready()
    subprocess.run(["curl", "-s", f"http://127.0.0.1:{service.port}/"], check=True, capture_output=True)
    text = get(port, "/metrics")[1]
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    named = set(re.findall(r"\bfaucet_\w+", printed("alerts", capsys)))
    assert len(named) >= 7
    for name in named:
        assert name in types or types.get(name.removesuffix("_bucket")) == "histogram", name
    assert 'status="2xx"' in text
    assert 'state="backoff"' in text


FIRES: dict[str, list[tuple[str, str]]] = {
    "FaucetDown": [('up{job="faucet", instance="a"}', "0x30")],
    "FaucetNoWorker": [
        ('faucet_workers{instance="a", state="ready"}', "0x30"), ('faucet_workers{instance="a", state="busy"}', "0x30"),
    ],
    "FaucetWorkerFails": [('faucet_workers{instance="a", state="failed"}', "1x30")],
    "FaucetRefuses": [('faucet_refusals_total{instance="a", reason="queue_full"}', "0+3x30")],
    "FaucetQueueGrows": [
        ('faucet_queue_length{instance="a"}', "600x30"), ('faucet_queue_limit{instance="a"}', "1024x30"),
    ],
    "FaucetWaitsLong": [
        ('faucet_queue_wait_seconds_bucket{instance="a", le="4"}', "0x30"),
        ('faucet_queue_wait_seconds_bucket{instance="a", le="16"}', "0+9x30"),
        ('faucet_queue_wait_seconds_bucket{instance="a", le="+Inf"}', "0+9x30"),
    ],
    "FaucetErrors": [
        ('faucet_requests_total{instance="a", worker="1", status="2xx"}', "0+90x30"),
        ('faucet_requests_total{instance="a", worker="2", status="5xx"}', "0+9x30"),
    ],
    "FaucetWorkersRestart": [('faucet_worker_restarts_total{instance="a", reason="exit"}', "0+1x30")],
}  # fmt: skip
"""What the numbers look like, a minute apart, when an alert is right; each of these gives that one alert."""

HEALTHY: list[tuple[str, str]] = [
    ('up{job="faucet", instance="a"}', "1x30"),
    ('faucet_workers{instance="a", state="ready"}', "0x30"),
    ('faucet_workers{instance="a", state="busy"}', "4x30"),
    ('faucet_workers{instance="a", state="failed"}', "0x30"),
    ('faucet_refusals_total{instance="a", reason="queue_full"}', "7x30"),
    ('faucet_refusals_total{instance="a", reason="shutdown"}', "0+3x30"),
    ('faucet_queue_length{instance="a"}', "0x30"),
    ('faucet_queue_limit{instance="a"}', "0x30"),
    ('faucet_queue_wait_seconds_bucket{instance="a", le="4"}', "0+9x30"),
    ('faucet_queue_wait_seconds_bucket{instance="a", le="+Inf"}', "0+9x30"),
    ('faucet_requests_total{instance="a", worker="1", status="2xx"}', "0+90x30"),
    ('faucet_requests_total{instance="a", worker="1", status="5xx"}', "0+1x30"),
    ('faucet_worker_restarts_total{instance="a", reason="exit"}', "3x30"),
    ('faucet_worker_restarts_total{instance="a", reason="rolling_restart"}', "0+4x30"),
]
"""A busy service that does well: nothing fires. A queue of no places is never half full."""


def test_each_alert_fires_when_it_should(tool: Tool, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rules = printed("alerts", capsys)
    (tmp_path / "alerts.yml").write_text(rules)
    names = [rule["alert"] for rule in yaml.safe_load(rules)["groups"][0]["rules"]]
    assert sorted(names) == sorted(FIRES)

    def test(series: list[tuple[str, str]], firing: str) -> dict[str, Any]:
        """At the end: this alert and no other."""
        # ALERTS is what Prometheus itself knows of them, without their texts.
        expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
        samples = [{"labels": f'{{alertname="{firing}"}}', "value": 1}] if firing else []
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series],
            "promql_expr_test": [{"expr": expression, "eval_time": "30m", "exp_samples": samples}],
        }

    tests = [test(HEALTHY, ""), *(test(series, name) for name, series in FIRES.items())]
    content = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(content))
    assert "SUCCESS" in promtool(tool, tmp_path, "test", "rules", "test.yml")


# -- containers (what is built from them: test_images.py) ----------------------------------------------------------


def test_the_compose_file_is_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By the Compose specification's own schema."""
    text = printed("compose", capsys)

    def check(content: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "compose.yaml").write_text(content)
        words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"]
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert check(text).returncode == 0, check(text).stdout
    assert check(text.replace("mem_limit", "memory-limit")).returncode == 1, "it would be said"


def test_the_compose_file_fits_the_other_examples(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed("compose", capsys)
    services = yaml.safe_load(text)["services"]
    for name in re.findall(r"faucet example ([\w-]+)", text):
        assert name in EXAMPLES
    mounted = {volume.split(":")[0] for name in ("nginx", "prometheus") for volume in services[name]["volumes"]}
    written = {f"./{name}" for name in re.findall(r"> ([\w.]+)", text)}
    assert {name for name in mounted if name.startswith(".")} <= written
    for example in ("nginx", "prometheus"):
        changed = printed(example, capsys).replace("127.0.0.1", "api")
        assert re.search(r"^[^#]*\bapi:383[89]\b", changed, re.MULTILINE), example
    for name, value in services["api"]["environment"].items():
        monkeypatch.setenv(name, value)
    assert main(["config", "--dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in services["api"]["environment"])


@pytest.mark.parametrize("name", ["containerfile", "containerfile-r"])
def test_the_images_are_made_well(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(name, capsys)
    last = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 65532$", last, re.MULTILINE), "not root"
    assert re.search(r'^ENTRYPOINT \["faucet"\]$', last, re.MULTILINE), "signals arrive"
    assert re.search(r"^STOPSIGNAL SIGTERM$", last, re.MULTILINE)
    assert "LANG=C.UTF-8" in last


# -- all of them -----------------------------------------------------------------------------------------------------


def test_each_example_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(EXAMPLES) == set(get_args(ExampleName))
    for name in EXAMPLES:
        text = printed(name, capsys)
        assert len(text) > 400
        assert f"faucet example {name} " in text, "it says how it is made"
        assert text.isascii(), "whatever the locale"


def test_without_a_name_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example"]) == 0
    said = capsys.readouterr().out
    for name, example in EXAMPLES.items():
        assert re.search(rf"^  {name} +{re.escape(example.description)}$", said, re.MULTILINE)
    assert max(map(len, said.splitlines())) <= 80


def test_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example", "docker"]) == 2
    assert '"containerfile-r"' in capsys.readouterr().err
