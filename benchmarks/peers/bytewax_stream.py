"""bytewax: tumbling windows of a minute by user, count, sum and exact distinct.

python bytewax_stream.py SERVERS TOPIC OUTPUT

Its event clock also moves with wall time: with many users whose events are far apart in a replay it would close windows early.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MINUTE = timedelta(minutes=1)
_WAIT = timedelta(seconds=10)


class _Rows(StatelessSinkPartition):
    def __init__(self, target: str) -> None:
        self._file = open(target, "w")  # noqa: SIM115 - closed by `close`

    def write_batch(self, items) -> None:
        for user, (window, (n, total, values)) in items:
            row = {"u": int(user[5:]), "w": window * 60_000, "n": n, "total": total, "different": len(values)}
            self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        self._file.close()


class _Sink(DynamicSink):
    def __init__(self, target: str) -> None:
        self._target = target

    def build(self, step_id, worker_index, worker_count):  # noqa: ARG002 - as bytewax calls it
        return _Rows(self._target)


def _event(message):
    event = orjson.loads(message.value)
    return event["userId"], (event["timestamp"], event["value"])


def _moment(event) -> datetime:
    return _EPOCH + timedelta(milliseconds=event[0])


def _folded(state, event):
    n, total, values = state
    values.add(event[1])
    return n + 1, total + event[1], values


def _merged(one, other):
    return one[0] + other[0], one[1] + other[1], one[2] | other[2]


def main() -> None:
    servers, topic, target = sys.argv[1:]
    flow = Dataflow("bench")
    messages = op.input("read", flow, KafkaSource([servers], [topic], tail=False))
    events = op.map("parse", messages, _event)
    clock = EventClock(_moment, wait_for_system_duration=_WAIT)
    windower = TumblingWindower(length=_MINUTE, align_to=_EPOCH)
    windows = win.fold_window("window", events, clock, windower, lambda: (0, 0, set()), _folded, _merged, ordered=False)
    op.output("write", windows.down, _Sink(target))
    run_main(flow)


if __name__ == "__main__":
    main()
