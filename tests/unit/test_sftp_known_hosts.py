"""What known_hosts says of a host."""

from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.destination.sftp_known_hosts import (
    HostKey,
    Judgement,
    Verdict,
    host_name,
    judge,
    keys_of,
)

_KEY = HostKey("ssh-ed25519", b"the key")
_OTHER = HostKey("ssh-ed25519", b"another key")
_RSA = HostKey("ssh-rsa", b"the key of the other algorithm")


def line(hosts: str, key: HostKey = _KEY, marker: str = "") -> str:
    return f"{marker} {hosts} {key.algorithm} {base64.b64encode(key.blob).decode()} a comment\n"


def verdict(text: str, name: str = "example.org", offered: HostKey = _KEY) -> Judgement:
    return judge(keys_of(text, name), offered)


@pytest.mark.parametrize(
    ("host", "port", "name"),
    [
        ("Example.org", 22, "example.org"),
        ("example.org", 2222, "[example.org]:2222"),
        ("::1", 22, "::1"),
        ("::1", 23, "[::1]:23"),
    ],
)
def test_names(host: str, port: int, name: str) -> None:
    assert host_name(host, port) == name


@pytest.mark.parametrize(
    "hosts",
    ["example.org", "other,example.org", "EXAMPLE.org", "*.org", "*", "exampl?.org", "*,!other.org"],
)
def test_patterns_that_match(hosts: str) -> None:
    assert verdict(line(hosts)) == Judgement(Verdict.KNOWN, 1)


@pytest.mark.parametrize(
    "hosts",
    ["example.com", "*.example.org", "!example.org,*", "*,!*.org", "[example.org]:2222", "example.or[g]", "?"],
)
def test_patterns_that_do_not_match(hosts: str) -> None:
    assert verdict(line(hosts)) == Judgement(Verdict.UNKNOWN)


def test_names_with_a_port() -> None:
    assert verdict(line("[example.org]:2222"), "[example.org]:2222").verdict is Verdict.KNOWN
    assert verdict(line("[*.org]:2222"), "[example.org]:2222").verdict is Verdict.KNOWN
    assert verdict(line("example.org"), "[example.org]:2222").verdict is Verdict.UNKNOWN


@given(st.binary(min_size=20, max_size=20), st.sampled_from(["example.org", "[example.org]:2222"]))
def test_hashed_names(salt: bytes, name: str) -> None:
    digest = base64.b64encode(hmac.digest(salt, name.encode(), "sha1")).decode()
    hashed = f"|1|{base64.b64encode(salt).decode()}|{digest}"
    assert verdict(line(hashed), name).verdict is Verdict.KNOWN
    assert verdict(line(hashed), "other.org").verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("hosts", ["|2|AAAA|AAAA", "|1|AAAA", "|1|!|!", "|1|AAAA|ö", "|"])
def test_hashes_that_make_no_sense_match_nothing(hosts: str) -> None:
    assert verdict(line(hosts)) == Judgement(Verdict.UNKNOWN)


def test_a_changed_key_names_the_line_of_the_same_algorithm() -> None:
    text = "# a comment\n" + line("example.org", _RSA) + line("example.org", _OTHER)
    assert verdict(text) == Judgement(Verdict.CHANGED, 3)
    assert verdict(line("example.org", _RSA)) == Judgement(Verdict.CHANGED, 1)


def test_one_of_several_keys_is_enough() -> None:
    assert verdict(line("example.org", _OTHER) + line("example.org")) == Judgement(Verdict.KNOWN, 2)


def test_a_revoked_key_is_refused_wherever_else_it_stands() -> None:
    text = line("example.org") + line("*", marker="@revoked")
    assert verdict(text) == Judgement(Verdict.REVOKED, 2)
    assert verdict(text, "other.org") == Judgement(Verdict.REVOKED, 2)


def test_another_key_that_is_revoked_says_nothing() -> None:
    assert verdict(line("*", _OTHER, "@revoked")) == Judgement(Verdict.UNKNOWN)
    assert verdict(line("*", _OTHER, "@revoked") + line("example.org")) == Judgement(Verdict.KNOWN, 2)


def test_certificate_authorities_admit_and_refuse_nothing() -> None:
    assert verdict(line("*", marker="@cert-authority")) == Judgement(Verdict.UNKNOWN)
    assert verdict(line("*", _OTHER, "@cert-authority") + line("example.org")) == Judgement(Verdict.KNOWN, 2)
    assert verdict(line("*", marker="@something-new")) == Judgement(Verdict.UNKNOWN)


@given(st.text())
def test_no_file_is_too_broken_to_be_read(text: str) -> None:
    assert verdict(text + "\n" + line("example.org")).verdict is Verdict.KNOWN


def test_the_fingerprint_is_that_of_ssh() -> None:
    blob = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
    fingerprint = HostKey("ssh-ed25519", blob).fingerprint
    assert fingerprint == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
