"""Reads a folder of event files with TensorBoard's own reader; prints {tag: [[step, value], ...]} as JSON.

    python tests/pytorch/tensorboard_events.py out/tensorboard/student

Exit code 77 where TensorBoard is not installed.
"""

import json
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
scalars = {
    tag: [[event.step, event.value] for event in events.Scalars(tag)]
    for tag in events.Tags()["scalars"]
}
print(json.dumps(scalars))
