"""Which toys are seen in training and which are kept for zero-shot tests: four rotations of one rule.

A class is family x size x material. In every family three of the six combinations are seen, one is kept for
unseen-validation (it may choose a recipe) and two for unseen-test (they may choose nothing). Every size and every
material occurs among the seen ones of each family, so an unseen member can be *inferred* from its factors: the
large glass bell is unseen, but large bells, glass bells and large glass things are not.
"""

from dataclasses import dataclass

from gavs_lib.world.objects import FAMILIES, MATERIALS, SIZES, Toy

ROTATIONS = 4

# The size that is seen in wood, in metal, in glass: every choice that shows both sizes. There are six, one per family,
# so over the families each pair of size and material is seen three times and unseen three times. Three places further
# on stands the complement.
_SEEN_SIZES = ((0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1))
_SHIFT = (0, 3, 1, 4)


@dataclass(frozen=True)
class ClassSplit:
    """The 36 toys of one rotation: 18 seen, 6 unseen-validation, 12 unseen-test, disjoint."""

    rotation: int
    seen: tuple[Toy, ...]
    unseen_val: tuple[Toy, ...]
    unseen_test: tuple[Toy, ...]

    @property
    def unseen(self) -> tuple[Toy, ...]:
        """Every toy that no training clip shows or sounds."""
        return self.unseen_val + self.unseen_test


def class_split(rotation: int) -> ClassSplit:
    """The classes of a rotation.

    Rotations 0 and 1 are complements of each other (what one trains on, the other never sees), and so are 2 and 3.

    Args:
        rotation: 0 to 3.

    Raises:
        ValueError: there is no such rotation.
    """
    if rotation not in range(ROTATIONS):
        raise ValueError(f"rotation is {rotation!r}; the toy shop has rotations 0 to {ROTATIONS - 1}")
    seen: list[Toy] = []
    unseen_val: list[Toy] = []
    unseen_test: list[Toy] = []
    for index, family in enumerate(FAMILIES):
        sizes = _SEEN_SIZES[(index + _SHIFT[rotation]) % len(_SEEN_SIZES)]
        seen += [Toy(family, SIZES[size], material) for size, material in zip(sizes, MATERIALS)]
        others = [Toy(family, SIZES[1 - size], material) for size, material in zip(sizes, MATERIALS)]
        unseen_val.append(others.pop((index + rotation) % 3))
        unseen_test += others
    return ClassSplit(rotation, tuple(seen), tuple(unseen_val), tuple(unseen_test))
