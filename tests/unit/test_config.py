"""The configuration file: what is read, and that every problem is reported at once, with its key."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from replicator.config.choices import LogFormat, LogLevel, Producer, Verification
from replicator.config.load import load_config
from replicator.config.model import Config, DatabaseConfig, DestinationConfig, KeepConfig, ServiceConfig
from replicator.config.values import FreeSpaceFloor, HeartbeatUrl, ListenAddress
from replicator.errors import ConfigError
from replicator.locator import DirectoryUrl, SftpUrl

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    Load = Callable[[str], Config]
    Problems = Callable[[str], tuple[str, ...]]

EXAMPLE = Path(__file__).parents[2] / "conf" / "replicator.toml"

DATABASE = """
[[database]]
name = "db"
path = "/var/lib/db"
checkpoint_root = "/var/lib/db/checkpoints"
"""
DESTINATION = """
[[destination]]
name = "standby"
url = "sftp://replica@host/srv"
"""
SERVICE = "[service]\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(text: str) -> Config:
        file = tmp_path / "replicator.toml"
        file.write_text(text)
        return load_config(file)

    return load_text


@pytest.fixture
def problems(load: Load) -> Problems:
    def problems_of(text: str) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            load(text)
        return caught.value.problems

    return problems_of


# --- what is read ------------------------------------------------------------------------------------


def test_the_example_says_what_its_comments_say() -> None:
    config = load_config(EXAMPLE)
    (database,), (destination,) = config.databases, config.destinations
    assert database.path == Path("/var/lib/conduwuit")
    assert database.interval_seconds == 300.0
    assert database.min_free == FreeSpaceFloor(share=0.05)
    assert config.destinations_of(database) == (destination,)
    assert destination.url == SftpUrl("standby.example.org", PurePosixPath("/srv/replica"), "replica", 22)
    assert destination.keep == KeepConfig(last=12, hourly=24, daily=7, weekly=4)
    assert config.warnings == ()


def test_the_defaults_that_the_example_shows_are_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "uncommented.toml"
    file.write_text(re.sub(r"^# (?=\w+ = )", "", EXAMPLE.read_text(), flags=re.MULTILINE))
    uncommented = load_config(file).model_dump()
    # The defaults that are no values, so that the example shows others.
    assert uncommented["destinations"][0].pop("limit_bytes_per_second") == 20 * 1024**2
    assert uncommented["service"].pop("drill_folder") == Path("/var/tmp")  # noqa: S108 - not used here
    shown = uncommented["service"]
    assert shown.pop("max_lag_seconds") == 600.0
    assert shown.pop("on_publish") == ("/usr/local/bin/published",)
    assert shown.pop("on_failure") == ("/usr/local/bin/page-me", "--urgent")
    assert shown.pop("heartbeat_url") == {"text": "https://hc.example.org/0e4f"}
    expected = load_config(EXAMPLE).model_dump()
    assert expected["destinations"][0].pop("limit_bytes_per_second") is None
    for key in ("drill_folder", "max_lag_seconds", "on_publish", "on_failure", "heartbeat_url"):
        assert expected["service"].pop(key) is None
    assert uncommented == expected


@pytest.mark.parametrize("model", [DatabaseConfig, DestinationConfig, KeepConfig, ServiceConfig])
def test_the_example_shows_every_key(model: type[BaseModel]) -> None:
    text = EXAMPLE.read_text()
    for name, field in model.model_fields.items():
        assert re.search(rf"(^|^# |[{{,] ){field.alias or name} = ", text, re.MULTILINE), name


def test_what_is_left_out_has_a_default(load: Load) -> None:
    config = load(DATABASE + DESTINATION)
    (database,), (destination,) = config.databases, config.destinations
    assert database.interval_seconds == 300.0
    assert database.ship_wal_seconds == 1.0
    assert database.tick_seconds == 1.0
    assert database.pin_budget_bytes == 2 * 1024**3
    assert database.producer is Producer.INTERNAL
    assert database.verification is Verification.STRUCTURE
    assert database.min_free == FreeSpaceFloor(share=0.05)
    assert config.destinations_of(database) == (destination,)
    assert destination.identity_file is None
    assert destination.known_hosts is None
    assert destination.limit_bytes_per_second is None
    assert destination.connections == 2
    assert destination.compression is False
    assert destination.timeout_seconds == 30.0
    assert destination.keep == KeepConfig(last=12, hourly=24, daily=7, weekly=4)
    assert destination.allow_full_upload is False
    assert config.service == ServiceConfig()
    assert config.service.state_dir == Path("/var/lib/replicator")
    assert config.service.log_format is LogFormat.AUTO
    assert config.service.log_level is LogLevel.INFO


def test_every_key_has_its_effect(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    config = load(
        DATABASE
        + """
        interval = "90s"
        ship_wal = "100ms"
        pin_budget = "64MiB"
        producer = "internal"
        verify = "engine"
        min_free = "2GiB"
        destinations = ["disk"]
        """
        + DESTINATION
        + """
        identity_file = "~/.ssh/id_replica"
        known_hosts = "/etc/known_hosts"
        limit = "20MiB/s"
        connections = 16
        compression = true
        timeout = "5s"
        keep = { daily = 3 }
        reupload = true
        [[destination]]
        name = "disk"
        url = "file:///mnt/backup"
        connections = 2
        [service]
        state_dir = "/srv/state"
        metrics = "[::1]:9464"
        drill = "12h"
        drill_folder = "/srv/drills"
        max_lag = "2m"
        on_publish = ["/usr/bin/published", "-v"]
        on_failure = ["failed"]
        hook_timeout = "5s"
        heartbeat_url = "https://beat.example.org:8443/abc?x=1"
        heartbeat_interval = "30s"
        log_format = "json"
        log_level = "debug"
        """
    )
    (database,), (standby, disk) = config.databases, config.destinations
    assert database.interval_seconds == 90.0
    assert database.tick_seconds == 0.1
    assert database.pin_budget_bytes == 64 * 1024**2
    assert database.producer is Producer.INTERNAL
    assert database.verification is Verification.ENGINE
    assert database.min_free == FreeSpaceFloor(size_bytes=2 * 1024**3)
    assert config.destinations_of(database) == (disk,)
    assert standby.identity_file == Path("/home/someone/.ssh/id_replica")
    assert standby.known_hosts == Path("/etc/known_hosts")
    assert standby.limit_bytes_per_second == 20 * 1024**2
    assert standby.connections == 16
    assert standby.compression is True
    assert standby.timeout_seconds == 5.0
    assert standby.keep == KeepConfig(last=1, hourly=0, daily=3, weekly=0)
    assert standby.allow_full_upload is True
    assert disk.url == DirectoryUrl(Path("/mnt/backup"))
    assert config.service.state_dir == Path("/srv/state")
    assert config.service.metrics == ListenAddress("::1", 9464)
    assert str(config.service.metrics) == "[::1]:9464"
    assert config.service.drill_seconds == 43200.0
    assert config.service.drill_folder == Path("/srv/drills")
    assert config.service.max_lag_seconds == 120.0
    assert config.service.on_publish == ("/usr/bin/published", "-v")
    assert config.service.on_failure == ("failed",)
    assert config.service.hook_timeout_seconds == 5.0
    assert config.service.heartbeat_url == HeartbeatUrl("https://beat.example.org:8443/abc?x=1")
    assert config.service.heartbeat_interval_seconds == 30.0
    assert config.service.log_format is LogFormat.JSON
    assert config.service.log_level is LogLevel.DEBUG
    assert [line.split(":")[0] for line in config.warnings] == ["destination[1].connections"]


def test_the_checkpoints_of_others_are_not_shipped_to(load: Load, problems: Problems) -> None:
    external = DATABASE + 'producer = "external"\n'
    (database,) = load(external + DESTINATION).databases
    assert database.producer is Producer.EXTERNAL
    assert database.tick_seconds is None
    assert load(external + 'ship_wal = "off"\n' + DESTINATION).databases[0].tick_seconds is None
    (problem,) = problems(external + 'ship_wal = "1s"\n' + DESTINATION)
    assert problem.startswith('database[0].ship_wal = "1s": needs producer = "internal"')


@pytest.mark.parametrize(
    "url", ["ftp://beat/hunter2", "https:///hunter2", "https://beat:99999/hunter2", "hunter2"]
)
def test_a_heartbeat_url_is_never_shown(problems: Problems, load: Load, url: str) -> None:
    (problem,) = problems(DATABASE + DESTINATION + SERVICE + f'heartbeat_url = "{url}"')
    assert problem == 'service.heartbeat_url: is no URL to fetch; write "https://HOST/PATH"'
    config = load(DATABASE + DESTINATION + SERVICE + 'heartbeat_url = "https://beat/hunter2"')
    assert "hunter2" not in repr(config)


def test_a_destination_is_found_by_name(load: Load) -> None:
    config = load(DATABASE + DESTINATION)
    assert config.destination("standby") is config.destinations[0]
    with pytest.raises(ConfigError, match="no destination 'elsewhere'") as caught:
        config.destination("elsewhere")
    assert "standby" in caught.value.hint


@pytest.mark.parametrize(
    ("floor", "of_bytes", "expected"),
    [
        (FreeSpaceFloor(share=0.05), 1000, 50),
        (FreeSpaceFloor(size_bytes=70), 1000, 70),
        (FreeSpaceFloor(), 1000, 0),
    ],
)
def test_free_space_floors(floor: FreeSpaceFloor, of_bytes: int, expected: int) -> None:
    assert floor.bytes_of(of_bytes) == expected


# --- what is refused: one key ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ('interval = "5 minutes"', "interval", "is not a duration; write a number and one of ms, s, m, h, d"),
        ('interval = "0s"', "interval", "must be more than zero"),
        ("interval = 300", "interval", "must be text in quotes with a unit"),
        ('ship_wal = "no"', "ship_wal", 'or "off"'),
        ('ship_wal = "99ms"', "ship_wal", 'must be "100ms" or more, or "off"'),
        ("pin_budget = 5", "pin_budget", "must be text in quotes with a unit"),
        ('pin_budget = "5%"', "pin_budget", "is not a size"),
        ('producer = "me"', "producer", 'is unknown; write one of "internal", "external"'),
        ("verify = false", "verify", 'write one of "off", "structure", "engine"'),
        ('min_free = "5"', "min_free", "is neither a share nor a size"),
        ('min_free = "100%"', "min_free", "write less than 100%"),
        ("destinations = []", "destinations", "is empty; name at least one"),
        ('destinations = "standby"', "destinations", "must be a list"),
        ("destinations = [3]", "destinations[0]", "must be text in quotes"),
        ('destinations = ["elsewhere"]', "destinations[0]", "is no [[destination]]; there are: standby"),
        ('destinations = ["standby", "standby"]', "destinations[1]", "stands twice"),
        ('intervall = "5m"', "intervall", "is unknown; did you mean interval?"),
        ("frobnicate = 1", "frobnicate", "is unknown; known here are name, path,"),
    ],
)
def test_bad_keys_of_a_database(problems: Problems, line: str, key: str, message: str) -> None:
    (problem,) = problems(DATABASE + line + DESTINATION)
    assert problem.startswith(f"database[0].{key}")
    assert message in problem


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ('identity_file = "id"', "identity_file", "is not absolute"),
        ('known_hosts = "~nobody-has-this-name/kh"', "known_hosts", "unknown home directory"),
        ('limit = "20MiB"', "limit", "is not a rate"),
        ('limit = "0B/s"', "limit", "must be more than zero"),
        ("connections = 0", "connections", "must be 1 or more"),
        ("connections = 17", "connections", "must be 16 or less"),
        ('connections = "2"', "connections", "must be a whole number, without quotes"),
        ("connections = true", "connections", "must be a whole number, without quotes"),
        ('timeout = "0s"', "timeout", "must be more than zero"),
        ("keep = { last = 0 }", "keep.last", "must be 1 or more"),
        ("keep = { daily = -1 }", "keep.daily", "must be 0 or more"),
        ("keep = { dayly = 1 }", "keep.dayly", "did you mean daily?"),
        ("keep = 12", "keep", "must be a table, such as { last = 12"),
        ('reupload = "yes"', "reupload", "must be true or false, without quotes"),
    ],
)
def test_bad_keys_of_a_destination(problems: Problems, line: str, key: str, message: str) -> None:
    (problem,) = problems(DATABASE + DESTINATION + line)
    assert problem.startswith(f"destination[0].{key}")
    assert message in problem


@pytest.mark.parametrize(
    ("line", "key", "message"),
    [
        ('state_dir = "state"', "state_dir", "is not absolute"),
        ('state_dir = "~/state"', "state_dir", "is not absolute"),
        ("metrics = 9464", "metrics", "must be text in quotes"),
        ('metrics = ":9464"', "metrics", "is no address to listen on"),
        ('metrics = "localhost:65536"', "metrics", "is no address to listen on"),
        ('drill = "0s"', "drill", 'must be more than zero, or "off"'),
        ('drill = "daily"', "drill", 'or "off"'),
        ('drill_folder = "drills"', "drill_folder", "is not absolute"),
        ('max_lag = "1"', "max_lag", 'or "off"'),
        ('on_publish = "hook"', "on_publish", "must be a list, a program and its arguments"),
        ("on_failure = []", "on_failure", "must be a list, a program and its arguments"),
        ('on_failure = [""]', "on_failure", "names no program"),
        ('hook_timeout = "0s"', "hook_timeout", "must be more than zero"),
        ('heartbeat_interval = "off"', "heartbeat_interval", "is not a duration"),
        ('log_format = "xml"', "log_format", 'write one of "auto", "console", "json"'),
        ('log_level = "INFO"', "log_level", 'write one of "debug", "info", "warning", "error"'),
        ('log_lvel = "info"', "log_lvel", "did you mean log_level?"),
    ],
)
def test_bad_keys_of_the_service(problems: Problems, line: str, key: str, message: str) -> None:
    (problem,) = problems(DATABASE + DESTINATION + SERVICE + line)
    assert problem.startswith(f"service.{key}")
    assert message in problem


@pytest.mark.parametrize("key", ["name", "path", "checkpoint_root"])
def test_a_missing_key_is_shown_with_an_example(problems: Problems, key: str) -> None:
    (problem,) = problems(re.sub(rf"^{key} = .*$", "", DATABASE, flags=re.MULTILINE) + DESTINATION)
    assert problem.startswith(f'database[0].{key}: is missing; add for example {key} = "')


@pytest.mark.parametrize("path", ["var/lib/db", "./db", "~/db", "", "/var/lib/d\\u0000b", "/var/lib/d\\nb"])
@pytest.mark.parametrize("key", ["path", "checkpoint_root"])
def test_paths_must_be_absolute_and_plain(problems: Problems, key: str, path: str) -> None:
    text = re.sub(rf"^{key} = .*$", lambda _: f'{key} = "{path}"', DATABASE, flags=re.MULTILINE)
    (problem,) = problems(text + DESTINATION)
    assert problem.startswith(f"database[0].{key} = ")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "generations", "a b"])
def test_names_must_be_fit_for_a_folder(problems: Problems, name: str) -> None:
    assert problems(DATABASE.replace('"db"', f'"{name}"') + DESTINATION)[0].startswith("database[0].name")
    assert problems(DATABASE + DESTINATION.replace("standby", name))[0].startswith("destination[0].name")


@pytest.mark.parametrize(
    "url", ["sftp://replica:hunter2@host/srv", "replica:hunter2@host:/srv", "sftp://u:p/hunter2@h/"]
)
def test_a_password_in_a_url_is_refused_and_never_shown(problems: Problems, url: str) -> None:
    text = DATABASE + DESTINATION.replace("sftp://replica@host/srv", url) + 'password = "hunter2"'
    url_problem, key_problem = problems(text)
    assert url_problem.startswith("destination[0].url")
    assert key_problem.startswith("destination[0].password: is unknown")
    assert "hunter2" not in url_problem + key_problem


def test_a_config_error_carries_no_error_that_shows_values(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(DATABASE + DESTINATION + 'password = "hunter2"')
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- what is refused: the shape ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            DATABASE.replace("[[database]]", "[database]") + DESTINATION,
            "database: must be a list of tables; write [[d",
        ),
        ("database = 3" + DESTINATION, "database: must be a list of tables; write [[database]]"),
        ("database = [3]" + DESTINATION, "database[0]: must be a list of tables; write [[database]]"),
        (DATABASE + DESTINATION + "[[service]]", "service: must be a table; write [service]"),
        (
            DATABASE + DESTINATION.replace("destination", "destinaton"),
            "destinaton: is unknown; did you mean destination",
        ),
        (
            DATABASE + DESTINATION + '[[mirror]]\nname = "media"',
            "mirror[0].path: is missing; add for example",
        ),
        (DESTINATION, "database: is missing; add a [[database]] or [[mirror]] section"),
        (DATABASE, "destination: is missing; add a [[destination]] section"),
    ],
)
def test_a_wrong_shape_is_explained(problems: Problems, text: str, expected: str) -> None:
    assert any(problem.startswith(expected) for problem in problems(text))


def test_broken_toml_is_reported_with_its_place(problems: Problems) -> None:
    (problem,) = problems("[service]\nlog_level = \n")
    assert "is not TOML" in problem
    assert "line 2, column " in problem


def test_a_file_that_is_no_text_or_not_there_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "replicator.toml"
    file.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match=r"is not UTF-8 text \(byte 2\)"):
        load_config(file)
    with pytest.raises(ConfigError, match="No such file") as caught:
        load_config(tmp_path / "missing.toml")
    assert "-c FILE" in caught.value.hint


def test_a_file_that_may_not_be_read_is_not_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "replicator.toml"
    file.touch()

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ConfigError, match="Permission denied") as caught:
        load_config(file)
    assert "this user may read" in caught.value.hint


# --- what is refused: between keys -------------------------------------------------------------------


def second(database: str) -> str:
    return database.replace('"db"', '"db2"').replace("/var/lib/db", "/var/lib/db2")


def test_two_databases_that_have_nothing_in_common_are_fine(load: Load) -> None:
    assert len(load(DATABASE + second(DATABASE) + DESTINATION).databases) == 2


def test_names_are_unique(problems: Problems) -> None:
    found = problems(
        DATABASE + second(DATABASE).replace('"db2"', '"db"') + DESTINATION + DESTINATION.replace("@host", "@host2")
    )
    assert found == (
        'database[1].name = "db": is the name of database[0] too; choose another one',
        'destination[1].name = "standby": is the name of destination[0] too; choose another one',
    )


@pytest.mark.parametrize("root", ["/var/lib/db", "/var/lib/db/", "/var/lib/x/../db", "/var/lib", "/"])
def test_a_checkpoint_root_is_not_the_database_nor_above_it(problems: Problems, root: str) -> None:
    text = DATABASE.replace("/var/lib/db/checkpoints", root) + DESTINATION + SERVICE + 'state_dir = "/run/state"'
    assert "must not be the database's folder or one above it" in problems(text)[0]


def test_symbolic_links_do_not_hide_an_overlap(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "link").symlink_to("db")
    text = DATABASE.replace("/var/lib/db/checkpoints", f"{tmp_path}/link").replace("/var/lib/db", f"{tmp_path}/db")
    assert "must not be the database's folder" in problems(text + DESTINATION)[0]


@pytest.mark.parametrize("root", ["/var/lib/db/checkpoints", "/var/lib/db/checkpoints/2"])
def test_checkpoint_roots_are_apart(problems: Problems, root: str) -> None:
    found = problems(DATABASE + second(DATABASE).replace("/var/lib/db2/checkpoints", root) + DESTINATION)
    assert any("overlaps database[0].checkpoint_root" in problem for problem in found)


def test_a_checkpoint_root_does_not_lie_in_another_database(problems: Problems) -> None:
    text = DATABASE + second(DATABASE).replace("/var/lib/db2/checkpoints", "/var/lib/db/other")
    (problem,) = problems(text + DESTINATION)
    assert problem.startswith("database[1].checkpoint_root")
    assert "overlaps database[0].path (/var/lib/db)" in problem


def test_one_database_is_replicated_once(problems: Problems) -> None:
    text = DATABASE + second(DATABASE).replace("/var/lib/db2", "/var/lib/db").replace("db/check", "dbs/check")
    assert any("is that of database[0] too" in problem for problem in problems(text + DESTINATION))


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("/var/lib/db", "lies in database[0].path"),
        ("/var/lib/db/replicas", "lies in database[0].path"),
        ("/srv/checkpoints/replicas", "lies in database[0].checkpoint_root"),
        ("/var/lib", "puts replicas into /var/lib/db, which overlaps database[0].path"),
        ("/srv", "puts replicas into /srv/db, which overlaps"),
    ],
)
def test_replicas_do_not_go_into_their_source(problems: Problems, base: str, message: str) -> None:
    root = "/srv/db/checkpoints" if base == "/srv" else "/srv/checkpoints"
    text = DATABASE.replace("/var/lib/db/checkpoints", root)
    destination = DESTINATION.replace("sftp://replica@host/srv", f"file://{base}")
    assert any(message in problem for problem in problems(text + destination))


def test_the_state_does_not_lie_in_a_database(problems: Problems) -> None:
    (problem,) = problems(DATABASE + DESTINATION + SERVICE + 'state_dir = "/var/lib/db/state"')
    assert problem.startswith("service.state_dir")
    (default,) = problems(
        DATABASE.replace("/var/lib/db", "/var/lib/replicator/db").replace(
            'path = "/var/lib/replicator/db"', 'path = "/var/lib/replicator"'
        )
        + DESTINATION
    )
    assert default.startswith('service.state_dir = "/var/lib/replicator": lies in database[0].path')


def test_drills_do_not_restore_into_a_database(problems: Problems) -> None:
    (problem,) = problems(DATABASE + DESTINATION + SERVICE + 'drill_folder = "/var/lib/db/drills"')
    assert problem.startswith('service.drill_folder = "/var/lib/db/drills": lies in database[0].path')


def test_two_destinations_are_two_places(problems: Problems) -> None:
    other = DESTINATION.replace("standby", "again").replace("@host/srv", "@HOST:22//srv/")
    (problem,) = problems(DATABASE + DESTINATION + other)
    assert problem.startswith("destination[1].url")
    assert "is the same place as that of destination[0]" in problem


def test_keys_of_ssh_mean_nothing_for_a_folder(problems: Problems) -> None:
    text = DESTINATION.replace("sftp://replica@host/srv", "file:///mnt/backup")
    found = problems(DATABASE + text + 'identity_file = "/id"\nknown_hosts = "/kh"')
    assert [problem.split(":")[0] for problem in found] == [
        "destination[0].identity_file",
        "destination[0].known_hosts",
    ]


# --- mirrors -----------------------------------------------------------------------------------------

MIRROR = """
[[mirror]]
name = "media"
path = "/srv/media"
"""


def test_a_mirror_has_defaults(load: Load) -> None:
    (mirror,) = load(MIRROR + DESTINATION).mirrors
    assert (mirror.quiet_seconds, mirror.max_delay_seconds, mirror.rescan_seconds) == (1.0, 10.0, 3600.0)
    assert (mirror.exclude, mirror.delete, mirror.destinations) == ((), True, None)
    assert [mirror.max_delete.files_of(files) for files in (0, 1, 19, 1000)] == [1, 1, 1, 100]


@pytest.mark.parametrize(
    ("value", "of_1000"), [('"25%"', 250), ('"0%"', 0), ("0", 0), ("3", 3), ('"3"', 3), ("5000", 5000)]
)
def test_deletes_are_a_share_or_a_number(load: Load, value: str, of_1000: int) -> None:
    (mirror,) = load(MIRROR + f"max_delete = {value}" + DESTINATION).mirrors
    assert mirror.max_delete.files_of(1000) == of_1000


def test_all_of_them_is_no_limit(load: Load) -> None:
    (mirror,) = load(MIRROR + 'max_delete = "100%"' + DESTINATION).mirrors
    assert mirror.max_delete.files_of(1) > 1_000_000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max_delete = -1", "mirror[0].max_delete = -1: must be 0 or more"),
        ('max_delete = "many"', 'mirror[0].max_delete = "many": is neither a share nor a number of files'),
        ("max_delete = true", "mirror[0].max_delete = true: must be text in quotes"),
        ('exclude = "*.tmp"', 'mirror[0].exclude = "*.tmp": must be a list of patterns'),
        ('exclude = ["["]', ""),
        ('exclude = ["!"]', 'mirror[0].exclude = ["!"]: holds what is no pattern of a .gitignore file'),
        ('delete = "yes"', 'mirror[0].delete = "yes": must be true or false'),
        ('destinations = ["nowhere"]', 'mirror[0].destinations[0] = "nowhere": is no [[destination]]'),
        ("rescans = 1", "mirror[0].rescans: is unknown; did you mean rescan?"),
    ],
)
def test_problems_of_a_mirror(load: Load, problems: Problems, line: str, expected: str) -> None:
    text = MIRROR + line + DESTINATION
    if expected:
        assert [problem[: len(expected)] for problem in problems(text)] == [expected]
    else:
        load(text)


def test_a_mirror_may_lie_in_a_database(load: Load) -> None:
    assert load(DATABASE + MIRROR.replace("/srv/media", "/var/lib/db/media") + DESTINATION).mirrors


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/var/lib/db/checkpoints", "overlaps database[0].checkpoint_root"),
        ("/var/lib/db/checkpoints/x", "overlaps database[0].checkpoint_root"),
        ("/var/lib/db", "overlaps database[0].checkpoint_root"),
        ("/var", "holds database[0].path"),
    ],
)
def test_nothing_of_ours_lies_in_a_mirror(problems: Problems, path: str, expected: str) -> None:
    found = problems(DATABASE + MIRROR.replace("/srv/media", path) + DESTINATION)
    assert any(problem.startswith("mirror[0].path") and expected in problem for problem in found)


def test_state_and_destinations_do_not_lie_in_a_mirror(problems: Problems) -> None:
    text = MIRROR + DESTINATION.replace("sftp://replica@host/srv", "file:///srv/media/replicas")
    (one, other) = problems(text + SERVICE + 'state_dir = "/srv/media/state"')
    assert "destination[0].url" in one
    assert "lies in mirror[0].path" in one
    assert "service.state_dir" in other


def test_mirrors_and_databases_have_names_of_their_own(problems: Problems) -> None:
    (problem,) = problems(DATABASE + MIRROR.replace('"media"', '"db"') + DESTINATION)
    assert problem.startswith('mirror[0].name = "db": is the name of database[0] too')


def test_everything_is_reported_at_once(problems: Problems) -> None:
    found = problems(
        """
        [[database]]
        name = "a/b"
        path = "relative"
        interval = 300
        destinations = ["nowhere"]
        [[database]]
        name = "db"
        path = "/var/lib/db"
        checkpoint_root = "/var/lib"
        ship_wal = "often"
        [[database]]
        name = "db"
        path = "/var/lib/db"
        checkpoint_root = "/srv/db"
        [[destination]]
        name = "standby"
        url = "ftp://host/"
        colour = "blue"
        [service]
        state_dir = "/srv/state"
        log_level = "loud"
        """
    )
    assert [re.split(r" = |: ", problem)[0] for problem in found] == [
        "database[0].name",
        "database[0].path",
        "database[0].checkpoint_root",
        "database[0].interval",
        "database[1].ship_wal",
        "destination[0].url",
        "destination[0].colour",
        "service.log_level",
        "database[2].name",
        "database[0].destinations[0]",
        "database[1].checkpoint_root",
        "database[1].checkpoint_root",
        "database[2].path",
    ]
