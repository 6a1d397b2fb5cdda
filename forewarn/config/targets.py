"""From the sections of a config to targets: defaults, short forms, and what only shows when keys are seen together."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from forewarn.config.model import Root
from forewarn.config.model import Target as TargetSection
from forewarn.config.probes import KINDS, AnchorSection, HttpSection, ProbeSection, TlsSection
from forewarn.config.text import duration_text, split_url
from forewarn.config.yaml import Document, KeyPath, dotted
from forewarn.errors import Problem
from producers.contract import ANCHOR_CUSTOMER
from producers.settings import HostOptions, HttpOptions, Probe, ProbeOptions, Target, TcpOptions, TlsOptions

LONE_LOCATION: Final = "local"
"""The location of a config that names none."""
DEFAULT_TIMEOUT_US: Final = 10 * 10**6


@dataclass(slots=True)
class Findings:
    """Collects what is wrong, with its line."""

    document: Document
    problems: list[Problem] = field(default_factory=list)

    def add(self, path: KeyPath, text: str) -> None:
        """Note a problem of the key at `path`."""
        self.problems.append(Problem(line=self.document.line(path), key=dotted(path), text=text))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltTarget:
    """A target and the section that it came from, with its place in the file's list."""

    target: Target
    section: TargetSection
    index: int


def location_names(root: Root) -> tuple[str, ...]:
    """Return the names of the locations, in the file's order."""
    return (LONE_LOCATION,) if root.locations is None else tuple(location.name for location in root.locations)


def build_targets(root: Root, findings: Findings) -> list[BuiltTarget]:
    """Return the targets that are in order; what is not goes to `findings`."""
    builder = _Builder(root, findings)
    seen: dict[str, KeyPath] = {}
    built: list[BuiltTarget] = []
    for index, section in enumerate(root.targets):
        path: KeyPath = ("targets", index)
        target_id = builder.target_id(section, path)
        if target_id is None:
            continue
        if target_id in seen:
            line = findings.document.line(seen[target_id])
            name_path = (*path, "name" if section.name is not None else "url")
            findings.add(name_path, f"the target {target_id} is there already, in line {line}; give it another name")
            continue
        seen[target_id] = path
        probes = builder.probes(section, path)
        if probes:
            built.append(BuiltTarget(target=Target(id=target_id, probes=tuple(probes)), section=section, index=index))
    return built


def build_anchors(root: Root, findings: Findings) -> list[Target]:
    """Return the target `_anchor/<location>` of each location that has an anchor."""
    builder = _Builder(root, findings)
    anchors: list[Target] = []
    for index, location in enumerate(root.locations or ()):
        if location.anchor is None:
            continue
        path: KeyPath = ("locations", index, "anchor")
        probe = builder.probe(location.anchor, path, name=None, target=None, locations=(location.name,))
        if probe is not None:
            anchors.append(Target(id=f"{ANCHOR_CUSTOMER}/{location.name}", probes=(probe,)))
    return anchors


def check_unique(names: Sequence[str], path: KeyPath, what: str, findings: Findings) -> None:
    """Report names that are there twice in the list at `path`."""
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            line = findings.document.line((*path, seen[name], "name"))
            findings.add((*path, index, "name"), f"the {what} {name} is there already, in line {line}")
        seen.setdefault(name, index)


