-- Campaigns of which nothing is sent, or single recipients in them: paused until they are resumed, or cancelled.

CREATE TABLE tharsis_campaign_stop (
    -- One that is set anew has another number.
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    client BLOB NOT NULL CHECK (length(client) = 16),
    campaign TEXT NOT NULL,
    -- Empty for all of them.
    recipient TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('paused', 'cancelled')),
    since INTEGER NOT NULL,
    UNIQUE (client, campaign, recipient)
) STRICT;

-- Serves reports. The name comes first: whose campaign it is may be asked, too.
CREATE INDEX tharsis_event_campaign ON tharsis_event (campaign, client) WHERE campaign IS NOT NULL;

-- What the owner is asked to do to deliveries: 'retry' and 'cancel' one, end the 'remains' of a removed subscription, or
-- let go ('resume_campaign') or end ('cancel_campaign') what a subscription has of a campaign.
ALTER TABLE tharsis_command RENAME TO tharsis_command_before;
CREATE TABLE tharsis_command (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL
        CHECK (kind IN ('retry', 'cancel', 'remains', 'resume_campaign', 'cancel_campaign')),
    subscription INTEGER NOT NULL,
    event INTEGER,
    asked_at INTEGER NOT NULL,
    -- Of a campaign: which, for whom (empty for all), and the last event that had been published when it was asked for.
    campaign TEXT,
    recipient TEXT,
    last_event INTEGER,
    -- How far it has come.
    cursor_lane INTEGER NOT NULL DEFAULT -1,
    cursor_due_at INTEGER NOT NULL DEFAULT 0,
    cursor_event INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO tharsis_command (seq, kind, subscription, event, asked_at)
SELECT seq, kind, subscription, event, asked_at FROM tharsis_command_before;
DROP TABLE tharsis_command_before;
