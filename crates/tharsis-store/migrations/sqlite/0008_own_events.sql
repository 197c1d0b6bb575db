-- What people are told is told to subscriptions, too: as events of our own, published when it is claimed to be told.

-- The id of the event that tells of it, once it is published: of the last, where mail takes so long that there are several.
ALTER TABLE tharsis_alert ADD COLUMN event BLOB CHECK (length(event) = 16);
-- How many of the deliveries that it is about events have told of.
ALTER TABLE tharsis_alert ADD COLUMN event_count INTEGER NOT NULL DEFAULT 0;
