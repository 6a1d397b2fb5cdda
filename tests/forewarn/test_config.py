"""A config becomes the frozen values of every part."""

from pathlib import Path

import pytest

from analytics.settings import ReportSettings, StoreSettings
from forewarn.commands.init import example
from forewarn.config.config import Config, load, load_text
from forewarn.errors import ConfigError, NotRunningError
from forewarn.runtime import Runtime
from producers.settings import HostOptions, HttpOptions, LogSettings, Probe, TcpOptions, TlsOptions
from streams.policy import DAY_US, SECOND_US, AlertPolicy, Channel, DetectPolicy, IncidentPolicy, ProbeExpectation

RUNTIME = Runtime(pid=1, bootstrap="127.0.0.1:9092", store_url="http://127.0.0.1:8123", store_token="t")
MINIMAL = "targets: [{url: 'https://example.org'}]\n"
KAFKA = "log: {bootstrap: [k:9092], security: sasl_ssl, username: u, password: '${KAFKA}'}\n"


def config_of(text: str, directory: Path = Path(), **env: str) -> Config:
    """Load a text as if it lay in `directory`."""
    return load_text(text.encode(), path=directory / "forewarn.yaml", env=env)


def probe_of(config: Config, target: str = "main/x", name: str | None = None) -> Probe:
    """Return the named probe, or the first one of a target."""
    probes = next(found.probes for found in config.targets() if found.id == target)
    return probes[0] if name is None else next(probe for probe in probes if probe.name == name)


def test_the_example_is_accepted_and_says_only_what_the_defaults_are(tmp_path: Path) -> None:
    """What `init` writes is in order, and its policy sections repeat the contracts' defaults, as they claim."""
    path = tmp_path / "forewarn.yaml"
    path.write_text(example())
    config = load(path, env={})
    assert [target.id for target in config.targets()] == ["main/example.org", "acme/shop", "main/this-machine"]
    assert config.detect_policy == DetectPolicy()
    assert config.incident_policy == IncidentPolicy()
    alerts = config.alert_policy()
    assert alerts == AlertPolicy(watched=alerts.watched)
    assert config.report_settings() == ReportSettings()


def test_one_url_is_a_whole_config() -> None:
    """An http probe, the certificate beside it, the name from the host, one location, every 30 seconds."""
    (target,) = config_of(MINIMAL).targets()
    assert target.id == "main/example.org"
    http, tls = target.probes
    assert (http.name, http.kind, http.interval_us, http.timeout_us) == ("http", "http", 30 * SECOND_US, 10 * SECOND_US)
    assert http.locations == ("local",)
    assert http.options == HttpOptions(url="https://example.org")
    assert tls.options == TlsOptions(host="example.org", port=443)


@pytest.mark.parametrize(
    ("url", "name", "kinds"),
    [
        ("http://example.org/x", "example.org", ["http"]),
        ("http://127.0.0.1:8080", "127.0.0.1-8080", ["http"]),
        ("https://[::1]:8443/", "1-8443", ["http", "tls"]),
        ("https://пример.рф/", "xn--e1afmkfd.xn--p1ai", ["http", "tls"]),
        ("https://u:p@example.org/?key=1", "example.org", ["http", "tls"]),
    ],
)
def test_the_short_form_names_a_target_after_its_host(url: str, name: str, kinds: list[str]) -> None:
    """The port is part of the name where it is written; a secret never is."""
    (target,) = config_of(f"targets: [{{url: '{url}'}}]").targets()
    assert target.id == f"main/{name}"
    assert [probe.kind for probe in target.probes] == kinds


