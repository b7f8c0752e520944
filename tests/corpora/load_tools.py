"""Load generators, with kept connections and without. No request may fail, and none may be missing."""

from __future__ import annotations

import re

from tests.corpora.rig import Rig, need

CLIENTS = 16
REQUESTS = 1000


def found(pattern: str, text: str, missing: int = -1) -> int:
    """The number that a pattern has in a tool's report; `missing` where it is not there."""
    match = re.search(pattern, text)
    return int(match[1]) if match else missing


def expect(rig: Rig, what: str, got: int, wanted: int) -> None:
    """A figure of the tool's own that must be so."""
    if got != wanted:
        rig.wrong(f"{what}: {got}, not {wanted}")


def ab(rig: Rig) -> None:
    """Apache's ab: HTTP/1.0, kept and not, GET and POST."""
    tool = need("ab")
    body = rig.directory / "body"
    body.write_bytes(b"x" * 20_000)
    for options in (("-k",), (), ("-k", "-p", str(body), "-T", "text/plain")):
        said = rig.run(tool, "-n", str(REQUESTS), "-c", str(CLIENTS), "-l", *options, rig.url("/ab"))
        expect(rig, "complete", found(r"Complete requests: +(\d+)", said), REQUESTS)
        expect(rig, "failed", found(r"Failed requests: +(\d+)", said), 0)
        expect(rig, "not 2xx", found(r"Non-2xx responses: +(\d+)", said, 0), 0)
    rig.row.said = f"{3 * REQUESTS} requests"


def hey(rig: Rig) -> None:
    """Go's client: kept connections and new ones."""
    tool = need("hey")
    for options in ((), ("-disable-keepalive",), ("-m", "PUT", "-d", "x" * 5000)):
        said = rig.run(tool, "-n", str(REQUESTS), "-c", str(CLIENTS), "-t", "20", *options, rig.url("/hey"))
        expect(rig, "200s", found(r"\[200\]\s+(\d+) responses", said), REQUESTS // CLIENTS * CLIENTS)
        if "Error distribution" in said:
            rig.wrong(said.partition("Error distribution:")[2].strip()[:300])
    rig.row.said = f"{3 * (REQUESTS // CLIENTS * CLIENTS)} requests"


def wrk(rig: Rig) -> None:
    """wrk: as fast as it goes, for some seconds; it leaves in the middle of requests at the end."""
    said = rig.run(need("wrk"), "-t2", f"-c{CLIENTS}", "-d6s", "--timeout", "10s", rig.url("/wrk"))
    expect(rig, "not 2xx", found(r"Non-2xx or 3xx responses: (\d+)", said, 0), 0)
    if errors := re.search(r"Socket errors: .*", said):
        rig.wrong(errors[0])
    served = found(r"(\d+) requests in", said)
    rig.row.said = f"{served} requests"


def siege(rig: Rig) -> None:
    """siege: new connections of HTTP/1.0, its habit, and kept ones of 1.1.

    Kept ones of HTTP/1.0 are not asked for: siege 4.0 sends its next request on a closed connection then, whatever the
    answer says, and counts a failure. It does so with every server that closes.
    """
    tool = need("siege")
    for protocol, kept in (("HTTP/1.0", "close"), ("HTTP/1.1", "keep-alive")):
        settings = rig.directory / "siegerc"
        settings.write_text(f"protocol = {protocol}\nconnection = {kept}\nlimit = 255\nlogging = false\n")
        said = rig.run(tool, "-R", str(settings), "-b", f"-c{CLIENTS}", "-r50", rig.url("/siege"))
        expect(rig, "transactions", found(r"Transactions:\s+(\d+)", said), CLIENTS * 50)
        expect(rig, "failed", found(r"Failed transactions:\s+(\d+)", said), 0)
    rig.row.said = f"{2 * CLIENTS * 50} requests"


def httperf(rig: Rig) -> None:
    """httperf: connections at a rate, whatever becomes of the earlier ones; with requests sent ahead in bursts."""
    tool = need("httperf")
    where = ("--server", "127.0.0.1", "--port", str(rig.port), "--uri", "/httperf", "--timeout", "20", "--hog")
    for shape, replies in (
        (("--num-conns", "300", "--rate", "100", "--num-calls", "3"), 900),
        (("--wsess", "50,10,0.1", "--burst-length", "5", "--rate", "20"), 500),
    ):
        said = rig.run(tool, *where, *shape)
        expect(rig, "2xx", found(r"Reply status: .*2xx=(\d+)", said), replies)
        expect(rig, "errors", found(r"Errors: total (\d+)", said), 0)
    rig.row.said = "1400 requests, 500 of them in bursts of 5"


def h2load(rig: Rig) -> None:
    """h2load in its HTTP/1.1 mode: it sends requests ahead, up to eight on a connection."""
    tool = need("h2load")
    for ahead in ("1", "8"):
        said = rig.run(tool, "--h1", f"-n{REQUESTS}", f"-c{CLIENTS}", f"-m{ahead}", "-t1", rig.url("/h2load"))
        expect(rig, "succeeded", found(r"(\d+) succeeded", said), REQUESTS)
        expect(rig, "2xx", found(r"status codes: (\d+) 2xx", said), REQUESTS)
    rig.row.said = f"{2 * REQUESTS} requests"


ALL = {tool.__name__: tool for tool in (ab, hey, wrk, siege, httperf, h2load)}
