"""Quix Streams: tumbling windows of a minute by user, count and sum. It has no exact distinct built in, so this is the lighter job.

python quix_stream.py SERVERS TOPIC OUTPUT FOLDER
"""

import json
import logging
import sys
import uuid

from quixstreams import Application
from quixstreams.dataframe.windows import Count, Sum

_IDLE = 5.0  # seconds without a message after which it stops


def main() -> None:
    servers, name, target, folder = sys.argv[1:]
    logging.disable(logging.INFO)
    app = Application(
        broker_address=servers,
        consumer_group=f"bench-{uuid.uuid4().hex}",
        auto_offset_reset="earliest",
        state_dir=folder,
        use_changelog_topics=False,  # it would be slower with them
        loglevel="WARNING",
    )
    topic = app.topic(name, value_deserializer="json", timestamp_extractor=lambda value, *_: value["timestamp"])
    rows = []
    frame = app.dataframe(topic)
    windows = frame.tumbling_window(duration_ms=60_000, grace_ms=5_000).agg(n=Count(), total=Sum("value"))
    frame = windows.final(closing_strategy="partition")
    frame.update(lambda value, key, *_: rows.append((key, value["start"], value["n"], value["total"])), metadata=True)
    app.run(timeout=_IDLE, collect=False)
    with open(target, "w") as file:
        for key, start, n, total in rows:
            user = key.decode() if isinstance(key, bytes) else key
            file.write(json.dumps({"u": int(user[5:]), "w": start, "n": n, "total": total}) + "\n")


if __name__ == "__main__":
    main()
