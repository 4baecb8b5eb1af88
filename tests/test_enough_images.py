"""A head is solved from few images first, and from more as long as validation gains."""

import numpy as np
import pytest

from tbft.remedies.enough_images import solve_from_enough

IMAGES = 100


def right(count: int) -> np.ndarray:
    return np.arange(IMAGES) < count


@pytest.mark.parametrize(
    ("accuracies", "asked", "used"),
    [
        ({10: 50, 20: 50}, [10, 20], 20),  # no gain: it ends, and of equals the head from more images counts
        ({10: 50, 20: 49}, [10, 20], 10),  # the better one counts
        ({10: 50, 20: 60, 40: 61}, [10, 20, 40], 40),  # a clear gain asks for twice as many
        ({10: 50, 20: 60, 40: 70, 45: 90}, [10, 20, 40, 45], 45),  # no more than there are
    ],
)
def test_the_sample_grows_as_long_as_validation_gains(accuracies, asked, used) -> None:
    sizes = []

    def solve(size: int) -> tuple[str, np.ndarray]:
        sizes.append(size)
        return f"from {size}", right(accuracies[size])

    assert solve_from_enough(solve, 45, 10) == (f"from {used}", used)
    assert sizes == asked


def test_fewer_images_than_the_first_part_are_all_taken() -> None:
    assert solve_from_enough(lambda size: (size, right(3)), 7, 10) == (7, 7)
