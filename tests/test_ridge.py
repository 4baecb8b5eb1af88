"""Ridge regression from one decomposition is scikit-learn's, and needs numpy alone."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import linear_model

from tbft.remedies.ridge import Ridge

PENALTIES = (1e-3, 1e-1, 1.0)


@pytest.mark.parametrize("shape", [(200, 12), (40, 40), (30, 150)], ids=["more images", "square", "more features"])
def test_solutions_are_those_of_scikit_learn(shape):
    rng = np.random.default_rng(0)
    x, y = rng.normal(3.0, np.linspace(0.1, 4, shape[1]), shape), np.arange(shape[0]) % 4
    unit = x.var(axis=0, ddof=1).mean() * len(x)
    ridge = Ridge(x, y, 4)
    for penalty in PENALTIES:
        solution = ridge.solve(penalty)
        reference = linear_model.Ridge(alpha=penalty * unit, solver="svd").fit(x, np.eye(4)[y])
        for ours, theirs in ((solution.weight, reference.coef_), (solution.bias, reference.intercept_)):
            assert np.abs(ours - theirs).max() <= 1e-8 * np.abs(theirs).max()


def test_features_that_never_change_and_classes_without_images_are_no_trouble():
    x, y = np.ones((6, 3)), np.array([0, 0, 0, 1, 1, 1])
    solution = Ridge(x, y, 3).solve(0.1)
    assert np.array_equal(solution.weight, np.zeros((3, 3)))
    assert np.allclose(solution.bias, [0.5, 0.5, 0.0])


def test_it_loads_without_torch():
    code = "import sys; sys.modules['torch'] = sys.modules['sklearn'] = None; import tbft.remedies.ridge"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
