-- Deliveries that go one after the other.

-- 'strict', 'recipient' or 'key:PATH'; NULL for none.
ALTER TABLE tharsis_subscription ADD COLUMN order_by TEXT;
-- What becomes of the first of a key when its retries are used up.
ALTER TABLE tharsis_subscription ADD COLUMN on_dead TEXT NOT NULL DEFAULT 'give_up' CHECK (on_dead IN ('give_up', 'hold'));

-- What those have in common that go in order, as a number. Only rows bear it that others wait for, since they were put back,
-- and rows that wait for such a one: those in lane 3.
ALTER TABLE tharsis_delivery ADD COLUMN order_key INTEGER;

CREATE INDEX tharsis_delivery_order ON tharsis_delivery (subscription, order_key, lane, event) WHERE order_key IS NOT NULL;
