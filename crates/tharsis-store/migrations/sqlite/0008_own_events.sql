-- What people are told is told to subscriptions, too: as events of our own, published when it is claimed to be told.

-- The id of the event that tells of it, once it is published: what has one is not published again.
ALTER TABLE tharsis_alert ADD COLUMN event BLOB CHECK (length(event) = 16);