def test_every_kind_of_probe_reaches_its_options(tmp_path: Path) -> None:
    """All keys of all four kinds; a relative file lies beside the config."""
    (tmp_path / "ca.pem").touch()
    text = """
targets:
  - name: x
    probes:
      - http: {url: "http://a/", method: POST, headers: {A: b}, body: c, expect_status: [200-201, 404],
               body_contains: d, follow_redirects: true, verify_tls: false, max_response_bytes: 7, ca_file: ca.pem}
      - tls: {host: a, port: 8443, server_name: b, verify: false, min_days_left: 3, ca_file: ca.pem}
      - tcp: {host: "::1", port: 25, send: "HELO\\n", expect: "220"}
      - host: {mounts: [/, /srv]}
"""
    config = config_of(text, tmp_path)
    options = [probe.options for probe in config.targets()[0].probes]
    ca_file = tmp_path / "ca.pem"
    assert options == [
        HttpOptions(
            url="http://a/",
            method="POST",
            headers=(("A", "b"),),
            body="c",
            expect_status=frozenset({200, 201, 404}),
            body_contains="d",
            follow_redirects=True,
            verify_tls=False,
            max_response_bytes=7,
            ca_file=ca_file,
        ),
        TlsOptions(host="a", port=8443, server_name="b", verify=False, min_days_left=3, ca_file=ca_file),
        TcpOptions(host="::1", port=25, send="HELO\n", expect="220"),
        HostOptions(mounts=("/", "/srv")),
    ]


def test_probes_have_short_forms() -> None:
    """`http: URL`, `tls: host:port`, `tcp: [v6]:port`, and `host:` with nothing behind it."""
    text = "targets: [{name: x, probes: [{http: 'http://a/'}, {tls: 'a:443'}, {tcp: '[::1]:25'}, {host: }]}]"
    options = [probe.options for probe in config_of(text).targets()[0].probes]
    assert options == [
        HttpOptions(url="http://a/"),
        TlsOptions(host="a", port=443),
        TcpOptions(host="::1", port=25),
        HostOptions(),
    ]


