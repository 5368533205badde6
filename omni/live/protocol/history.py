"""The items of a conversation in their order, as the client knows them."""

from collections.abc import Callable

from omni.live.protocol.events import Event, RefusedError, server

MOST = 500                                                              # items; a full conversation forgets its oldest
ROOT = "root"                                                           # names the place before the first item


class History:
    """Items by id, in order; where there are too many, whoever added them, the oldest make room."""

    def __init__(self, dropped: Callable[[str], None]) -> None:
        """dropped: told of each item that has made room"""
        self._items: dict[str, Event] = {}
        self._dropped = dropped

    def __contains__(self, name: str) -> bool:
        return name in self._items

    def __getitem__(self, name: str) -> Event:
        """Raises RefusedError for an item that is not there."""
        if name not in self._items:
            raise unknown(name)
        return self._items[name]

    @property
    def last(self) -> str | None:
        """Id of the latest item."""
        return next(reversed(self._items), None)

    def check_room(self, name: str | None, after: str | None) -> None:
        """Raise RefusedError unless an item of this id can be added there."""
        if name == ROOT:
            raise RefusedError(f"{ROOT} names the place before all items; use another id", param="item.id")
        if name in self._items:
            raise RefusedError(f"an item {name} is there already; leave the id out", "item_already_exists", "item.id")
        if after not in (None, ROOT) and after not in self._items:
            raise unknown(str(after), "previous_item_id")

    def add(self, item: Event, after: str | None = None) -> str | None:
        """Put an item behind another (None: at the end). Returns the id of the one before it."""
        names = list(self._items)
        at = len(names) if after is None else 0 if after == ROOT else names.index(after) + 1
        names.insert(at, item["id"])
        items = {**self._items, item["id"]: item}
        self._items = {name: items[name] for name in names}
        return self._before(item["id"])

    def tell(self, item: Event, after: str | None, send: Callable[[Event], None]) -> None:
        """Add an item that is whole, and tell the client so."""
        previous = self.add(item, after)
        for what in ("added", "done"):
            send(server(f"conversation.item.{what}", previous_item_id=previous, item=item))

    def put(self, item: Event) -> str | None:
        """Add an item at the end, or in the place of the one with its id. Returns the id of the one before it."""
        self._items[item["id"]] = item
        return self._before(item["id"])

    def remove(self, name: str) -> None:
        """Raises RefusedError for an item that is not there."""
        if self._items.pop(name, None) is None:
            raise unknown(name)

    def _before(self, name: str) -> str | None:
        """Id of the item before the one that was added, once there is room."""
        while len(self._items) > MOST:
            oldest = next(other for other in self._items if other != name)
            del self._items[oldest]
            self._dropped(oldest)
        names = list(self._items)
        at = names.index(name)
        return names[at - 1] if at else None


def unknown(name: str, param: str = "item_id") -> RefusedError:
    """The error of an item that is not there."""
    return RefusedError(f"there is no item {name!r} in the conversation", "item_not_found", param)
