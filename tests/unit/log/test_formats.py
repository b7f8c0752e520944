"""The log's formats, and what of them goes to its file."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

from faucet.log.formats import JsonFormat, TextFormat
from faucet.log.handler import Log
from faucet.settings import LogSettings
from tests.support.records import RECORD


def test_text_lines() -> None:
    line = TextFormat(colour=False).request(RECORD)
    assert line.endswith('.500 10.0.0.1 "GET /a%22b HTTP/1.1" 503 312B queue=31.0ms service=0.0ms worker=- (full)')
    assert "\x1b" in TextFormat(colour=True).request(RECORD)
    assert (
        TextFormat(colour=False).output(1, "out", "a\x1b[2Jb\x9b\u2028").endswith(r"worker 1 out | a\x1b[2Jb\x9b\u2028")
    )
    assert TextFormat(colour=False).message(logging.WARNING, "x", None).endswith(" warning: x")


def test_json_lines() -> None:
    event = json.loads(JsonFormat().request(RECORD))
    assert (event["event"], event["status"], event["worker"], event["queue_seconds"]) == ("request", 503, None, 0.031)
    assert json.loads(JsonFormat().output(2, "err", "\x1b"))["text"] == "\x1b"
    event = json.loads(JsonFormat().message(logging.ERROR, "x", "3"))
    assert (event["level"], event["worker"]) == ("error", "3")


async def test_what_a_worker_wrote_of_a_failed_request_is_in_its_line(tmp_path: Path) -> None:
    log = Log(LogSettings(log_file=tmp_path / "log"))
    record = replace(RECORD, status=500, worker="1", note="")
    log.request(record)
    log.output(1, "out", "GET /boom")
    record.error = '<simpleError in g(y): no "x"\x1b[2J>'
    log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[0].endswith(r"""worker=1 error="simpleError: no 'x'\x1b[2J" """.strip())
    assert lines[1].endswith("worker 1 out | GET /boom")
    assert json.loads(JsonFormat().request(record))["error"] == record.error


def test_the_log_goes_to_its_file(tmp_path: Path) -> None:
    log = Log(LogSettings(log_file=tmp_path / "log"))
    log.request(RECORD)
    logging.getLogger("faucet").info("hello %s", "you")
    logging.getLogger("faucet").debug("not this")
    log.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [line[24:] for line in lines][1:] == ["hello you"]
    quiet = Log(LogSettings(log_level="warning", log_file=tmp_path / "log"))
    quiet.request(RECORD)
    quiet.output(1, "out", "x")
    quiet.close()
    assert len((tmp_path / "log").read_text().splitlines()) == 2
