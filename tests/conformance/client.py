"""Publishes an event and looks at what became of it, with the client that was generated from the document."""

import json
import os
import time

from tharsis_client import AuthenticatedClient
from tharsis_client.api.deliveries import list_deliveries
from tharsis_client.api.events import get_event, publish_events
from tharsis_client.api.subscriptions import get_subscription, pause_subscription
from tharsis_client.models import NewEvent, Problem

client = AuthenticatedClient(base_url=os.environ["URL"], token=os.environ["TOKEN"])

event = NewEvent.from_dict(json.loads(os.environ["EVENT"]))
published = publish_events.sync(client=client, body=event)
assert not published.duplicate, published
again = publish_events.sync(client=client, body=event)
assert (again.id, again.duplicate) == (published.id, True), again

for _ in range(300):
    found = get_event.sync(published.id, client=client)
    if found.deliveries and found.deliveries[0].status == "delivered":
        break
    time.sleep(0.1)
delivery = found.deliveries[0]
assert delivery.status == "delivered", found

listed = list_deliveries.sync(client=client, event=published.id)
assert [one.id for one in listed.deliveries] == [delivery.id], listed

paused = pause_subscription.sync(delivery.subscription, client=client)
assert paused.state == "paused", paused
shown = get_subscription.sync_detailed(delivery.subscription, client=client)
assert shown.headers["ETag"] == f'"{shown.parsed.version}"', shown

missing = get_subscription.sync("019b2f70-91d2-7b35-8f06-3f1c5d0a7e42", client=client)
assert isinstance(missing, Problem) and missing.code == "not_found", missing
print("published", published.id)
