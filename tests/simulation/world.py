"""One seeded story: what is produced, what fails when, and what must be true when all is well again."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from streams.group import Place
from tests.simulation.log import SimLog
from tests.simulation.members import Bug, Disk, Member, Outbox, World
from tests.simulation.parts import CHECKS, PARTITIONS, VERDICTS, places_of
from tests.simulation.store import SimStore
from tests.simulation.workers import DetectMember, SinkMember

STEPS: Final = 1500
SETTLING_ROUNDS: Final = 60
LOSSES: Final = 2
"""Snapshots that a seed may lose: of three kept ones one is left."""


@dataclass(frozen=True)
class Outcome:
    """How a story ended.

    Attributes:
        wrong: What is not as in an undisturbed run; empty if all is well.
        story: What happened, line by line.
        faults: How many.
    """

    seed: int
    wrong: tuple[str, ...]
    story: tuple[str, ...]
    faults: int

    def __str__(self) -> str:
        lines = "\n  ".join(self.story[-60:])
        return f"seed {self.seed}: {'; '.join(self.wrong)}\n  {lines}"


class Simulation:
    """A world, its producer and its workers, and the dice."""

    def __init__(self, seed: int, bug: Bug | None = None) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.story: list[str] = []
        self.faults = 0
        self.forgetful = self.rng.random() < 0.5
        log = SimLog([*places_of(CHECKS), *places_of(VERDICTS)])
        self.world = World(log, SimStore(self.rng), self.forgetful, self.story.append, bug=bug)
        self.produced: list[str] = []
        self.spool = Outbox("producer")
        self.sent: set[int] = set()  # numbers of the spool that this log was given
        self.spool_epoch = log.epoch
        self.losses = LOSSES
        self.disks = {
            group: [Disk(group, Outbox(f"{group}-{number}")) for number in range(2)] for group in ("detect", "sink")
        }
        self.members: dict[str, Member | None] = dict.fromkeys(disk.outbox.name for disk in self._disks())
        for disk in self._disks():
            self._start(disk)

    def run(self) -> Outcome:
        """Let everything happen, then let it come to rest, kill everything once more, and look."""
        for _ in range(STEPS):
            self._step()
        self._settle()
        wrong = self._wrong("at rest")
        for name in self.members:
            self._kill(name)
        self._settle()
        wrong += self._wrong("after a last restart of everything")
        return Outcome(self.seed, tuple(wrong), tuple(self.story), self.faults)

    # What may happen.

    def _step(self) -> None:
        weighted: list[tuple[float, Callable[[], object]]] = [
            (3.0, self._produce),
            (4.0, self._publish),
            (0.06, self._publish_again),
            (1.0, self._trim),
            (0.12, self._crash),
            (0.2, self._restart),
            (0.05, lambda: self._rebalance("detect")),
            (0.05, lambda: self._rebalance("sink")),
            (0.4 if self.world.store.away else 0.1, self._switch_store),
            (0.1, self._lose_snapshot),
        ]
        if self.forgetful:
            weighted.append((0.06, self._forget))
        else:
            weighted += [(1.0, self._drop), (1.5, self._set_back)]
        weighted += [(5.0, partial(self._work, one)) for one in self._alive()]
        weights, actions = zip(*weighted, strict=True)
        self.rng.choices(actions, weights)[0]()

    def _work(self, member: Member) -> None:
        if member.wants_restart or (member.epoch != self.world.log.epoch and self.rng.random() < 0.3):
            self._start_again(member)
            return
        steps: list[tuple[float, Callable[[], object]]] = [
            (3.0, member.hear),
            (4.0, member.load),
            (3.0, lambda: self._take(member)),
            (5.0, member.send),
            (5.0, member.hear_acknowledgement),
            (4.0, lambda: [member.save() for _ in range(self.rng.randint(1, 20))]),
            (0.2, member.trim),
            (0.5, member.look_again),
        ]
        weights, actions = zip(*steps, strict=True)
        self.rng.choices(actions, weights)[0]()

    def _take(self, member: Member) -> bool:
        places = member.places()
        if not places:
            return False
        place = self.rng.choice(places)
        position = member.position(place)
        if position >= 0 and self.rng.random() < 0.05:
            return member.take(place, self.rng.randint(0, position))  # repeated
        return member.take(place)

    def _produce(self) -> None:
        check = f"c{len(self.produced)}"
        self.produced.append(check)
        self.spool.append(Place(CHECKS, self.rng.randrange(PARTITIONS)), check.encode())

    def _publish(self) -> None:
        """Publish the next message of the spool. A log that is no outbox's may get neighbours in another order."""
        if self.spool_epoch != self.world.log.epoch:
            self.spool_epoch, self.sent = self.world.log.epoch, set()
        waiting = [one for one in self.spool.entries if one[0] not in self.sent][:2]
        if not waiting:
            return
        seq, place, value = waiting[-1 if not self.forgetful and self.rng.random() < 0.1 else 0]
        self.world.log.append(place, value, self.spool.header(seq) if self.forgetful else ())
        self.sent.add(seq)

    def _publish_again(self) -> None:
        """The producer died, or an acknowledgement was lost: all of the spool is published once more."""
        self._fault("the producer publishes its spool again")
        self.sent = set()

    def _trim(self) -> None:
        if self.forgetful:
            self.spool.trim(self.world.store)
        else:
            self.spool.entries = [one for one in self.spool.entries if one[0] not in self.sent]

    def _crash(self) -> None:
        alive = self._alive()
        if alive:
            name = str(self.rng.choice(alive))
            self._fault(f"{name} is killed")
            self._kill(name)

    def _restart(self) -> None:
        dead = [disk for disk in self._disks() if self.members[disk.outbox.name] is None]
        if dead:
            self._start(self.rng.choice(dead))

    def _rebalance(self, group: str) -> None:
        """Share the places anew. Who had them hears of it later, and is an owner too until then."""
        members = [one for one in self._alive() if one.group == group and one.epoch == self.world.log.epoch]
        if not members:
            return
        generations = self.world.log.generations
        generations[group] = generations.get(group, 0) + 1
        shares: dict[str, list[Place]] = {str(one): [] for one in members}
        for number in range(PARTITIONS):
            topics = (CHECKS,) if group == "detect" else (CHECKS, VERDICTS)
            for topic in topics:
                shares[str(self.rng.choice(members))].append(Place(topic, number))
        for member in members:
            member.waiting = (generations[group], shares[str(member)])
        self.story.append(f"{group} rebalances: {shares}")

    def _switch_store(self) -> None:
        self.world.store.away = not self.world.store.away
        self._fault(f"the store is {'away' if self.world.store.away else 'back'}")

    def _lose_snapshot(self) -> None:
        number = self.rng.randrange(PARTITIONS)
        if self.losses and self.world.store.lose_newest("detect", number):
            self.losses -= 1
            self._fault(f"the store loses the newest snapshot of partition {number}")
            for disk in self.disks["detect"]:
                disk.copies.pop(number, None)

    def _forget(self) -> None:
        self._fault("the broker forgets everything")
        self.world.log.forget()

    def _drop(self, number: int | None = None) -> None:
        place = Place(CHECKS, self.rng.randrange(PARTITIONS) if number is None else number)
        if self.world.log.drop_committed(place, tuple(self.disks)):
            self._fault(f"the log drops what is committed of {place}")

    def _set_back(self) -> None:
        """All machines of detect are lost, and of one partition's snapshots an old backup is put back."""
        number = self.rng.randrange(PARTITIONS)
        committed = self.world.log.committed.get(("detect", Place(CHECKS, number)), 0)
        if self.world.store.set_back("detect", number, before=committed - 1):
            self._fault(f"the store is set back to an old backup of partition {number}")
            for disk in self.disks["detect"]:
                disk.copies = {}
                self._kill(disk.outbox.name)
            if self.rng.random() < 0.5:
                self._drop(number)

    def _start_again(self, member: Member) -> None:
        self.story.append(f"{member} starts again")
        self._kill(str(member))
        self._start(member.disk)

    # The end.

    def _settle(self) -> None:
        """No more faults: everything that waits is done."""
        self.world.store.away, self.world.store.steady = False, True
        self.world.store.repair()
        for disk in self._disks():
            member = self.members[disk.outbox.name]
            if member is None or member.epoch != self.world.log.epoch:
                self._start(disk)
        for group in self.disks:
            self._rebalance(group)
        for _ in range(SETTLING_ROUNDS):
            if not self._round():
                return
        self.world.complaints.append("it never comes to rest")

    def _round(self) -> bool:
        """Do all that can be done now; say whether anything was."""
        moved = False
        unsent = len(self.spool.entries) - len(self.sent) + 1
        for _ in range(max(unsent, 1) + 2):
            self._publish()
        for member in self._alive():
            if member.look_again() or member.wants_restart:
                self._start_again(member)
                moved = True
                continue
            moved |= member.hear() | member.load()
            for place in member.places():
                while member.take(place):
                    moved = True
            while member.send() | member.hear_acknowledgement():
                moved = True
            while member.save():
                moved = True
        return moved

    def _wrong(self, when: str) -> list[str]:
        """Say what is not as in an undisturbed run."""
        expected = set(self.produced)
        wrong = [f"{when}: {one}" for one in self.world.complaints]
        for table in (CHECKS, VERDICTS):
            stored = self.world.store.rows.get(table, set())
            wrong += _difference(f"{when}: {table} in the store", expected, stored)
        seen: list[str] = []
        for member in self._alive():
            if isinstance(member, DetectMember):
                seen += [check for part in member.seen.values() for check in part]
        if len(seen) != len(set(seen)):
            wrong.append(f"{when}: a check is in two states")
        wrong += _difference(f"{when}: checks in the states", expected, set(seen))
        return wrong

    # Who there is.

    def _disks(self) -> list[Disk]:
        return [disk for disks in self.disks.values() for disk in disks]

    def _alive(self) -> list[Member]:
        return [member for member in self.members.values() if member is not None]

    def _start(self, disk: Disk) -> None:
        name = disk.outbox.name
        member: Member = DetectMember(disk, self.world) if disk.group == "detect" else SinkMember(disk, self.world)
        self.members[name] = member
        self._rebalance(member.group)

    def _kill(self, name: str) -> None:
        self.members[name] = None

    def _fault(self, what: str) -> None:
        self.faults += 1
        self.story.append(what)


def _difference(where: str, expected: set[str], found: set[str]) -> Iterator[str]:
    for what, ids in (("missing", expected - found), ("too many", found - expected)):
        if ids:
            yield f"{where}: {len(ids)} {what}, for example {min(ids)}"


def run(seed: int, bug: Bug | None = None) -> Outcome:
    """Run one story."""
    return Simulation(seed, bug).run()
