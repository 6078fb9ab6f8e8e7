"""Failures that differ in numbers alone: a few of them are answered, and the others only counted."""

# A failure's telling lines, and its place as the last.
Key = tuple[str, ...]
# How many of one place are answered, how many messages are, how many places of those, and how many processes.
OF_A_SORT, _PLACES, _PROCESSES = 10, 50, 400


class Sort:
    """What was taken of failures that are one another's but for their numbers."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._messages: set[Key] = set()
        self._processes: set[str] = set()

    def takes(self, key: Key, process: str, times: int) -> bool:
        """Whether one more is answered, which is there so many times: few of its place are, or none of its process is."""
        message, place = key[:-1], key[-1]
        if self._processes and process not in self._processes and len(self._processes) < _PROCESSES:
            self._processes.add(process)
            return True
        self._processes.add(process)
        known = message in self._messages or len(self._messages) < OF_A_SORT
        if place not in self._places and len(self._places) >= (_PLACES if known else OF_A_SORT):
            return False
        if known:
            self._messages.add(message)
        self._places[place] = self._places.get(place, 0) + times
        return self._places[place] <= OF_A_SORT
