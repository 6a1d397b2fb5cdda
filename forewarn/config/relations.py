"""How targets of a config belong together: groups, and what depends on what."""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from forewarn.config.targets import BuiltTarget, Findings
from forewarn.config.yaml import KeyPath


def groups(built: Sequence[BuiltTarget]) -> dict[str, str]:
    """Return the group of each target that has one."""
    return {one.target.id: one.section.group for one in built if one.section.group is not None}


def dependencies(built: Sequence[BuiltTarget], findings: Findings) -> dict[str, tuple[str, ...]]:
    """Return what each target depends on; what is not there, is there twice, or closes a circle goes to `findings`."""
    known = {one.target.id for one in built}
    found: dict[str, tuple[str, ...]] = {}
    paths: dict[str, KeyPath] = {}
    for one in built:
        names: list[str] = []
        for place, written in enumerate(one.section.depends_on or ()):
            path: KeyPath = ("targets", one.index, "depends_on", place)
            name = written if "/" in written else f"{one.section.customer}/{written}"
            if name == one.target.id:
                findings.add(path, f"the target {name} depends on itself, expected another one")
            elif name in names:
                findings.add(path, f"the target {name} is there twice")
            elif name not in known:
                findings.add(path, f"the target {name} is not there, expected the name of one, or customer/name")
            else:
                names.append(name)
        if names:
            found[one.target.id] = tuple(names)
            paths[one.target.id] = ("targets", one.index, "depends_on")
    circle = _circle(found)
    if circle:
        text = f"the dependencies go round in a circle: {' -> '.join(circle)}"
        findings.add(paths[circle[0]], f"{text}, expected one that ends")
    return found


def _circle(depends_on: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a circle of targets, its first one at the end again; empty if there is none."""
    try:
        TopologicalSorter(depends_on).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))[:-1]
        first = circle.index(min(circle))
        return [*circle[first:], *circle[: first + 1]]
    return []
