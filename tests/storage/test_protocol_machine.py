"""Writers, deaths, sleeps, lost answers and a ruthless collector in any order: no group file, or it verifies."""

import queue
import threading
import uuid

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from lift3d.errors import DamagedProductError, StoreUnavailableError
from lift3d.storage import commit as protocol
from lift3d.storage.audit import audit_folder
from lift3d.storage.commit import committed
from lift3d.storage.garbage import collect, garbage_of
from lift3d.storage.location import Store, open_store
from lift3d.storage.products import ProductWriter, open_product
from lift3d.storage.repair import repaired
from tests.support.store_content import require_whole
from tests.support.store_workers import Killed, check_tidy

# Here every sleep is longer than any lease.
SLEEPS_LONG = -1.0
PATHS = ("scenes/a/state/rows/one", "scenes/a/state/rows/two")


class UnsteadyStore(Store):
    """Loses the answer to the next create-only write if told so, and lets others work before and after a deletion."""

    is_answer_lost = False

    def __init__(self, url):
        super().__init__(url)
        self.before_delete = self.after_delete = lambda: None

    def create_bytes(self, key, content):
        is_created = super().create_bytes(key, content)
        if self.is_answer_lost:
            # What the store does by itself: no answer came, so the same is asked for again.
            self.is_answer_lost = False
            return super().create_bytes(key, content)
        return is_created

    def delete_prefix(self, prefix):
        self.before_delete()
        super().delete_prefix(prefix)
        self.after_delete()


def write(store, path, at_step=protocol.ignore_step):
    """Commit what depends on the path alone, as every product does: a part, and an array beside it."""
    writer = ProductWriter(store, path, at_step)
    values = np.full((2, 3), PATHS.index(path), np.float32)
    if writer.part(0) is None:
        writer.write_part(0, {"x": (("i", "j"), values)}, 2, 2)
    return writer.commit({"y": (("k",), values[0])}, {}, 1)


class Writer:
    """A worker that commits one product, one step at a time."""

    def __init__(self, store, path):
        self.path = path
        self.outcome = None
        self._orders, self._reached = queue.Queue(), queue.Queue()
        self._thread = threading.Thread(target=self._work, args=(store,), daemon=True)
        self._thread.start()
        self.step = self._reached.get()

    def go_on(self):
        if self.outcome is None:
            self._orders.put(None)
            self.step = self._reached.get()
        if self.outcome is not None:
            self._thread.join()

    def die(self):
        if self.outcome is None:
            self._orders.put(Killed)
            self._reached.get()
            self._thread.join()

    def _work(self, store):
        try:
            self.outcome = write(store, self.path, self._at_step)
        except BaseException as error:
            self.outcome = error
        self._reached.put("end")

    def _at_step(self, step):
        self._reached.put(step)
        order = self._orders.get()
        if order is not None:
            raise order


class Protocol(RuleBasedStateMachine):
    """The truth is small: which products were seen, and who was overtaken by the collector."""

    writers = Bundle("writers")

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(protocol, "SURE_S", SLEEPS_LONG)
        self.url = open_store(f"memory://{uuid.uuid4().hex}", create=True).url
        self.store = UnsteadyStore(self.url)
        self.seen = set()
        self.collected, self.overtaken = set(), set()
        self.alive = []

    @precondition(lambda self: sum(writer.outcome is None for writer in self.alive) < 4)
    @rule(target=writers, path=st.sampled_from(PATHS), steps=st.integers(0, 4))
    def begin(self, path, steps):
        """A worker begins, even if another is at the same product, and falls asleep at some step."""
        self.alive.append(Writer(self.store, path))
        self.go_on(self.alive[-1], steps)
        return self.alive[-1]

    @rule(writer=writers, steps=st.integers(1, 5))
    def go_on(self, writer, steps):
        for _ in range(steps):
            writer.go_on()

    @rule(writer=consumes(writers))
    def die(self, writer):
        writer.die()

    @rule(writer=writers)
    def lose_an_answer(self, writer):
        """The answer to a worker's marker does not come, if that is what it writes next."""
        self.store.is_answer_lost = writer.step == "filled"
        writer.go_on()
        self.store.is_answer_lost = False

    @rule(writer=writers, steps=st.integers(0, 5), is_late=st.booleans())
    def collect(self, writer, steps, is_late):
        """Everything that no group file lists is collected, however young; a worker goes on in the middle of it."""
        self.sweep(writer.path, lambda: self.go_on(writer, steps), is_late)

    def sweep(self, path, meanwhile, is_late):
        """Collect, with something going on before objects are deleted or before the group file is looked for again."""
        turns = [meanwhile]
        folder = path.rpartition("/")[0]
        for product in audit_folder(Store(self.url), folder):
            if product.path != path:
                continue
            for garbage in garbage_of(product, before=float("inf")):
                collecting = UnsteadyStore(self.url)
                setattr(collecting, "after_delete" if is_late else "before_delete", lambda: turns and turns.pop()())
                if collect(collecting, garbage):
                    self.collected.add(path)
        # Who had its answer before its objects were deleted: the collector has taken that group file back.
        if committed(Store(self.url), path) is None:
            told = [one for one in self.alive if one.path == path and isinstance(one.outcome, protocol.Commit)]
            self.overtaken |= set(map(id, told))

    @rule(path=st.sampled_from(PATHS))
    def read(self, path):
        store = Store(self.url)
        if committed(store, path) is not None and not self.is_unlooked_at(path):
            product = open_product(store, path)
            assert (product.array("x") == PATHS.index(path)).all()
            assert (product.array("y") == PATHS.index(path)).all()
            self.seen.add(path)

    def is_unlooked_at(self, path):
        """Whether a worker that was collected in its sleep has left a group file and not looked for its objects yet."""
        return path in self.collected and any(one.path == path and one.step == "marker" for one in self.alive)

    @invariant()
    def no_marker_or_it_verifies(self):
        """Only a writer that was collected in its sleep, and has not looked yet, may have left one that does not."""
        for path in PATHS:
            commit = committed(Store(self.url), path)
            if commit is None:
                assert path not in self.seen, "what was seen is gone"
                continue
            try:
                require_whole(Store(self.url), path)
            except DamagedProductError:
                assert self.is_unlooked_at(path)
                assert path not in self.seen

    @invariant()
    def who_was_told_to_have_won_has_won(self):
        """An answer is true, and stays true."""
        for writer in self.alive:
            if writer.outcome is None or isinstance(writer.outcome, Killed):
                continue
            assert isinstance(writer.outcome, protocol.Commit | StoreUnavailableError | DamagedProductError)
            if isinstance(writer.outcome, protocol.Commit) and id(writer) not in self.overtaken:
                require_whole(Store(self.url), writer.path)

    def teardown(self):
        """Once all have finished or died, one more run completes everything and nothing superfluous stays."""
        for index, writer in enumerate(self.alive):
            if index % 2:
                writer.die()
            self.go_on(writer, len(protocol.STEPS))
        store = Store(self.url)
        for path in PATHS:

            def work(path=path):
                if committed(store, path) is None:
                    write(store, path)
                return open_product(store, path).array("x")

            assert (repaired(store, work) == PATHS.index(path)).all()
        for path in PATHS:
            self.sweep(path, lambda: None, True)
        check_tidy(store)
        store.delete_prefix("scenes")
        self.patch.undo()


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=20, stateful_step_count=12, deadline=None, derandomize=True)
