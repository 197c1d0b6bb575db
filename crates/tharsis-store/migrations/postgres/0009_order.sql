-- Deliveries that go one after the other.

ALTER TABLE subscription
    -- 'strict', 'recipient' or 'key:PATH'; NULL for none.
    ADD COLUMN order_by text,
    -- What becomes of the first of a key when its retries are used up: 'give_up' or 'hold'.
    ADD COLUMN on_dead text NOT NULL DEFAULT 'give_up' CHECK (on_dead IN ('give_up', 'hold'));

-- What those have in common that go in order, as a number. Only rows bear it that others wait for, since they were put back,
-- and rows that wait for such a one: those in lane 3.
ALTER TABLE delivery ADD COLUMN order_key bigint;

CREATE INDEX delivery_order ON delivery (subscription, order_key, lane, seq) WHERE order_key IS NOT NULL;