def test_the_nearest_interval_timeout_and_locations_win() -> None:
    """Probe before target before defaults; without any, the timeout is half of a short interval."""
    text = """
locations: [{name: a}, {name: b}, {name: c}]
defaults: {interval: 20s, timeout: 3s, locations: [a, b]}
targets:
  - name: x
    interval: 40s
    locations: [b, c]
    probes:
      - {name: own, tcp: "h:1", interval: 5s, timeout: 2s, locations: [c]}
      - {name: of-target, tcp: "h:1"}
  - name: y
    probes: [{tcp: "h:1"}]
"""
    config = config_of(text)
    found = [
        (probe.name, probe.interval_us // SECOND_US, probe.timeout_us // SECOND_US, "".join(probe.locations))
        for target in config.targets()
        for probe in target.probes
    ]
    assert found == [("own", 5, 2, "c"), ("of-target", 40, 3, "bc"), ("tcp", 20, 3, "ab")]
    short = config_of("targets: [{name: x, interval: 1s, probes: [{tcp: 'h:1'}]}]")
    assert probe_of(short).timeout_us == SECOND_US // 2


def test_a_producer_gets_only_the_probes_of_its_location() -> None:
    """A target of other locations is not there at all; the spool lies below the data directory."""
    text = """
locations: [{name: a, anchor: {tcp: "192.0.2.1:443"}}, {name: b}]
producer: {concurrency: 7, spool_max: 1MiB, pack: 50ms}
targets:
  - {name: x, probes: [{tcp: "h:1", locations: [a]}, {tls: "h:2"}]}
  - {name: y, locations: [a], probes: [{tcp: "h:1"}]}
"""
    config = config_of(text)
    a = config.producer_settings("a", Path("/d"))
    b = config.producer_settings("b", Path("/d"), name="b-2", observe_port=9)
    assert [(target.id, len(target.probes)) for target in a.targets] == [("main/x", 2), ("main/y", 1), ("_anchor/a", 1)]
    assert [(target.id, len(target.probes)) for target in b.targets] == [("main/x", 1)]
    assert (b.name, b.location, b.spool_dir, b.observe_port) == ("b-2", "b", Path("/d/spool/b-2"), 9)
    assert (a.concurrency, a.spool_max_bytes, a.pack_us) == (7, 1 << 20, 50_000)
    with pytest.raises(ConfigError, match=r"forewarn\.yaml:2: locations: the location z is not there, .* one of: a, b"):
        config.producer_settings("z", Path("/d"))


def test_an_anchor_is_a_target_of_its_location_alone() -> None:
    """`_anchor/<location>`, expected from that location only."""
    config = config_of("locations: [{name: a, anchor: {tcp: 'h:1', interval: 10s}}, {name: b}]\n" + MINIMAL)
    expected = config.expectations().probes
    assert expected["_anchor/a", "tcp"] == ProbeExpectation(
        interval_us=10 * SECOND_US, locations=("a",), timeout_us=5 * SECOND_US
    )
    assert expected["main/example.org", "http"].locations == ("a", "b")


def test_without_sections_the_running_up_is_meant() -> None:
    """The embedded broker forgets everything over a restart; the store's retention is the file's."""
    config = config_of("embedded: {checks_ttl: 7d, summaries_ttl: 2d, store_port: 8123}\n" + MINIMAL)
    assert config.log_settings(RUNTIME) == LogSettings(bootstrap=("127.0.0.1:9092",), forgetful=True)
    expected = StoreSettings(url="http://127.0.0.1:8123", token="t", checks_ttl_days=7, summaries_ttl_days=2)
    assert config.store_settings(RUNTIME) == expected
    assert config.embedded_store_port == 8123
    for ask in (config.log_settings, config.store_settings):
        with pytest.raises(NotRunningError, match="start `forewarn up`"):
            ask(None)


def test_log_and_store_of_production(tmp_path: Path) -> None:
    """Every key; passwords from the environment and from a file, whose last line break does not count."""
    (tmp_path / "ca.pem").touch()
    (tmp_path / "password").write_text("from file\n")
    text = """
log: {bootstrap: "${BROKERS}", security: sasl_ssl, sasl_mechanism: PLAIN, username: u, password: "${KAFKA}",
      ca_file: ca.pem, partitions: 24, replication_factor: 3, retention: 14d}
store: {url: "https://c:8443", database: fw, user: u, password_file: password, ca_file: ca.pem, checks_ttl: 10d,
        summaries_ttl: 5d}
"""
    config = config_of(text + MINIMAL, tmp_path, BROKERS="a:1, [::1]:2", KAFKA="secret")
    assert config.log_settings() == LogSettings(
        bootstrap=("a:1", "[::1]:2"),
        security="sasl_ssl",
        sasl_mechanism="PLAIN",
        username="u",
        password="secret",
        ca_file=tmp_path / "ca.pem",
        partitions=24,
        replication_factor=3,
        retention_us=14 * DAY_US,
    )
    assert config.store_settings() == StoreSettings(
        url="https://c:8443",
        database="fw",
        user="u",
        password="from file",
        ca_file=tmp_path / "ca.pem",
        checks_ttl_days=10,
        summaries_ttl_days=5,
    )


def test_alerts() -> None:
    """Both kinds of channels, and a reminder that never comes."""
    text = """
alerts:
  reminder: never
  timeout: 5s
  give_up: 10m
  channels: [{name: ops, apprise: "${OPS}"}, {name: pager, webhook: "https://h/${TOKEN:-x}", pages: true}]
"""
    channels = (
        Channel(name="ops", apprise_url="json://h"),
        Channel(name="pager", webhook_url="https://h/x", pages=True),
    )
    expected = AlertPolicy(
        channels=channels,
        watched={
            ("main/example.org", "http"): "https://example.org",
            ("main/example.org", "tls"): "example.org:443",
        },
        reminder_us=None,
        timeout_us=5 * SECOND_US,
        give_up_us=600 * SECOND_US,
    )
    assert config_of(text + MINIMAL, OPS="json://h").alert_policy() == expected


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("http: 'https://me:pw@h/pay?card=42'", "https://***@h/pay?card=***"),
        ("http: {url: 'http://h', method: POST}", "POST http://h"),
        ("tcp: 'mail.example.org:25'", "mail.example.org:25"),
        ("tls: '[2001:db8::1]:443'", "[2001:db8::1]:443"),
        ("host: {mounts: [/, /srv]}", "the machine of local (/, /srv)"),
    ],
)
def test_an_alert_names_what_a_probe_looks_at_without_secrets(probe: str, said: str) -> None:
    """A URL is masked, an address is one, a host probe reads the machine of its location."""
    config = config_of(f"targets: [{{name: x, probes: [{{name: p, {probe}}}]}}]")
    assert config.alert_policy().watched == {("main/x", "p"): said}


