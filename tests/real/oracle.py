"""What the shipped transform `clean` must make of an event, told a second time in a few lines of Python."""

import json
from datetime import datetime, timedelta, timezone

FIELDS = ("user_id", "event_type", "timestamp", "page", "session_id", "device", "location")
DEVICES = {"mobile", "desktop", "tablet"}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)


def micros(time):
    return (time - EPOCH) // timedelta(microseconds=1)


def members(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate keys")
    return found


def clean(value, kafka_millis):
    """(user_id, event_type, micros, page, session_id, device, location), or None for an event to reject."""
    try:
        event = json.loads(value, object_pairs_hook=members)
        user_id, event_type, stamp, page, session_id, device, location = (event.get(f) for f in FIELDS)
        if any(v is not None and not isinstance(v, str) for v in (event.get(f) for f in FIELDS)):
            return None
        if not (user_id or "").strip() or not (event_type or "").strip():
            return None
        time = datetime.fromisoformat(stamp)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    time = time.replace(tzinfo=timezone.utc) if time.tzinfo is None else time
    if time < EARLIEST or time > EPOCH + timedelta(milliseconds=kafka_millis, days=1):
        return None
    device = (device or "").strip().lower()
    return (user_id, event_type.strip().lower(), micros(time), page, session_id,
            device if device in DEVICES else "other", location)
