import json
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.domain import Actor, AggregateRoot, DomainEvent, Entity, Origin, Scope, ValueObject
from dsplatform.core.events import DatasetCreated, VersionCommitted
from dsplatform.core.types import PermissionType, PlatformRight


@dataclass(frozen=True)
class Point(ValueObject):
    x: int
    y: int = 0


@dataclass(frozen=True)
class Line(ValueObject):
    name: str
    points: tuple[Point, ...] = ()
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Moved(DomainEvent):
    thing: int
    to: str = "somewhere"


@dataclass(eq=False)
class Thing(AggregateRoot):
    id: int | None = None


@dataclass(eq=False)
class Other(Entity):
    id: int | None = None


def test_value_objects_are_equal_by_content() -> None:
    assert Point(1, 2) == Point(1, 2) != Point(1, 3)
    assert hash(Point(1, 2)) == hash(Point(1, 2))


def test_a_value_object_unfolds_into_what_json_holds() -> None:
    line = Line("l", (Point(1), Point(2, 3)), ["a"])
    assert json.loads(json.dumps(line.plain())) == {"name": "l", "points": [{"x": 1, "y": 0}, {"x": 2, "y": 3}], "tags": ["a"]}


def test_an_actor_is_a_value() -> None:
    ann = Actor(7, "ann", rights=(PlatformRight.CREATE,), scope=Scope(PermissionType.READ, (3,)), origin=Origin(1, "::1", "r"))
    assert ann.plain()["scope"] == {"right": "read", "dataset_ids": [3]}
    assert ann == replace(ann)
    assert ann != replace(ann, scope=Scope())


@given(st.integers(), st.text())
def test_an_event_reads_back_as_it_was(thing: int, to: str) -> None:
    event = Moved(thing, to)
    assert DomainEvent.read(event.name, json.loads(json.dumps(event.plain()))) == event


@pytest.mark.parametrize("event", [DatasetCreated(1, 2), VersionCommitted(1, 2, "main")])
def test_the_platforms_events_read_back_as_they_were(event: DomainEvent) -> None:
    assert DomainEvent.read(event.name, json.loads(json.dumps(event.plain()))) == event


def test_an_event_of_a_newer_release_is_read_without_what_is_new() -> None:
    assert DomainEvent.read("Moved", {"thing": 1, "to": "x", "speed": 9}) == Moved(1, "x")


def test_an_event_of_an_older_release_gets_the_default() -> None:
    assert DomainEvent.read("Moved", {"thing": 1}) == Moved(1, "somewhere")


def test_entities_are_the_same_by_id() -> None:
    assert Thing(1) == Thing(1)
    assert len({Thing(1), Thing(1), Thing(2)}) == 2


def test_an_entity_without_id_equals_only_itself() -> None:
    one, other = Thing(), Thing()
    assert one == one
    assert one != other
    assert len({one, other}) == 2


def test_entities_of_two_kinds_are_never_the_same() -> None:
    assert Thing(1) != Other(1)
    assert Thing(1) != 1


def test_what_happened_is_given_out_once_and_in_order() -> None:
    thing = Thing(1)
    thing.record(Moved(1, "a"))
    thing.record(Moved(1, "b"))
    assert thing.release() == [Moved(1, "a"), Moved(1, "b")]
    assert thing.release() == []
