-- What people are told is told to subscriptions, too: as events of our own, published when it is claimed to be told.

-- The event that tells of it, once it is published: what has one is not published again.
ALTER TABLE alert ADD COLUMN event uuid;
