"""What was said where: the command line comes before the environment, that before the file, that before the default."""

import os
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock.serve.config import Config, ConfigError
from greensock.serve.settings import SETTINGS, Setting


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a file."""
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "greensock.toml") -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def refusal(given: dict[str, object] | None = None, environ: dict[str, str] | None = None, file: str = "") -> str:
    """The message for what cannot be."""
    with pytest.raises(ConfigError) as refused:
        Config.read(given or {}, environ or {}, file or None)
    return str(refused.value)


# -- order -----------------------------------------------------------------------------------------------


def test_without_a_word_all_is_default() -> None:
    config = Config.read({}, {})
    assert all(config[name] == setting.default for name, setting in SETTINGS.items())
    assert not any(map(config.is_given, SETTINGS))
    assert config.listening() == {}
    assert config.tls() is None


def test_the_first_that_says_it_is_followed() -> None:
    write("backlog = 1\nmax_connections = 1\nidle_timeout = 1\n")
    environ = {"GREENSOCK_MAX_CONNECTIONS": "2", "GREENSOCK_IDLE_TIMEOUT": "2"}
    config = Config.read({"idle_timeout": "3"}, environ)
    assert (config["backlog"], config["max_connections"], config["idle_timeout"]) == (1, 2, 3.0)
    assert config.origins["backlog"] == "greensock.toml"
    assert config.origins["max_connections"] == "the environment, GREENSOCK_MAX_CONNECTIONS"
    assert config.origins["idle_timeout"] == "the command line, --idle-timeout"
    assert config.origins["keepalive"] == "default"
    assert config.listening() == {"backlog": 1, "max_connections": 2, "idle_timeout": 3.0}


def test_a_list_replaces_a_list() -> None:
    write('bind = ["127.0.0.1:1", "127.0.0.1:2"]\n')
    assert Config.read({}, {})["bind"] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert Config.read({}, {"GREENSOCK_BIND": "[::1]:3,unix:/x"})["bind"] == ["[::1]:3", "unix:/x"]
    assert Config.read({"bind": ("127.0.0.1:4",)}, {"GREENSOCK_BIND": "[::1]:3"})["bind"] == ["127.0.0.1:4"]


def test_a_setting_may_be_set_back_to_none() -> None:
    write("keepalive = 5\nmax_connections = 5\n")
    config = Config.read({"keepalive": "none"}, {"GREENSOCK_MAX_CONNECTIONS": "none"})
    assert config.listening() == {"keepalive": None, "max_connections": None}


def test_the_file_is_named_on_the_command_line_or_in_the_environment() -> None:
    write("backlog = 1\n")
    write("backlog = 2\n", "other.toml")
    write("backlog = 3\n", "third.toml")
    assert Config.read({}, {})["backlog"] == 1
    assert Config.read({}, {"GREENSOCK_CONFIG": "other.toml"})["backlog"] == 2
    assert Config.read({}, {"GREENSOCK_CONFIG": "other.toml"}, "third.toml")["backlog"] == 3


def test_paths_in_a_file_are_beside_it() -> None:
    write('target = "app/service.py:Chat"\ntls_cert = "cert.pem"\ntls_key = ["/key.pem"]\n', "etc/greensock.toml")
    config = Config.read({}, {}, "etc/greensock.toml")
    assert config["target"] == "etc/app/service.py:Chat"
    assert (config["tls_cert"], config["tls_key"]) == (["etc/cert.pem"], ["/key.pem"])
    write('target = "service:Chat"\n', "etc/greensock.toml")
    assert Config.read({}, {}, "etc/greensock.toml")["target"] == "service:Chat"
    assert Config.read({"target": "a.py"}, {}, "etc/greensock.toml")["target"] == "a.py"


def test_so_are_the_paths_of_unix_sockets_in_it() -> None:
    write('bind = ["unix:chat.sock", "unix:/run/chat.sock", "h:80"]\nstats = "unix:stats"\n', "etc/greensock.toml")
    config = Config.read({}, {}, "etc/greensock.toml")
    assert config["bind"] == ["unix:etc/chat.sock", "unix:/run/chat.sock", "h:80"]
    assert config["stats"] == "unix:etc/stats"
    assert Config.read({"bind": ("unix:chat.sock",)}, {}, "etc/greensock.toml")["bind"] == ["unix:chat.sock"]
    write('bind = "unix:chat.sock"\n', "greensock.toml")
    assert Config.read({}, {}, None)["bind"] == ["unix:chat.sock"]


@pytest.mark.skipif(sys.platform != "linux", reason="unix(7) of Linux")
def test_a_name_of_the_abstract_namespace_is_no_path() -> None:
    write('bind = ["unix:@chat", "unix:./@chat"]\n', "etc/greensock.toml")
    assert Config.read({}, {}, "etc/greensock.toml")["bind"] == ["unix:@chat", "unix:etc/./@chat"]


def test_tls_is_handed_over_as_paths() -> None:
    given = {"tls_cert": ("a.pem", "b.pem"), "tls_key": ("c.pem", "d.pem"), "tls_ca": ("e.pem",)}
    config = Config.read({**given, "tls_request_cert": True, "tls_alpn": ("h2",)}, {})
    assert config.tls() == {
        "cert": [Path("a.pem"), Path("b.pem")],
        "key": [Path("c.pem"), Path("d.pem")],
        "ca": Path("e.pem"),
        "request_cert": True,
        "reject_unauthorized": True,
        "alpn": ["h2"],
        "min_version": "TLSv1.2",
    }


# -- refusals --------------------------------------------------------------------------------------------


def test_an_unknown_key_names_the_file_the_nearest_key_and_all_keys() -> None:
    write("max_conections = 1\n")
    told = refusal()
    assert told.startswith(
        "greensock.toml: unknown key 'max_conections'; did you mean 'max_connections'? The keys are "
    )
    assert all(name in told for name in SETTINGS)


def test_an_unknown_variable_names_it_and_all_variables() -> None:
    told = refusal(environ={"GREENSOCK_MAX_CONECTIONS": "1"})
    assert told.startswith("the environment: unknown key 'GREENSOCK_MAX_CONECTIONS'; did you mean")
    assert "'GREENSOCK_MAX_CONNECTIONS'?" in told


def test_a_variable_in_small_letters_is_another_one() -> None:
    assert "unknown key 'GREENSOCK_backlog'" in refusal(environ={"GREENSOCK_backlog": "1"})


@pytest.mark.parametrize(
    "variable",
    ["GREENSOCK_SERVICE_HOST", "GREENSOCK_SERVICE_PORT", "GREENSOCK_SERVICE_PORT_TCP", "GREENSOCK_PORT",
     "GREENSOCK_PORT_8080_TCP", "GREENSOCK_PORT_8080_TCP_ADDR", "OTHER_BACKLOG"],
)  # fmt: skip
def test_what_kubernetes_says_of_a_service_of_that_name_is_none_of_ours(variable: str) -> None:
    assert not any(map(Config.read({}, {variable: "tcp://10.0.0.1:8080"}).is_given, SETTINGS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backlog = 0", "greensock.toml: backlog must be a whole number of at least 1, not 0"),
        ('backlog = "many"', "greensock.toml: backlog must be a whole number, not 'many'"),
        ("backlog = 1.5", "greensock.toml: backlog must be a whole number, not 1.5"),
        ("no_delay = 1", "greensock.toml: no_delay must be true or false, not 1"),
        ("idle_timeout = -1", "greensock.toml: idle_timeout must be a number of seconds above 0 or 'none', not -1.0"),
        ('slow_consumer = "drop"', "greensock.toml: slow_consumer must be 'close' or 'raise', not 'drop'"),
        ('log_level = "loud"', "log_level must be 'debug' or 'info' or 'warning' or 'error', not 'loud'"),
        ('bind = ["127.0.0.1"]', "greensock.toml: bind must be an address, not '127.0.0.1': bad address"),
        ("bind = 8080", "greensock.toml: bind must be a list, each of it an address, not 8080"),
        ("drain_timeout = 0", "greensock.toml: drain_timeout must be a number of seconds above 0, not 0.0"),
        ("drain_delay = -1", "greensock.toml: drain_delay must be a number of seconds from 0 on, not -1.0"),
        ('framing = "linez"', "greensock.toml: framing must be one of lines"),
        ("target = 5", "greensock.toml: target must be text, not 5"),
        ("[tls]\ncert = 5", "greensock.toml: unknown key 'tls'"),
        ("backlog = {}", "greensock.toml: backlog must be a whole number, not {}"),
        ("backlog = ", "greensock.toml: Invalid value (at "),
        ("backlog = 1\nbacklog = 2", "greensock.toml: Cannot overwrite a value (at "),
        (
            "low_water_mark = 10\nhigh_water_mark = 5",
            "greensock.toml: low_water_mark=10 is above high_water_mark=5",
        ),
        ('tls_cert = "a.pem"', "greensock.toml: tls_cert needs tls_key"),
        ('tls_key = "a.pem"', "greensock.toml: tls_key needs tls_cert"),
        ("tls_request_cert = true", "greensock.toml: tls_request_cert needs tls_cert and tls_key"),
        ('bind = "tls://a:1"', "greensock.toml: bind 'tls://a:1' needs tls_cert and tls_key"),
    ],
)
def test_a_value_that_cannot_be_names_file_key_and_what_is_allowed(text: str, message: str) -> None:
    write(text)
    assert message in refusal()


def test_the_same_in_the_environment_and_on_the_command_line() -> None:
    told = refusal(environ={"GREENSOCK_IDLE_TIMEOUT": "soon"})
    assert told == (
        "the environment, GREENSOCK_IDLE_TIMEOUT: idle_timeout must be a number of seconds, or 'none', not 'soon'"
    )
    told = refusal({"idle_timeout": "soon"})
    assert told == "the command line, --idle-timeout: idle_timeout must be a number of seconds, or 'none', not 'soon'"


def test_marks_of_two_places_that_contradict_each_other_name_both() -> None:
    write("low_water_mark = 10\n")
    assert refusal({"high_water_mark": "5"}) == (
        "greensock.toml, the command line, --high-water-mark: low_water_mark=10 is above high_water_mark=5"
    )


def test_a_file_that_is_named_has_to_be_there_and_readable() -> None:
    assert refusal(file="nowhere.toml") == "there is no file 'nowhere.toml'"
    assert refusal(environ={"GREENSOCK_CONFIG": "nowhere.toml"}) == "there is no file 'nowhere.toml'"
    assert refusal(file=".") == ".: Is a directory"
    Path("greensock.toml").write_bytes(b"target = '\xff'")
    assert refusal().startswith("greensock.toml: 'utf-8' codec can't decode")


# -- printed ---------------------------------------------------------------------------------------------


def test_what_is_printed_is_a_file_that_says_the_same_and_where_each_value_is_from() -> None:
    write('bind = ["127.0.0.1:1"]\nkeepalive = "none"\ntarget = "a:b"\n')
    before = Config.read({"hot": True, "framing": "lines:delimiter=\\r\\n"}, {"GREENSOCK_IDLE_TIMEOUT": "2.5"})
    printed = before.as_toml()
    assert 'target = "a:b"                           # greensock.toml' in printed
    assert "idle_timeout = 2.5                       # the environment, GREENSOCK_IDLE_TIMEOUT" in printed
    assert "hot = true                               # the command line, --hot" in printed
    assert "backlog = 4096                           # default" in printed
    write(printed)
    after = Config.read({}, {})
    assert after.values == before.values
    assert set(after.origins.values()) == {"greensock.toml"}


def test_a_passphrase_is_not_printed() -> None:
    given = {"tls_cert": ("a",), "tls_key": ("b",)}
    printed = Config.read(given, {"GREENSOCK_TLS_PASSPHRASE": "correct horse"}).as_toml()
    assert "horse" not in printed
    assert 'tls_passphrase = "***"' in printed


def values(setting: Setting) -> st.SearchStrategy[object]:
    """Some that *setting* may have."""
    text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).filter(lambda t: "," not in t)
    return {
        "NUMBER": st.integers(1, 10**6),
        "SECONDS": st.floats(0.001, 30000).map(lambda number: round(number, 3)),
        "": st.booleans(),
        "TEXT": text,
    }.get(setting.kind.metavar, st.just(setting.default))


@given(st.data())
def test_whatever_is_printed_is_read_back(data: st.DataObject) -> None:
    marks = {"low_water_mark", "high_water_mark", "max_buffered", "framing"}
    plain = [name for name in SETTINGS if not name.startswith("tls_") and name not in marks]
    chosen = data.draw(st.sets(st.sampled_from(plain)))
    given = {name: data.draw(values(SETTINGS[name])) for name in chosen}
    given = {name: value for name, value in given.items() if value is not None}
    config = Config.read(given, {})
    read = tomllib.loads(config.as_toml())
    assert {name: read[name] for name in given} == {name: config[name] for name in given}


def test_the_environment_of_this_process_is_fit_for_it() -> None:
    Config.read({}, os.environ)