def test_a_part_in_production_starts_without_the_secrets_of_the_others() -> None:
    """A producer is given neither the store's password nor the channels; a worker none of what probes send."""
    text = (
        KAFKA
        + "store: {url: 'http://c', user: u, password: '${STORE}'}\n"
        + "alerts: {channels: [{name: a, apprise: '${OPS}'}]}\n"
        + "targets: [{name: x, probes: [{http: {url: 'http://h', headers: {A: '${HEADER}'}}}]}]"
    ).encode()
    path = Path("f.yaml")
    env = {"KAFKA": "k", "HEADER": "h"}
    producer = load_text(text, path=path, env=env, parts=("log", "probes"))
    assert producer.log_settings().password == "k"
    options = probe_of(producer).options
    assert isinstance(options, HttpOptions)
    assert options.headers == (("A", "h"),)
    assert producer.has_store
    with pytest.raises(AssertionError, match="without store"):
        producer.store_settings()
    worker = load_text(text, path=path, env={"KAFKA": "k", "STORE": "s"}, parts=("log", "store"))
    assert worker.store_settings().password == "s"
    assert worker.expectations() == producer.expectations()
    options = probe_of(worker).options
    assert isinstance(options, HttpOptions)
    assert options.headers == (("A", "***"),)
    with pytest.raises(ConfigError, match="STORE is not set"):
        load_text(text, path=path, env={"KAFKA": "k"}, parts=("log", "store"))


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ("store: {url: 'http://c', bogus: 1}", "f.yaml:1: store.bogus: unknown key"),
        (
            "store: {url: '${URL}', passwort: '${STORE}'}",
            "f.yaml:1: store.passwort: unknown key, did you mean password?",
        ),
        ("store: {database: d}", "f.yaml:1: store.url: required key is missing"),
        ("store: {url: 'ftp://c'}", "f.yaml:1: store.url: "),
        ("store: {url: 'http://c', checks_ttl: 5}", "f.yaml:1: store.checks_ttl: "),
        ("store: 5", "f.yaml:1: store: expected keys and values"),
        ("alerts: {bogus: 2}", "f.yaml:1: alerts.bogus: unknown key"),
        ("alerts: {channels: [{name: a, apprise: '${OPS}', page: true}]}", "alerts.channels[0].page: unknown key"),
        ("watchdog: {ping_url: '${PING}', interval: 1}", "f.yaml:1: watchdog.interval: "),
    ],
)
def test_what_is_wrong_in_a_section_of_others_is_refused_at_every_start(sections: str, said: str) -> None:
    """As `validate` refuses it: only what variables and files hold is not looked at."""
    text = f"{sections}\nlog: {{bootstrap: 'k:1'}}\ntargets: [{{url: 'http://h'}}]\n".encode()
    with pytest.raises(ConfigError) as caught:
        load_text(text, path=Path("f.yaml"), env={}, parts=("log", "probes"))
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1
    with pytest.raises(ConfigError) as of_all:
        load_text(
            text, path=Path("f.yaml"), env={"URL": "http://c", "STORE": "s", "OPS": "json://h", "PING": "http://p"}
        )
    assert str(caught.value) in str(of_all.value)


