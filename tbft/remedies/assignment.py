"""The one-to-one assignment of least cost (Hungarian method), and how it changes when one column's costs rise."""

from __future__ import annotations

import numpy as np

from tbft.remedies.sample import Floats, Ints


class Assignment:
    """Assigns rows to columns one to one with the least sum of costs.

    It uses shortest augmenting paths with potentials (Kuhn 1955; Jonker and Volgenant 1987): columns are matched one
    after another, in O(C^2) each. ``changed`` matches one column again, because the potentials stay feasible when the
    costs of one column rise.

    Args:
        costs: cost of each row (first axis) at each column, ``(C, C)``.

    Attributes:
        row_of: row assigned to each column ``(C,)``.
    """

    def __init__(self, costs: Floats) -> None:
        self._costs = np.asarray(costs, np.float64)
        size = len(self._costs)
        self._rows, self._columns = np.zeros(size), np.zeros(size)  # potentials
        self.row_of = np.full(size, -1)
        self._column_of = np.full(size, -1)
        for column in range(size):
            self._match(column)

    def changed(self, column: int, rise: Floats) -> Ints:
        """Return the best assignment after the costs of one column rise; this object stays as it is.

        Args:
            column: column whose costs rise.
            rise: rise of the cost of each row ``(C,)``, at least 0.

        Returns:
            Row of each column ``(C,)``.
        """
        others = np.delete(self._costs[:, column] + rise - self._rows, self.row_of[column])
        own = self._costs[self.row_of[column], column] + rise[self.row_of[column]] - self._rows[self.row_of[column]]
        if not len(others) or own <= others.min():  # its row is still the cheapest at these potentials
            return self.row_of
        other = object.__new__(Assignment)
        other._costs = self._costs.copy()
        other._costs[:, column] += rise
        other._rows, other._columns = self._rows.copy(), self._columns.copy()
        other.row_of, other._column_of = self.row_of.copy(), self._column_of.copy()
        other._column_of[other.row_of[column]] = -1
        other.row_of[column] = -1
        other._match(column)
        return other.row_of

    def _match(self, column: int) -> None:
        """Match a free column along the shortest path to a free row."""
        size = len(self._costs)
        distance = np.full(size, np.inf)
        previous = np.full(size, -1)
        reached = np.zeros(size, bool)
        self._columns[column] = (self._costs[:, column] - self._rows).min()
        current, length = column, 0.0
        while True:
            slack = length + self._costs[:, current] - self._rows - self._columns[current]
            shorter = ~reached & (slack < distance)
            distance[shorter], previous[shorter] = slack[shorter], current
            row = int(np.where(reached, np.inf, distance).argmin())
            length = distance[row]
            reached[row] = True
            if self._column_of[row] < 0:
                break
            current = int(self._column_of[row])
        inside = reached.copy()
        inside[row] = False
        gained = length - distance[inside]
        self._columns[column] += length
        self._columns[self._column_of[inside]] += gained
        self._rows[inside] -= gained
        while True:  # swap matched and unmatched edges along the path
            before = int(previous[row])
            self._column_of[row] = before
            self.row_of[before], row = row, int(self.row_of[before])
            if before == column:
                return
