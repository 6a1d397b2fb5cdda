"""The config file: `load` reads, checks and resolves it; a Config gives every part its frozen values."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from pydantic import ValidationError

from analytics.settings import ReportSettings, StoreSettings, WatchdogSettings
from forewarn.config.budget import agreeing_signals, divided, series_count
from forewarn.config.left_out import problems_left_out, without
from forewarn.config.masking import masked_text
from forewarn.config.model import DAY_US, Root
from forewarn.config.policy import override, settled
from forewarn.config.problems import problems_of, written
from forewarn.config.relations import dependencies, groups
from forewarn.config.targets import BuiltTarget, Findings, build_anchors, build_targets, check_unique, location_names
from forewarn.config.types import Surroundings
from forewarn.config.watchdog import watchdog_settings
from forewarn.config.yaml import Document, KeyPath, parse
from forewarn.errors import ConfigError, NotRunningError, Problem
from forewarn.runtime import Runtime
from forewarn.watched import watched
from producers.settings import LogSettings, ProducerSettings, Target
from streams.policy import AlertPolicy, Channel, DetectPolicy, Expectations, IncidentPolicy, ProbeExpectation

Part = Literal["log", "store", "alerts", "watchdog", "probes"]
"""A part of the config that holds secrets."""
ALL_PARTS: Final[tuple[Part, ...]] = ("log", "store", "alerts", "watchdog", "probes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config that was accepted.

    Attributes:
        path: Of the file.
        detect_policy: Of all targets that override nothing.
        incident_policy: The same.
    """

    path: Path
    detect_policy: DetectPolicy
    incident_policy: IncidentPolicy
    _root: Root = field(repr=False)
    _document: Document = field(repr=False)
    _built: tuple[BuiltTarget, ...] = field(repr=False)
    _anchors: tuple[Target, ...] = field(repr=False)
    _depends_on: Mapping[str, tuple[str, ...]] = field(repr=False)
    _left_out: frozenset[str] = field(repr=False)

    @property
    def has_log(self) -> bool:
        """Whether the config names a Kafka; without one the embedded broker is meant."""
        return self._document.root.get("log") is not None

    @property
    def has_store(self) -> bool:
        """Whether the config names a ClickHouse; without one the embedded store is meant."""
        return self._document.root.get("store") is not None

    @property
    def embedded_store_port(self) -> int:
        """Port of the embedded store on 127.0.0.1; 0 takes a free one."""
        return self._root.embedded.store_port

    def location_names(self) -> tuple[str, ...]:
        """Return the names of all locations, in the file's order."""
        return location_names(self._root)

    def targets(self) -> tuple[Target, ...]:
        """Return all targets, the anchors of locations (`_anchor/<location>`) after those of the file."""
        return (*(built.target for built in self._built), *self._anchors)

    def producer_settings(
        self, location: str, data_dir: Path, *, name: str | None = None, observe_port: int | None = None
    ) -> ProducerSettings:
        """Return what the producer of a location needs: only the probes that run there.

        Args:
            location: A name of the config.
            data_dir: The spool lies below it.
            name: Of the producer where several run at one location; the location's name by default.
            observe_port: Of /healthz and /metrics; 0 takes a free one, None has none.

        Raises:
            ConfigError: There is no such location.
        """
        if location not in self.location_names():
            known = ", ".join(self.location_names())
            text = f"the location {location} is not there, expected one of: {known}"
            line = self._document.line(("locations",))
            raise ConfigError(str(self.path), [Problem(line=line, key="locations", text=text)])
        self._require("probes")
        producer = self._root.producer
        return ProducerSettings(
            name=name or location,
            location=location,
            targets=_at(location, self.targets()),
            spool_dir=data_dir / "spool" / (name or location),
            concurrency=producer.concurrency,
            spool_max_bytes=producer.spool_max,
            pack_us=producer.pack,
            observe_port=observe_port,
        )

    def log_settings(self, runtime: Runtime | None = None) -> LogSettings:
        """Return how to reach the log: the config's Kafka, else the embedded broker of `runtime`.

        Raises:
            NotRunningError: The config has no `log` section and there is no runtime.
        """
        self._require("log")
        log = self._root.log
        if log is None:
            if runtime is None:
                raise NotRunningError(_NEEDS_RUNTIME)
            return LogSettings(bootstrap=(runtime.bootstrap,), forgetful=True)
        return LogSettings(
            bootstrap=tuple(log.bootstrap),
            security=log.security,
            sasl_mechanism=log.sasl_mechanism,
            username=log.username,
            password=log.password if log.password is not None else log.password_file,
            ca_file=log.ca_file,
            partitions=log.partitions,
            replication_factor=log.replication_factor,
            retention_us=log.retention,
        )

    def store_settings(self, runtime: Runtime | None = None) -> StoreSettings:
        """Return how to reach the store: the config's ClickHouse, else the embedded one of `runtime`.

        Raises:
            NotRunningError: The config has no `store` section and there is no runtime.
        """
        self._require("store")
        store = self._root.store
        if store is None:
            if runtime is None:
                raise NotRunningError(_NEEDS_RUNTIME)
            embedded = self._root.embedded
            return StoreSettings(
                url=runtime.store_url,
                token=runtime.store_token,
                checks_ttl_days=embedded.checks_ttl // DAY_US,
                summaries_ttl_days=embedded.summaries_ttl // DAY_US,
            )
        return StoreSettings(
            url=store.url,
            database=store.database,
            user=store.user,
            password=store.password if store.password is not None else store.password_file,
            token=store.token if store.token is not None else store.token_file,
            ca_file=store.ca_file,
            checks_ttl_days=store.checks_ttl // DAY_US,
            summaries_ttl_days=store.summaries_ttl // DAY_US,
        )

    def expectations(self) -> Expectations:
        """Return what should arrive, by (target, probe), and the overrides by target."""
        probes = {
            (target.id, probe.name): ProbeExpectation(
                interval_us=probe.interval_us, locations=probe.locations, timeout_us=probe.timeout_us
            )
            for target in self.targets()
            for probe in target.probes
        }
        detect: dict[str, DetectPolicy] = {}
        incidents: dict[str, IncidentPolicy] = {}
        for built in self._built:
            section = built.section
            own_incidents = override(self.incident_policy, section.incidents)
            own_detect = settled(override(self.detect_policy, section.detection), own_incidents)
            if own_incidents != self.incident_policy:
                incidents[built.target.id] = own_incidents
            if own_detect != self.detect_policy:
                detect[built.target.id] = own_detect
        return Expectations(
            probes=probes,
            detect=detect,
            incidents=incidents,
            groups=groups(self._built),
            depends_on=self._depends_on,
        )

    def alert_policy(self) -> AlertPolicy:
        """Return how alerts are sent, secrets included."""
        self._require("alerts")
        alerts = self._root.alerts
        channels = tuple(
            Channel(
                name=channel.name,
                apprise_url=channel.apprise if channel.apprise is not None else channel.apprise_file,
                webhook_url=channel.webhook if channel.webhook is not None else channel.webhook_file,
                pages=channel.pages,
            )
            for channel in alerts.channels
        )
        return AlertPolicy(
            channels=channels,
            watched={(target.id, probe.name): watched(probe) for target in self.targets() for probe in target.probes},
            reminder_us=alerts.reminder,
            timeout_us=alerts.timeout,
            give_up_us=alerts.give_up,
        )

    def _require(self, part: Part) -> None:
        if part in self._left_out:
            raise AssertionError(f"this config was loaded without {part}")

    def watchdog_settings(self) -> WatchdogSettings | None:
        """Return when the dead-man's ping goes out, and where to; None: it does not."""
        self._require("watchdog")
        return watchdog_settings(self._root.watchdog, self.targets())

    def report_settings(self) -> ReportSettings:
        """Return the accounting policy of reports."""
        report = self._root.report
        return ReportSettings(time_zone=report.time_zone, unknown=report.unknown, objective=report.objective)

    def check_channels(self) -> None:
        """Ask the notification library whether it knows the channels' addresses; slow to import, so not in `load`.

        Raises:
            ConfigError: It does not know one.
        """
        if "alerts" in self._left_out or not any(
            channel.apprise_url is not None for channel in self.alert_policy().channels
        ):
            return
        import apprise  # noqa: PLC0415 - half a second, and most commands tell nobody

        findings = Findings(self._document)
        for index, channel in enumerate(self.alert_policy().channels):
            if channel.apprise_url is None or apprise.Apprise.instantiate(channel.apprise_url) is not None:
                continue
            key = "apprise" if self._root.alerts.channels[index].apprise is not None else "apprise_file"
            expected = "expected one of https://appriseit.com/services/ with all that it needs"
            findings.add(("alerts", "channels", index, key), f"Apprise knows no such address, {expected}")
        if findings.problems:
            raise ConfigError(str(self.path), findings.problems)

    def warnings(self) -> list[str]:
        """Return what may be wrong, `file:line: key: text`: a config may be written for another machine.

        Mounts are looked up here, so this may wait for a network file system that hangs.
        """
        findings = Findings(self._document)
        for index, target in enumerate(self._root.targets):
            for number, probe in enumerate(target.probes or ()):
                for place, mount in enumerate(() if probe.host is None else probe.host.mounts):
                    path: KeyPath = ("targets", index, "probes", number, "host", "mounts", place)
                    if not Path(mount).exists():
                        findings.add(path, f"{mount} does not exist on this machine, the probe fails where that is so")
        return [f"{self.path}:{problem.line}: {problem.key}: {problem.text}" for problem in findings.problems]

    def to_masked_text(self) -> str:
        """Return the config as YAML with secrets masked and variables not replaced, for the store."""
        return masked_text(written(self._document.root))