def test_variables_and_files_of_others_may_be_missing() -> None:
    """In every place that may hold one."""
    text = b"""
log: {bootstrap: 'k:1'}
store: {url: '${URL}', user: '${WHO}', password_file: gone/password, ca_file: gone/ca.pem}
alerts: {channels: [{name: a, apprise: '${OPS}'}, {name: b, webhook_file: gone/hook}]}
watchdog: {ping_url: '${PING}'}
targets: [{url: 'http://h'}]
"""
    config = load_text(text, path=Path("f.yaml"), env={}, parts=("log", "probes"))
    assert config.log_settings().bootstrap == ("k:1",)
    assert len(config.targets()) == 1


def test_who_needs_no_secrets_needs_no_variables_of_them() -> None:
    """One-machine mode: another terminal, in which nobody set them, can ask the store and replay."""
    text = (
        b"store: {url: 'http://c', user: u, password: '${STORE}'}\n"
        b"alerts: {channels: [{name: a, apprise: '${OPS}'}]}\n"
        b"targets: [{name: x, probes: [{http: {url: 'http://h', headers: {A: '${HEADER}'}}}]}]"
    )
    config = load_text(text, path=Path("f.yaml"), env={}, parts=())
    assert set(config.expectations().probes) == {("main/x", "http")}
    store = load_text(text, path=Path("f.yaml"), env={"STORE": "s"}, parts=("log", "store"))
    assert store.store_settings().password == "s"
    with pytest.raises(ConfigError, match="OPS is not set"):
        load_text(text, path=Path("f.yaml"), env={"STORE": "s", "HEADER": "h"})


def test_a_section_that_is_not_there_is_not_left_out() -> None:
    """Without a `store` the embedded one is meant, whoever asks."""
    config = load_text(MINIMAL.encode(), path=Path("f.yaml"), env={}, parts=("log", "probes"))
    with pytest.raises(NotRunningError):
        config.store_settings()


def test_the_stored_text_holds_no_secret_and_is_the_same_for_every_process() -> None:
    """Variables stay variables, literal secrets and what a default might hold are masked; the rest is kept."""
    text = """
x-anchor: &pw anchor-secret
log: {bootstrap: [k:9092], security: sasl_ssl, username: user-secret, password: '${KAFKA:-kafka-secret}'}
store: {url: "http://c", user: u, password: "${STORE}"}
alerts: {channels: [{name: a, apprise: "tgram://apprise-secret/1"}, {name: b, webhook: "https://h/hook-secret"}]}
targets:
  - url: https://user:url-secret@example.org/?key=query-secret
  - name: x
    probes:
      - http: {url: "http://h", headers: {A: header-secret}, body: body-secret}
      - http: http://h/?token=short-secret
        name: short
      - tcp: {host: h, port: 1, send: *pw}
"""
    masked = config_of(text, KAFKA="env-secret", STORE="env-secret").to_masked_text()
    assert "secret" not in masked
    assert "password: ${STORE}" in masked
    assert "bootstrap:\n  - k:9092" in masked
    assert "https://***@example.org/?key=***" in masked
    assert "apprise: tgram://***" in masked
    assert "webhook: https://h/***" in masked
    again = config_of(masked, STORE="x")  # what is masked is still a config, so that an old version can be read
    assert [target.id for target in again.targets()] == ["main/example.org", "main/x"]


def test_yaml_anchors_have_a_place() -> None:
    """`x-...` at the top is ignored, `<<` merges, and a key that is written beats what is merged."""
    text = """
x-slow: &slow {interval: 5m, timeout: 20s}
targets:
  - {<<: *slow, name: x, timeout: 7s, probes: [{tcp: "h:1"}]}
"""
    probe = probe_of(config_of(text))
    assert (probe.interval_us, probe.timeout_us) == (300 * SECOND_US, 7 * SECOND_US)
