"""What the API has, put together from three sources that know nothing of each other.

The watch of the objects that are records, the watch of their pods where they have
any, and the answers to our own writes, which are put in so that a reader finds what
was just written. Versions of objects are opaque, so who is newer is never read off them:

- What the watch shows comes in order, and wins over what it showed before.
- An own write is put in only if the watch has shown nothing new of its object since
  the request was sent; otherwise the watch has it already, or will.
- Once it is in, it is pinned: what the watch shows of that object is older until
  it shows that very version.
- A list and a write that were under way at the same time can't tell which came
  first; then the object is looked at live (`unsettled`, `settle`).
- A uid that has left stays away for writers: a late answer resurrects nothing.
  For the watch it may come back, because an object whose labels no longer match
  is shown as DELETED too. So "left" is all that a removal means here: what
  depends on a deletion asks the API.

Nothing here locks; cache.py does.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from jupyter_scheduler_k8s.cluster.index import Entry, Indexes, Record
from jupyter_scheduler_k8s.cluster.kinds import Kind
from jupyter_scheduler_k8s.cluster.slim import belongs_to, unpack
from jupyter_scheduler_k8s.records import JobRecord

Make = Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], Record | None]

_ENDED = frozenset({"COMPLETED", "FAILED", "STOPPED"})

# From so many changes at once on, sorting anew is faster than inserting.
_BULK = 500
# A write whose beginning isn't told was sent less than this many seconds ago:
# the longest that a request may take (client.py), doubled.
_LONGEST_WRITE = 60.0
# So many uids that have left are remembered: an own write's answer is put in
# within seconds, so it would have to be overtaken by this many removals.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One object as it came over the wire, slimmed and packed."""

    name: str
    uid: str
    version: str
    data: bytes


@dataclass(slots=True)
class _Open:
    """A name that has to be looked at live: what the last list had, our own last write."""

    listed: str | None = None
    written: int = 0


