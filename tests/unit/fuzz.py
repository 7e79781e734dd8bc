"""Run a check on generated inputs: seeded, within a time, and with the number of inputs printed.

FUZZ_SEED sets another seed, and FUZZ_SECONDS another time for each check: a search for new inputs sets both. Hypothesis
is not used here, because it takes longer to draw such an input than the check takes to run.
"""

import os
import random
import sys
import time

SEED = int(os.environ.get("FUZZ_SEED", "20261130"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "2.5"))
# What a reader of the written files could evaluate: Ansible, systemd, Compose, HAProxy, YAML, a shell, and a terminal.
SHARP = [
    *("\n", "\r", "\x00", "\x1b[2J", "\u2028", "\x85", "'", '"', "\\", " ", "\t", "#", ";", "%", "%n", "%[env(HOME)]"),
    *("$", "${HOME}", "$(id)", "`id`", "{{ 7 * 7 }}", "{% raw %}", "{# x #}", "/..", "..", "/", "~", ":", ": ", "- "),
    *("&a", "*a", "!!python/name:os.system", "<<", "---\n", "\nExecStart=/bin/sh", "\n  bind :1", "@@end\n", "@@x@@"),
    *("[Service]\n", "=", ",", "|", ">", "*", "?", "\ud800", "é", "A" * 300, "main", "own/m", "/srv/m", "0", "-1"),
]
NUMBERS = [0, 1, -1, 2, 8, 4096, 65536, 2**31, 2**63, 10**30, 0.0, 0.5, -0.5, 1e308, float("inf"), float("nan")]


class Draw(random.Random):
    """Draw inputs."""

    def maybe(self, share=0.5):
        return self.random() < share

    def text(self, most=5, parts=SHARP):
        return "".join(self.choice(parts) for _ in range(self.randrange(most)))

    def number(self):
        return self.choice(NUMBERS)

    def anything(self, depth=3):
        """Return a value of any shape that JSON or YAML can have."""
        kind = self.randrange(8 if depth else 5)
        if kind < 3:
            return self.text()
        if kind == 3:
            return self.number()
        if kind == 4:
            return self.choice([None, True, False])
        if kind < 7:
            return [self.anything(depth - 1) for _ in range(self.randrange(4))]
        return {self.text(): self.anything(depth - 1) for _ in range(self.randrange(4))}

    def changed(self, value, share=0.15):
        """Return a JSON value with some of its parts replaced, dropped or repeated."""
        if self.maybe(share):
            return self.anything(1)
        if isinstance(value, dict):
            kept = {key: self.changed(each, share) for key, each in value.items() if not self.maybe(share / 2)}
            return {**kept, self.text(): self.anything(1)} if self.maybe(share) else kept
        if isinstance(value, list):
            return [self.changed(each, share) for each in value] * self.choice([1, 1, 1, 2])
        return value

    def damaged(self, content):
        """Return bytes with some of them changed, cut, repeated or inserted."""
        found = bytearray(content)
        for _ in range(self.randrange(1, 6)):
            at = self.randrange(len(found) + 1)
            kind = self.randrange(4)
            if kind == 0 and at < len(found):
                found[at] = self.choice([0, 255, 128, self.randrange(256)])
            elif kind == 1:
                found[at:at] = self.randbytes(self.randrange(1, 9))
            elif kind == 2:
                del found[at : at + self.randrange(1, 40)]
            else:
                found[at:at] = found[at : at + self.randrange(1, 80)]
        return bytes(found)


def run(name, check, least=20, seconds=SECONDS):
    """Give a check a source of random inputs until its time has passed, and print how many there were.

    Each input has its own seed, so that one that fails can be repeated alone.
    """
    begun, done = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        try:
            check(Draw(f"{SEED} {name} {done}"))
        except BaseException as error:
            sys.stdout.write(f"FUZZ_SEED={SEED}, input {done} of {name}: {type(error).__name__}\n")
            raise
        done += 1
    sys.stdout.write(f"{name}: {done} inputs, seed {SEED}, {time.monotonic() - begun:.1f} s\n")
    assert done >= least
