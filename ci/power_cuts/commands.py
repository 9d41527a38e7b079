"""What the machine runs, what was told of it, and what has to hold of that. Pure."""

import json
import zlib

LOST = {"lost_start", "lost_exit", "lost_reboot"}


def output(number):
    """What the command of this number writes."""
    lines = "".join(f"{number} line {line}\n" for line in range(3 + number * 7 % 40))
    much = "".join(f"{line}\n" for line in range(1, 20_001)) if number % 9 == 0 else ""
    return (lines + much).encode()


def exit_code(number):
    return number % 50


def shell(number):
    """Says on the machine's console that it runs, which no power cut takes back."""
    much = "seq 1 20000; " if number % 9 == 0 else ""
    return (
        f'echo "RAN {number}" >/dev/console; i=0; while [ $i -lt {3 + number * 7 % 40} ]; do '
        f'echo "{number} line $i"; i=$((i+1)); [ $((i % 7)) -ne 0 ] || sleep 0.03; done; '
        f"{much}exit {exit_code(number)}"
    )


def brief(event):
    """An event, short enough for a line on a console. What differs between two tellings of it is left out."""
    kept = {key: event[key] for key in ("event", "sequence", "execution_id", "exit_code", "reason") if key in event}
    if "text" in event:
        text = event["text"].encode()
        kept |= {"offset": event["offset"], "length": len(text), "sum": zlib.crc32(text)}
    return kept


class Request:
    """One request, under an id of its own, and what was told of it."""

    def __init__(self, number, life):
        self.number = number
        self.life = life
        self.runs = 0
        self.told = {}
        # How much of the disk's log was there, for each event.
        self.told_at = {}
        self.last = None
        self.checks = 0

    def tell(self, event, life, position):
        """Says what does not hold of an event."""
        sequence = event["sequence"]
        before = self.told.setdefault(sequence, event)
        self.told_at.setdefault(sequence, position)
        if before != event:
            yield f"{event} was told before as {before}"
        if sequence > 1 and sequence - 1 not in self.told:
            yield f"{event} comes without the one before"
        if self.last is not None and sequence > self.last:
            yield f"{event} comes after the last"
        kind = event["event"]
        if kind == "gap":
            yield f"{event} is missing"
        if kind == "output":
            whole = output(self.number)
            part = whole[event["offset"] : event["offset"] + event["length"]]
            if len(part) != event["length"] or zlib.crc32(part) != event["sum"]:
                yield f"{event} was never written"
        if kind == "exited":
            self.last = sequence
            yield from self.end(event, life)

    def end(self, event, life):
        if event["reason"] in LOST:
            if event["reason"] == "lost_exit" or life == self.life:
                yield f"{event} without a cut"
            if event["reason"] == "lost_start" and len(self.told) > 1:
                yield f"{event} though it was told to have started"
            return
        written = sum(told["length"] for told in self.told.values() if told["event"] == "output")
        if event["exit_code"] != exit_code(self.number) or written != len(output(self.number)):
            yield f"{event} after {written} bytes"


class Ledger:
    """All requests."""

    def __init__(self):
        self.requests = {}
        self.violations = []
        self.life = 0
        self.next = 1

    def __str__(self):
        events = sum(len(request.told) for request in self.requests.values())
        ends = [request.told[request.last]["reason"] for request in self.requests.values() if request.last]
        counts = ", ".join(f"{ends.count(reason)} {reason}" for reason in sorted(set(ends)))
        return f"{len(self.requests)} requests, {events} events told, ended: {counts}"

    def begin_life(self):
        self.life += 1

    def told_by(self, position):
        """What had been told when so much of the disk's log was there, for a life after a cut at that moment."""
        ledger = Ledger()
        ledger.next = self.next
        for number, request in self.requests.items():
            told = {
                sequence: event for sequence, event in request.told.items() if request.told_at[sequence] <= position
            }
            if told:
                earlier = Request(number, ledger.life)
                # It was told that it runs.
                earlier.runs = 1
                earlier.told = told
                earlier.told_at = dict(request.told_at)
                earlier.last = request.last if request.last in told else None
                ledger.requests[number] = earlier
        return ledger

    def to_check(self, numbers, old_ones):
        """What the next life looks at: what has not been seen twice, and some others."""
        new = [number for number, request in self.requests.items() if request.checks < 2]
        old = [number for number, request in self.requests.items() if request.checks >= 2]
        return new + numbers.sample(old, min(old_ones, len(old)))

    def take(self, line):
        """Takes what the machine says. What is no word of ours is its kernel's."""
        words = line.split()
        if len(words) == 2 and words[0] == "RAN":
            self.ran(int(words[1]))
            return None
        try:
            said = json.loads(line)
        except ValueError:
            return None
        if not isinstance(said, dict):
            return None
        if "failed" in said:
            self.violations.append(said["failed"])
        if "asked" in said:
            self.requests[said["asked"]] = Request(said["asked"], self.life)
            self.next = max(self.next, said["asked"] + 1)
        if "of" in said:
            request = self.requests[said["of"]]
            self.complain(request, request.tell(said["event"], self.life, said["at"]))
        if "checked" in said:
            request = self.requests[said["checked"]]
            request.checks += 1
            if request.last is None:
                self.complain(request, [f"it has no end: {said['stderr']}"])
        return said.get("says")

    def ran(self, number):
        request = self.requests[number]
        request.runs += 1
        if request.runs > 1:
            self.complain(request, ["it ran twice"])

    def complain(self, request, violations):
        for violation in violations:
            self.violations.append(f"request {request.number} of life {request.life}: {violation}")