class Mirror:
    """Objects of one kind with their records, in all orders, and the pods that belong to them.

    Methods that change something return the names of the objects that changed.
    """

    def __init__(self, kind: Kind, make: Make, clock: Callable[[], float]) -> None:
        """`make` gives the record of an object and its pods, None if it can't be read."""
        self.kind = kind
        self._place: Callable[[Record], Any] = attrgetter(
            "create_time", "name", kind.id, *kind.groups
        )
        self._make_record = make
        self._clock = clock
        self._number = 0
        self.entries: dict[str, Entry] = {}
        self.active: set[Entry] = set()
        self.indexes = Indexes(kind)
        self._pods: dict[str, dict[str, bytes]] = {}
        self._job_of_pod: dict[str, str] = {}
        # Known to have left, and still shown by the watch until it shows that.
        self._forgotten: dict[str, int] = {}
        self._left: OrderedDict[str, None] = OrderedDict()
        self._unsettled: dict[str, _Open] = {}
        # When the last list came in: as a number, and on the clock.
        self._listed = 0
        self._listed_at = float("-inf")
        # Until all first lists are in, records are not made of lists: those
        # made of Jobs alone would be made a second time with the pods.
        self.listed = False
        self.pods_listed = not kind.has_pods

    def number(self) -> int:
        """The number of this moment: changes that come later have a higher one."""
        self._number += 1
        return self._number

    def make(self, entry: Entry) -> None:
        """Make the entry's record, and move it in the indexes if that is called for."""
        record = self._record(entry)
        if not self._same_place(entry.record, record):
            self.indexes.remove(entry)
            if record is not None:
                self.indexes.add(entry, record)
        entry.record = record

    def pods_of(self, entry: Entry) -> list[dict[str, Any]]:
        """The pods of this very object, not those of an earlier one of its name."""
        group = self._pods.get(entry.name)
        if not group:
            return []
        pods = [unpack(data) for data in group.values()]
        return [pod for pod in pods if belongs_to(pod, entry.uid)]

    # -- own writes ---------------------------------------------------------

    def put(self, seen: Seen, sent: int | None) -> bool:
        """Put in the answer to a write that was sent at the number `sent`.

        None is for an object that was just created: then whatever is known under
        its name is taken to be newer. False if nothing was changed because the
        watch knows better, or will.
        """
        if sent is None:
            doubtful = self._clock() - self._listed_at < _LONGEST_WRITE
        else:
            doubtful = self._listed > sent
        if seen.uid in self._left:
            return False
        entry = self.entries.get(seen.name)
        if entry is not None:
            if (entry.uid, entry.version) == (seen.uid, seen.version):
                return True
            if sent is None or max(entry.seen, entry.put) > sent:
                return False
            if entry.uid != seen.uid:
                # A predecessor of the same name, which the watch may still show.
                self._forgotten[entry.uid] = self.number()
        elif doubtful:
            # It was made after the list that doesn't have it, or it had gone by then.
            self._unsettled.setdefault(seen.name, _Open())
        entry = self._store(seen)
        entry.put = self.number()
        entry.pin = seen.version
        if seen.name in self._unsettled:
            self._unsettled[seen.name].written = entry.put
        self.make(entry)
        return True

    def forget(self, name: str, uid: str | None) -> list[str]:
        """Take out an object that was deleted; with `uid`, only that very one."""
        entry = self.entries.get(name)
        if uid is None and entry is not None:
            uid = entry.uid
        known = entry is not None and entry.uid == uid
        if uid is None or (uid in self._left and not known):
            # The watch has shown its end already.
            return []
        self._forgotten[uid] = self.number()
        if name in self._unsettled:
            self._unsettled[name].written = self._forgotten[uid]
        self._leave(uid)
        if entry is None or not known:
            return []
        self._drop(entry)
        return [name]

    # -- the watch of the objects -------------------------------------------

    def replace(self, listed: Mapping[str, Seen], begun: int) -> list[str]:
        """These are all objects, as asked for at the number `begun`."""
        number = self._listed = self.number()
        self._listed_at = self._clock()
        self._unsettled.clear()
        uids = {seen.uid for seen in listed.values()}
        self._forgotten = {
            uid: at for uid, at in self._forgotten.items() if uid in uids or at > begun
        }
        listed = {name: seen for name, seen in listed.items() if seen.uid not in self._forgotten}
        changed: list[str] = []
        stored: list[Entry] = []
        for name in self.entries.keys() - listed.keys():
            entry = self.entries[name]
            if entry.pin is not None and entry.put > begun:
                # Written while the list was under way: it may be too new for it.
                self._unsettled[name] = _Open()
                continue
            self._leave(entry.uid)
            self._drop(entry)
            changed.append(name)
        for name, seen in listed.items():
            known = self.entries.get(name)
            if known is not None and (known.uid, known.version) == (seen.uid, seen.version):
                known.pin = None
                known.seen = number
                continue
            if known is not None and known.pin is not None and known.put > begun:
                self._unsettled[name] = _Open(listed=seen.version)
                continue
            entry = self._store(seen)
            entry.seen = number
            stored.append(entry)
            changed.append(name)
        self.listed = True
        self._make_listed(stored)
        return changed

    def unsettled(self) -> list[str]:
        """The names of objects that have to be looked at live."""
        return sorted(self._unsettled)

    def settle(self, name: str, live: Seen | None, asked: int) -> bool:
        """What the API has under an unsettled name, asked for at the number `asked`.

        False if this decides nothing, because it was written again meanwhile.
        """
        opened = self._unsettled.get(name)
        if opened is None or opened.written > asked:
            return False
        del self._unsettled[name]
        entry = self.entries.get(name)
        if entry is not None and (live is None or live.uid != entry.uid):
            # The watch may still have to show how it came and went.
            self._forgotten[entry.uid] = self.number()
            self._leave(entry.uid)
            self._drop(entry)
        if live is None or live.uid in self._forgotten:
            return True
        entry = self._store(live)
        # The watch shows what is newer than the list, so not the list's own version.
        entry.pin = None if live.version == opened.listed else live.version
        # Answers to writes from before this look may be older than it.
        entry.seen = self.number()
        self.make(entry)
        return True

    def remove(self, uid: str, name: str) -> list[str]:
        """The watch has shown that an object has left."""
        number = self.number()
        self._forgotten.pop(uid, None)
        self._leave(uid)
        entry = self.entries.get(name)
        if entry is None:
            return []
        entry.seen = number
        if entry.uid != uid:
            return []
        self._drop(entry)
        return [name]

    def apply(self, seen: Seen) -> list[str]:
        """The watch has shown an object, new or changed."""
        number = self.number()
        if seen.uid in self._forgotten:
            return []
        entry = self.entries.get(seen.name)
        if entry is not None and entry.pin not in (None, seen.version):
            # Older than what we wrote, or a predecessor of the same name: it says nothing
            # of a second write that is under way.
            return []
        self._left.pop(seen.uid, None)
        self._unsettled.pop(seen.name, None)
        if entry is not None and (entry.uid, entry.version) == (seen.uid, seen.version):
            # What is known already; as little does this.
            entry.pin = None
            return []
        entry = self._store(seen)
        entry.seen = number
        self.make(entry)
        return [seen.name]

    # -- the watch of pods --------------------------------------------------

    def replace_pods(self, groups: dict[str, dict[str, bytes]]) -> list[str]:
        """These are all pods: for each Job's name, pods by name."""
        changed = [
            name
            for name in groups.keys() | self._pods.keys()
            if groups.get(name) != self._pods.get(name)
        ]
        self._pods = groups
        self._job_of_pod = {pod: job for job, pods in groups.items() for pod in pods}
        self.pods_listed = True
        self._make_listed([self.entries[name] for name in changed if name in self.entries])
        return changed

    def remove_pod(self, pod_name: str) -> list[str]:
        """The watch has shown that a pod has left."""
        job_name = self._job_of_pod.pop(pod_name, None)
        if job_name is None:
            return []
        group = self._pods[job_name]
        del group[pod_name]
        if not group:
            del self._pods[job_name]
        return self._pods_changed(job_name)

    def apply_pod(self, job_name: str, pod_name: str, data: bytes) -> list[str]:
        """The watch has shown a pod, new or changed."""
        if self._job_of_pod.get(pod_name, job_name) != job_name:
            self.remove_pod(pod_name)
        self._job_of_pod[pod_name] = job_name
        self._pods.setdefault(job_name, {})[pod_name] = data
        return self._pods_changed(job_name)

    # -- inside -------------------------------------------------------------

    def _pods_changed(self, job_name: str) -> list[str]:
        entry = self.entries.get(job_name)
        if entry is not None:
            self.make(entry)
        return [job_name]

    def _store(self, seen: Seen) -> Entry:
        """The entry of this name with this content; its record is made by the caller."""
        entry = self.entries.get(seen.name)
        if entry is not None and entry.uid != seen.uid:
            self._leave(entry.uid)
            self._drop(entry)
            entry = None
        if entry is None:
            entry = Entry(seen.name, seen.uid, seen.version, seen.data)
            self.entries[seen.name] = entry
        else:
            entry.version, entry.data = seen.version, seen.data
        entry.pin = None
        return entry

    def _drop(self, entry: Entry) -> None:
        self.indexes.remove(entry)
        self.active.discard(entry)
        del self.entries[entry.name]

    def _leave(self, uid: str) -> None:
        self._left[uid] = None
        self._left.move_to_end(uid)
        if len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)

    def _record(self, entry: Entry) -> Record | None:
        record = self._make_record(unpack(entry.data), self.pods_of(entry))
        entry.made = self._clock()
        if isinstance(record, JobRecord) and record.status not in _ENDED:
            self.active.add(entry)
        else:
            self.active.discard(entry)
        return record

    def _make_listed(self, stored: Sequence[Entry]) -> None:
        if not (self.listed and self.pods_listed):
            # What was written before is there already, and lacks the half that came now.
            for entry in stored:
                entry.made = None
            return
        unmade = [entry for entry in self.entries.values() if entry.made is None]
        changed = {entry.name: entry for entry in (*stored, *unmade)}.values()
        if len(changed) <= _BULK:
            for entry in changed:
                self.make(entry)
            return
        for entry in changed:
            entry.record = self._record(entry)
        self.indexes.fill(self.entries.values())

    def _same_place(self, old: Record | None, new: Record | None) -> bool:
        """Whether both are found in the same places of all indexes."""
        if old is None or new is None:
            return old is new
        return bool(self._place(old) == self._place(new))