class _Builder:
    """Knows the defaults and the locations."""

    def __init__(self, root: Root, findings: Findings) -> None:
        self._defaults = root.defaults
        self._locations = location_names(root)
        self._findings = findings

    def target_id(self, section: TargetSection, path: KeyPath) -> str | None:
        if section.name is not None:
            return f"{section.customer}/{section.name}"
        if section.url is None:
            self._findings.add((*path, "name"), "required key is missing, expected a name for the target")
            return None
        return f"{section.customer}/{_name_of(section.url)}"

    def probes(self, section: TargetSection, path: KeyPath) -> list[Probe]:
        if (section.url is None) == (section.probes is None):
            said = "both url and probes are there" if section.url is not None else "nothing to probe"
            self._findings.add(path, f"{said}, expected either url (the short form) or probes")
            return []
        sections = list(_short_form(section.url)) if section.url is not None else list(section.probes or ())
        if (locations := self._placed(section.locations, (*path, "locations"))) is None:
            return []
        probes: list[Probe] = []
        seen: dict[str, KeyPath] = {}
        for index, probe_section in enumerate(sections):
            probe_path: KeyPath = path if section.url is not None else (*path, "probes", index)
            probe = self._probe_of(probe_section, probe_path, section, locations)
            if probe is None:
                continue
            if probe.name in seen:
                line = self._findings.document.line(seen[probe.name])
                text = f"the probe {probe.name} is there already, in line {line}; give one of them a name"
                self._findings.add((*probe_path, "name") if probe_section.name else probe_path, text)
                continue
            seen[probe.name] = probe_path
            probes.append(probe)
        return probes

    def _probe_of(
        self, section: ProbeSection, path: KeyPath, target: TargetSection, inherited: tuple[str, ...]
    ) -> Probe | None:
        locations: tuple[str, ...] | None = inherited
        if section.locations is not None:
            locations = self._placed(section.locations, (*path, "locations"))
        if locations is None:
            return None
        named = section.locations or target.locations or self._defaults.locations
        if section.host is not None and named is None and len(locations) > 1:
            self._findings.add(
                (*path, "host"), "reads the machine that its producer runs on, expected `locations` with its location"
            )
            return None
        return self.probe(section, path, name=section.name, target=target, locations=locations)

    def _placed(self, written: list[str] | None, path: KeyPath) -> tuple[str, ...] | None:
        """Return locations that exist, None if one does not."""
        names = written
        if names is None:
            names = self._defaults.locations
            path = ("defaults", "locations")
        if names is None:
            return self._locations
        good = True
        for index, name in enumerate(names):
            if name not in self._locations:
                known = ", ".join(self._locations)
                self._findings.add((*path, index), f"the location {name} is not there, expected one of: {known}")
                good = False
            elif name in names[:index]:
                self._findings.add((*path, index), f"the location {name} is there twice")
                good = False
        return tuple(names) if good else None

    def probe(
        self,
        section: AnchorSection,
        path: KeyPath,
        *,
        name: str | None,
        target: TargetSection | None,
        locations: tuple[str, ...],
    ) -> Probe | None:
        kinds = [kind for kind in KINDS if getattr(section, kind) is not None]
        if len(kinds) != 1:
            said = " and ".join(kinds) if kinds else "none"
            self._findings.add(path, f"{said} in one probe, expected exactly one of {', '.join(KINDS)}")
            return None
        interval_us = section.interval or (target.interval if target else None) or self._defaults.interval
        timeout_us = self._timeout(section, target, path, interval_us)
        if timeout_us is None:
            return None
        return Probe(
            name=name or kinds[0],
            kind=kinds[0],
            interval_us=interval_us,
            timeout_us=timeout_us,
            locations=locations,
            options=_options(section),
        )

    def _timeout(
        self, section: AnchorSection, target: TargetSection | None, path: KeyPath, interval_us: int
    ) -> int | None:
        """Return the deadline that is written nearest, None if it is not less than the interval."""
        above = path[:2] if target is not None else path
        written = [
            (section.timeout, (*path, "timeout")),
            (target.timeout if target else None, (*above, "timeout")),
            (self._defaults.timeout, ("defaults", "timeout")),
        ]
        for timeout_us, timeout_path in written:
            if timeout_us is None:
                continue
            if timeout_us < interval_us:
                return timeout_us
            # Where the timeout is a default, the line to look at is that of the interval it does not fit.
            place = timeout_path if timeout_path[0] != "defaults" else self._interval_path(section, target, path)
            said = (
                duration_text(timeout_us)
                if place == timeout_path
                else f"{duration_text(timeout_us)} of {dotted(timeout_path)}"
            )
            text = f"the timeout {said} is not less than the interval {duration_text(interval_us)}"
            self._findings.add(place, f"{text}, expected a shorter one")
            return None
        return min(DEFAULT_TIMEOUT_US, interval_us // 2)

    def _interval_path(self, section: AnchorSection, target: TargetSection | None, path: KeyPath) -> KeyPath:
        if section.interval is not None:
            return (*path, "interval")
        if target is not None and target.interval is not None:
            return (*path[:2], "interval")
        return ("defaults", "timeout")


def _name_of(url: str) -> str:
    """Return the host of a URL as a target's name, with the port if it is written."""
    parts = split_url(url)
    host = parts.hostname or ""
    try:
        name = str(ipaddress.ip_address(host)).replace(":", "-")
    except ValueError:
        name = host.encode("idna").decode()
    name = name.lstrip("-") or "0"
    return name if parts.port is None else f"{name}-{parts.port}"


def _short_form(url: str) -> Iterator[ProbeSection]:
    """Yield the probes of `url: ...`: http, and for https the certificate beside it.

    The URL was validated already, and its variables are replaced: nothing is validated twice.
    """
    yield ProbeSection.model_construct(http=HttpSection.model_construct(url=url))
    parts = split_url(url)
    if parts.scheme == "https":
        yield ProbeSection.model_construct(
            tls=TlsSection.model_construct(host=parts.hostname or "", port=parts.port or 443)
        )


def _options(section: AnchorSection) -> ProbeOptions:
    if section.http is not None:
        return _http_options(section.http)
    if section.tls is not None:
        tls = section.tls
        return TlsOptions(
            host=tls.host,
            port=tls.port,
            server_name=tls.server_name,
            verify=tls.verify,
            min_days_left=tls.min_days_left,
            ca_file=tls.ca_file,
        )
    if section.tcp is not None:
        tcp = section.tcp
        return TcpOptions(host=tcp.host, port=tcp.port, send=tcp.send, expect=tcp.expect)
    assert section.host is not None
    return HostOptions(mounts=tuple(section.host.mounts))


def _http_options(http: HttpSection) -> HttpOptions:
    statuses = (status for low, high in http.expect_status for status in range(low, high + 1))
    return HttpOptions(
        url=http.url,
        method=http.method,
        headers=tuple(http.headers.items()),
        body=http.body,
        expect_status=frozenset(statuses),
        body_contains=http.body_contains,
        follow_redirects=http.follow_redirects,
        verify_tls=http.verify_tls,
        max_response_bytes=http.max_response_bytes,
        ca_file=http.ca_file,
    )
