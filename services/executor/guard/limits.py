"""How long anything may take. Seconds."""

from __future__ import annotations

DEADLINE_S = 5.0
"""From the executor's last sign of life to the kernel's default: what the guard promises. Half of
what the kernel's own watchdog is given (services/executor/host/steering.py)."""

BEAT_S = 0.5
"""How often executor and guard tell each other that they live."""
ANSWER_S = 1.5
"""A guard that has not answered for longer is not counted on for a load."""
SILENCE_S = 3.5
"""A longer silence of the executor is a hang. What is left of the deadline goes to the way back."""
KILL_S = 1.0
"""Within which a killed executor's scheduler must be gone; then the kernel's own key is pressed."""
PRESS_S = 2.0
"""How long the guard looks at what came of that key."""
ASKED_S = 2.0
"""How long an executor may take to let go when an operator has asked the guard."""
AGAIN_S = 5.0
"""How long the guard waits after an intervention, should that not have helped.

In between, a scheduler of ours that nobody could end is the kernel's watchdog's."""

TICK_S = 0.2
"""How often the guard looks. Oftener would show in measurements: emulated, a look costs 1 ms."""
ABSENT_S = 0.5
"""A tick that is later than this finds the guard itself stopped: a paused machine, mostly. That
time counts against nobody."""

NAP_S = 0.1
"""How long the victim probe sleeps between two looks at the clock."""
WINDOW_S = 1.0
WINDOWS = 3
"""So many windows in a row over the limit are starvation."""
LEAST_LIMIT_S = 1.5
"""Above the frame's own bound with its default tunables, some 1.2 s (docs/frame.md): no hook can
make the guard act, only what breaks the frame."""
MOST_LIMIT_S = 3.0
"""Three windows behind it, and a second to kill, still end before the kernel's watchdog."""
BASELINE_FACTOR = 3.0
"""The limit is so many times what the default did to the probe on this host."""
BASELINE_WINDOWS = 600
"""How much of the default is remembered: ten minutes of it."""
