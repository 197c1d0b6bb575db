-- Campaigns of which nothing is sent, or single recipients in them: paused until they are resumed, or cancelled.

CREATE TABLE campaign_stop (
    client uuid NOT NULL,
    campaign text NOT NULL,
    -- Empty for all of them.
    recipient text NOT NULL,
    state text NOT NULL CHECK (state IN ('paused', 'cancelled')),
    since timestamptz(3) NOT NULL,
    -- One that is set anew has another number.
    seq bigint NOT NULL DEFAULT nextval('seq'),
    PRIMARY KEY (client, campaign, recipient)
);

-- Serves reports. The name comes first: whose campaign it is may be asked, too.
CREATE INDEX event_campaign ON event (campaign, client) WHERE campaign IS NOT NULL;

-- The owner may be asked, too, to let go ('resume_campaign') or end ('cancel_campaign') what a subscription has of a
-- campaign. Its cursor says how far it has come.
ALTER TABLE command DROP CONSTRAINT command_kind_check;
ALTER TABLE command
    ADD CONSTRAINT command_kind_check
        CHECK (kind IN ('retry', 'cancel', 'remains', 'resume_campaign', 'cancel_campaign')),
    -- Which, and for whom: empty for all.
    ADD COLUMN campaign text,
    ADD COLUMN recipient text,
    -- When it was asked for, by this clock: what was published later is not touched.
    ADD COLUMN until timestamptz(3);
