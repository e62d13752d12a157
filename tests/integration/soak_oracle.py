"""What the soak knows of each job, and what follows: lost, run twice, and whether that was said.

Each worker has a record of its own, so that it is known who ran what. Records and logs are read as they
grow; a time in here is when a line was seen, half a second after it was written at most.

A job that the broker confirmed, and that never ended, is lost; one whose publication was cut off may be there
or not. Of one that ended twice a run was

    announced   its worker said so: "unsettled" in its log, or duplicate_possible in its report
    excused     its worker was killed when it ran or had just ended ("worker killed"), or its broker
                was struck in a way that forgets: a node or a master killed, a failover
    in silence  none of these, and that is a defect"""

import collections
import contextlib
import json
import threading
import time

SEEN_S = 0.5
# From an end to its proof, on a busy machine; and how long a server that was struck may go on believing in itself.
UNPROVED_S = 3
LONGEST_S = 3  # of a run, if nothing stands still
WHY_AGAIN = ["announced", "worker killed", "rabbitmq struck", "redis struck", "in silence"]


class Job:
    __slots__ = ("queue", "put_at", "runs", "source", "sure")

    def __init__(self, source, queue):
        self.source, self.queue = source, queue
        self.put_at, self.sure, self.runs = time.monotonic(), False, []

    def ended(self):
        return [run for run in self.runs if run.ended_at]


class Run:
    __slots__ = ("begun_at", "ended_at", "id", "worker")

    def __init__(self, worker, job_id):
        self.worker, self.id = worker, job_id
        self.begun_at, self.ended_at = time.monotonic(), None


class Tail:
    """The lines of a file that grows, each once, when it is whole."""

    def __init__(self, path):
        self.path, self.at, self.rest = path, 0, b""

    def lines(self):
        try:
            with open(self.path, "rb") as file:
                file.seek(self.at)
                new = file.read()
        except FileNotFoundError:
            return []
        self.at += len(new)
        *lines, self.rest = (self.rest + new).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


class Watched:
    """A worker as the oracle sees it."""

    def __init__(self, worker):
        self.worker = worker
        self.record, self.log = Tail(worker.record_path), Tail(worker.log_path)
        self.running = collections.defaultdict(list)  # tag: its runs that have not ended
        self.unsettled = set()  # ids
        self.killed_at = None
        self.reconnects = 0
        self.bad_lines = []


class Oracle:
    BAD = ("AddressSanitizer", "ThreadSanitizer", "LeakSanitizer", "runtime error:", "internal error")

    def __init__(self):
        self.jobs = {}
        self.workers = []
        self.strikes = collections.defaultdict(list)  # source: [from, until]
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._read_on, daemon=True)
        self.thread.start()

    # --- told by the soak -----------------------------------------------------------------------

    def will_put(self, tag, source, queue):
        with self.lock:
            self.jobs[tag] = Job(source, queue)

    def is_put(self, tag):
        self.jobs[tag].sure = True

    def watch(self, worker):
        with self.lock:
            self.workers.append(Watched(worker))

    def has_killed(self, worker):
        self._of(worker).killed_at = time.monotonic()

    def take_report(self, worker):
        watched = self._of(worker)
        watched.unsettled |= {job["id"] for job in worker.report()["jobs"] if job["duplicate_possible"]}

    @contextlib.contextmanager
    def strike(self, source):
        """What happens to this broker now may make it forget what it was told."""
        interval = [time.monotonic(), float("inf")]
        self.strikes[source].append(interval)
        try:
            yield
        finally:
            interval[1] = time.monotonic()

    def close(self):
        self.over.set()
        self.thread.join()

    # --- read -----------------------------------------------------------------------------------

    def _of(self, worker):
        return next(w for w in self.workers if w.worker is worker)

    def _read_on(self):
        while not self.over.wait(SEEN_S):
            self.read()

    def read(self):
        with self.lock:
            for watched in self.workers:
                for line in watched.record.lines():
                    self._take_record(watched, line.split())
                for line in watched.log.lines():
                    self._take_log(watched, line)

    def _take_record(self, watched, words):
        if words[0] == "begin":
            facts = dict(word.split("=", 1) for word in words[2:])
            run = Run(watched, facts["id"])
            self.jobs[words[1]].runs.append(run)
            watched.running[words[1]].append(run)
        elif words[0] == "end":
            watched.running.pop(words[1])[-1].ended_at = time.monotonic()

    def _take_log(self, watched, line):
        if '"unsettled"' in line and '"job settled"' in line:
            watched.unsettled.add(json.loads(line)["job"])
        watched.reconnects += ", reconnecting" in line
        if any(bad in line for bad in self.BAD):
            watched.bad_lines.append(line)

    # --- what follows ---------------------------------------------------------------------------

    def _why_again(self, run, source):
        """What of this run may make the job run again, as far as that is known. Failed ones end unseen."""
        over = run.ended_at or run.begun_at + LONGEST_S
        if run.id in run.worker.unsettled:
            return "announced"
        killed = run.worker.killed_at
        if killed is not None and over + UNPROVED_S > killed:
            return "worker killed"
        struck = any(
            run.begun_at < until + UNPROVED_S and over + UNPROVED_S > since
            for since, until in self.strikes[source]
        )
        return f"{source} struck" if struck else "in silence"

    def twice(self):
        """{"announced": {tag, ...}, ..., "in silence": ...}. Any of the runs may be the reason, also one that failed:
        of a copy for later the original may come, too, and each is done in the end."""
        found = {why: set() for why in WHY_AGAIN}
        with self.lock:
            for tag, job in self.jobs.items():
                if len(job.runs) > 1 and len(job.ended()) > 1:
                    reasons = [self._why_again(run, job.source) for run in job.runs]
                    found[min(reasons, key=WHY_AGAIN.index)].add(tag)
        return found

    def done(self):
        with self.lock:
            return sum(bool(job.ended()) for job in self.jobs.values())

    def missing(self):
        """Confirmed, and not ended so far."""
        with self.lock:
            return {tag for tag, job in self.jobs.items() if job.sure and not job.ended()}

    def story(self, tag):
        """What is known of one, for whoever looks for the reason."""
        job = self.jobs[tag]
        runs = "; ".join(
            f"{run.worker.worker.name} as {run.id} at {run.begun_at:.1f} "
            + (f"to {run.ended_at:.1f}" if run.ended_at else "without end")
            for run in job.runs
        )
        return f"{tag}: put to {job.source}/{job.queue} at {job.put_at:.1f}; runs: {runs or 'none'}"
