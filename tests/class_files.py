"""Java class files, as far as linking goes: what a class has, and what it refers to (JVM specification, chapter 4)."""

import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

Member = tuple[str, str]  # name and descriptor
_SIZES = {3: 5, 4: 5, 5: 9, 6: 9, 7: 3, 8: 3, 9: 5, 10: 5, 11: 5, 12: 5, 15: 4, 16: 3, 17: 5, 18: 5, 19: 3, 20: 3}
_OF_OBJECT = {"<init>", "clone", "equals", "getClass", "hashCode", "notify", "notifyAll", "toString", "wait"}
_UTF8, _CLASS, _NAME_AND_TYPE, _REFERENCES = 1, 7, 12, (9, 10, 11)


@dataclass(frozen=True)
class ClassFile:
    parents: list[str]
    members: set[Member]
    references: set[tuple[str, Member]]
    """Fields and methods that the code uses, by the class through which it does."""


def parse(data: bytes) -> ClassFile:
    constants, at = _constants(data)

    def text(index: int) -> str:
        return str(constants[index][1])

    def name(index: int) -> str:
        return text(constants[index][1])

    def pair(index: int) -> Member:
        return text(constants[index][1]), text(constants[index][2])

    _, _, parent, interfaces = struct.unpack_from(">4H", data, at)
    parents = [parent, *struct.unpack_from(f">{interfaces}H", data, at + 8)]
    at += 8 + 2 * interfaces
    members = set()
    for _ in ("fields", "methods"):
        count = struct.unpack_from(">H", data, at)[0]
        at += 2
        for _ in range(count):
            _, name_at, type_at, attributes = struct.unpack_from(">4H", data, at)
            members.add((text(name_at), text(type_at)))
            at += 8
            for _ in range(attributes):
                at += 6 + struct.unpack_from(">I", data, at + 2)[0]
    used = {(name(one[1]), pair(one[2])) for one in constants.values() if one[0] in _REFERENCES}
    return ClassFile([name(one) for one in parents if one], members, used)


def _constants(data: bytes) -> tuple[dict[int, tuple], int]:  # type: ignore[type-arg]
    found: dict[int, tuple] = {}  # type: ignore[type-arg]
    at, index, count = 10, 1, struct.unpack_from(">H", data, 8)[0]
    while index < count:
        tag = data[at]
        if tag == _UTF8:
            size = struct.unpack_from(">H", data, at + 1)[0]
            found[index] = (tag, data[at + 3 : at + 3 + size].decode("utf-8", "replace"))
            at += 3 + size
        else:
            if tag == _CLASS:
                found[index] = (tag, struct.unpack_from(">H", data, at + 1)[0])
            elif tag == _NAME_AND_TYPE or tag in _REFERENCES:
                found[index] = (tag, *struct.unpack_from(">2H", data, at + 1))
            at += _SIZES[tag]
        index += 2 if tag in (5, 6) else 1  # long and double take two places
    return found, at


class ClassPath:
    """The classes of some jars, the first of a name; each is read when it is needed."""

    def __init__(self, jars: list[Path]) -> None:
        self._jars = jars
        self._read: dict[str, ClassFile] = {}

    @cached_property
    def _places(self) -> dict[str, zipfile.ZipFile]:
        places: dict[str, zipfile.ZipFile] = {}
        for jar in map(zipfile.ZipFile, self._jars):
            for entry in jar.namelist():
                if entry.endswith(".class"):
                    places.setdefault(entry.removesuffix(".class"), jar)
        return places

    def names(self) -> Iterator[str]:
        return iter(self._places)

    def get(self, name: str) -> ClassFile:
        """A class by its name with slashes; raises KeyError."""
        if name not in self._read:
            self._read[name] = parse(self._places[name].read(f"{name}.class"))
        return self._read[name]

    def lacks(self, name: str, member: Member) -> bool:
        """Whether a class, with all it inherits, has no such member. What is not in these jars may have any."""
        if name == "java/lang/Object":
            return member[0] not in _OF_OBJECT
        try:
            found = self.get(name)
        except KeyError:
            return False
        return member not in found.members and all(self.lacks(parent, member) for parent in found.parents)