_NEEDS_RUNTIME = "the config names no log and no store: start `forewarn up` first, or add the sections"


def load(path: Path, *, env: Mapping[str, str] | None = None, parts: Collection[Part] | None = None) -> Config:
    """Read, check and resolve a config file.

    Args:
        path: Of the file.
        env: Environment variables; those of the process by default.
        parts: What the caller needs the secrets of; all by default. A producer in production is not given the
            store's password, and who asks the store from another terminal not the channels' addresses: they must
            start without them, so the sections of other parts are left out (asking for one is a bug), and what
            targets hold of secrets is masked. What is wrong in those sections is refused all the same, but for what
            a variable or a file holds.

    Raises:
        ConfigError: It is refused; the error names every problem with file, line and key.
    """
    name = str(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        hint = "; write one with `forewarn init`" if isinstance(error, FileNotFoundError) else ""
        problem = Problem(line=0, key="", text=f"cannot be read: {error.strerror}{hint}")
        raise ConfigError(name, [problem]) from error
    return load_text(text, path=path, env=os.environ if env is None else env, parts=parts)


def load_text(text: bytes, *, path: Path, env: Mapping[str, str], parts: Collection[Part] | None = None) -> Config:
    """Do the same with a text that was read already.

    Raises:
        ConfigError: It is refused.
    """
    document = parse(text, name=str(path))
    tree = written(document.root)
    surroundings = Surroundings(env=env, directory=path.parent)
    left_out: frozenset[str] = frozenset()
    if parts is not None:
        left_out = (frozenset(ALL_PARTS) - frozenset(parts)) & {*tree, "probes"}
    problems = problems_left_out(tree, left_out, document, surroundings) if left_out else []
    try:
        root = Root.model_validate(without(tree, left_out), context=surroundings)
    except ValidationError as error:
        problems += problems_of(error, Root, document)
    if problems:
        raise ConfigError(str(path), problems) from None
    findings = Findings(document)
    config = _assemble(root, document, path, findings, left_out)
    if findings.problems:
        raise ConfigError(str(path), findings.problems)
    return config


def _assemble(root: Root, document: Document, path: Path, findings: Findings, left_out: frozenset[str]) -> Config:
    check_unique(location_names(root), ("locations",), "location", findings)
    check_unique([channel.name for channel in root.alerts.channels], ("alerts", "channels"), "channel", findings)
    built = build_targets(root, findings)
    detect_policy, incident_policy = _policies(root, [one.target for one in built], findings)
    for index, section in enumerate(root.targets):
        if section.detection is not None:
            _check_scores(override(detect_policy, section.detection), ("targets", index, "detection"), findings)
    return Config(
        path=path,
        detect_policy=detect_policy,
        incident_policy=incident_policy,
        _root=root,
        _document=document,
        _built=tuple(built),
        _anchors=tuple(build_anchors(root, findings)),
        _depends_on=dependencies(built, findings),
        _left_out=left_out,
    )


def _policies(root: Root, targets: Sequence[Target], findings: Findings) -> tuple[DetectPolicy, IncidentPolicy]:
    """Return how targets without overrides are judged, the installation's budgets divided over what is watched."""
    budgets, series = root.policy, series_count(targets)
    single = "false_warnings_per_series_week"
    if budgets.false_warnings_per_week is not None and single in root.detection.model_fields_set:
        expected = "expected only one of it and policy.false_warnings_per_week"
        findings.add(("detection", single), f"both budgets of false warnings are there, {expected}")
    detect = divided(DetectPolicy(), budgets.false_warnings_per_week, series)
    detect = override(detect, root.detection)
    pages = budgets.false_pages_per_month
    incidents = agreeing_signals(IncidentPolicy(), detect, pages, targets=len(targets), series=series)
    incidents = override(incidents, root.incidents)
    detect = settled(detect, incidents)
    _check_scores(detect, ("detection",), findings)
    return detect, incidents


def _check_scores(policy: DetectPolicy, path: KeyPath, findings: Findings) -> None:
    if policy.clear_score >= policy.warn_score:
        key = next((key for key in ("warn_score", "clear_score") if (*path, key) in findings.document.lines), "")
        text = f"warn_score {policy.warn_score:g} is not more than clear_score {policy.clear_score:g}"
        findings.add((*path, key), f"{text}, expected more")


def _at(location: str, targets: Collection[Target]) -> tuple[Target, ...]:
    """Return the targets with only the probes that run at a location; those without any are left out."""
    here = (
        replace(target, probes=tuple(probe for probe in target.probes if location in probe.locations))
        for target in targets
    )
    return tuple(target for target in here if target.probes)
