"""Checks of the WAMP router: reachable, and answering under the paths of the site config."""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from socs.cli.findings import Finding, fail, ok

TIMEOUT = 3.0  # s for each answer
START = "start the router (`crossbar start --cbdir ...`), or correct the address"
DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


def check_router(hub: Mapping[str, Any], timeout: float = TIMEOUT) -> list[Finding]:
    """Whether agents (WebSocket) and clients (HTTP) can reach the router of ``hub``."""
    found = [check_websocket(hub["wamp_server"], timeout)]
    if "wamp_http" in hub:
        found.append(check_http_bridge(hub["wamp_http"], hub["address_root"], timeout))
    return found


def check_websocket(url: str, timeout: float = TIMEOUT) -> Finding:
    """Whether agents can connect to ``url`` (``hub.wamp_server``)."""
    subject = "router, for agents"
    parts, problem = _split(url, ("ws", "wss"))
    if parts is None:
        return fail(subject, f"wamp_server {url!r}: {problem}", "write it like ws://HOST:8001/ws")
    key = base64.b64encode(os.urandom(16)).decode()
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "wamp.2.json",
    }
    status, answer = _request(parts, "GET", None, headers, timeout)
    if status is None:
        return fail(subject, f"{url}: {answer}", START)
    if status != http.client.SWITCHING_PROTOCOLS:
        remedy = "correct the path in wamp_server to that of the router's config"
        return fail(subject, f"{url} is no WAMP endpoint (HTTP status {status})", remedy)
    return ok(subject, f"answers at {url}")


def check_http_bridge(url: str, address_root: str, timeout: float = TIMEOUT) -> Finding:
    """Whether clients can call agents through ``url`` (``hub.wamp_http``)."""
    subject = "router, for clients"
    parts, problem = _split(url, ("http", "https"))
    if parts is None:
        return fail(subject, f"wamp_http {url!r}: {problem}", "write it like http://HOST:8001/call")
    status, answer = call(parts, f"{address_root}.socs-doctor", timeout)
    if status is None:
        return fail(subject, f"{url}: {answer}", START)
    if not isinstance(answer, dict) or not {"error", "args"} & answer.keys():
        text = f"{url} is no call endpoint (HTTP status {status})"
        remedy = "correct the path in wamp_http to that of the `caller` in the router's config"
        return fail(subject, text, remedy)
    if answer.get("error") == "wamp.error.not_authorized":
        text = f"may not call {address_root}.*"
        remedy = "make address_root that of the permissions in the router's config"
        return fail(subject, text, remedy)
    return ok(subject, f"answers at {url}")


def agent_answers(hub: Mapping[str, Any], instance_id: str, timeout: float = TIMEOUT) -> bool:
    """Whether an agent of this id has joined the router."""
    parts, _ = _split(hub.get("wamp_http", ""), ("http", "https"))
    if parts is None:
        return False
    _, answer = call(parts, f"{hub['address_root']}.{instance_id}", timeout, "get_api")
    return isinstance(answer, dict) and "error" not in answer and "args" in answer


def call(
    parts: SplitResult, procedure: str, timeout: float, *arguments: str
) -> tuple[int | None, Any]:
    """Call a procedure through the router's HTTP bridge: (HTTP status, answer).

    The status is None without an answer, which is then the reason; an answer that is not JSON
    becomes None.
    """
    body = json.dumps({"procedure": procedure, "args": arguments})
    headers = {"Content-Type": "application/json"}
    status, answer = _request(parts, "POST", body, headers, timeout)
    if status is None:
        return None, answer
    try:
        return status, json.loads(answer)
    except ValueError:
        return status, None


def _split(url: Any, schemes: tuple[str, ...]) -> tuple[SplitResult | None, str]:
    """The parts of ``url``, or None and what is wrong with it."""
    try:
        parts = urlsplit(str(url))
        _ = parts.port
    except ValueError as error:
        return None, str(error)
    if parts.scheme not in schemes or not parts.hostname:
        return None, f"not a {' or '.join(schemes)} address"
    return parts, ""


def _request(
    parts: SplitResult, method: str, body: str | None, headers: Mapping[str, str], timeout: float
) -> tuple[int | None, str]:
    """(HTTP status, body), or (None, why there was no answer)."""
    secure = parts.scheme in ("wss", "https")
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    connection = kind(parts.hostname or "", port, timeout=timeout)
    try:
        connection.request(method, parts.path or "/", body, dict(headers))
        response = connection.getresponse()
        upgraded = response.status == http.client.SWITCHING_PROTOCOLS
        return response.status, "" if upgraded else response.read().decode(errors="replace")
    except TimeoutError:
        return None, f"no answer within {timeout:g} s"
    except socket.gaierror:
        return None, f"host {parts.hostname} is not known"
    except (OSError, http.client.HTTPException) as error:
        return None, getattr(error, "strerror", None) or str(error) or type(error).__name__
    finally:
        connection.close()
