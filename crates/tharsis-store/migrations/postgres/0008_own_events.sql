-- What people are told is told to subscriptions, too: as events of our own, published when it is claimed to be told.

ALTER TABLE alert
    -- The event that tells of it, once it is published: the last, where mail takes so long that there are several.
    ADD COLUMN event uuid,
    -- How many of the deliveries that it is about events have told of.
    ADD COLUMN event_count bigint NOT NULL DEFAULT 0;
