-- The registry and the outbox of Tharsis in one schema of a PostgreSQL database (15 or newer). The schema is the
-- operator's choice: this file names none, and is run with the search path set to it.
-- Instants are the database's clock, in whole milliseconds, for that is what a JSON body can say.
-- There are no foreign keys and there is no status column on the hot tables: a delivery is unfinished exactly as long as
-- its row is in delivery, and all else is in attempt.

-- Which of these files have been applied.
CREATE TABLE migration (
    version bigint PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz(3) NOT NULL DEFAULT clock_timestamp()
);

-- The order of publication and of routing. One for both, so that a replay comes after what was published before it.
CREATE SEQUENCE seq AS bigint;

-- A UUIDv7 (RFC 9562, section 5.7): the instant in milliseconds, then 74 random bits. A version 4 has them in their place
-- already, and two bits make a 7 of its 4.
CREATE FUNCTION new_id() RETURNS uuid
    LANGUAGE sql VOLATILE PARALLEL SAFE
    RETURN encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6),
            52, 1), 53, 1),
        'hex')::uuid;

-- The unit of ownership that something of this id lies in: its last byte, modulo 64.
CREATE FUNCTION shard_of(id uuid) RETURNS smallint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (get_byte(uuid_send(id), 15) & 63)::smallint;

-- What happened. A row never changes, but for the freezing of a payload that was published as text. Partitioned by the
-- time-ordered id; the default partition is a net for what no other takes.
CREATE TABLE event (
    id uuid NOT NULL,
    type text NOT NULL,
    -- The tenant on whose behalf.
    client uuid NOT NULL,
    campaign text,
    recipient text,
    published_at timestamptz(3) NOT NULL DEFAULT clock_timestamp(),
    -- No attempt before the one, none at or after the other.
    not_before timestamptz(3),
    expires_at timestamptz(3),
    -- True once the payload is the bytes that every attempt sends.
    frozen boolean NOT NULL,
    -- Why it could not be frozen. Such an event goes to nobody.
    refused_code text,
    refused_field text,
    refused_message text,
    payload text NOT NULL,
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

CREATE TABLE event_default PARTITION OF event DEFAULT;

-- Events that are not routed yet, with all that routing asks for. They lie in their client's shard, so that one owner
-- routes a client's events in order.
CREATE TABLE outbox (
    shard smallint NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('seq'),
    event uuid NOT NULL,
    client uuid NOT NULL,
    type text NOT NULL,
    published_at timestamptz(3) NOT NULL,
    not_before timestamptz(3),
    expires_at timestamptz(3),
    -- Octets of the payload.
    size integer NOT NULL,
    frozen boolean NOT NULL,
    PRIMARY KEY (shard, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000,
        autovacuum_vacuum_cost_delay = 0);

-- Publishing the same again makes no second event. The key is 128 bits of a SHA-256; the payload's digest is kept only
-- beside keys that publishers chose themselves, where another payload is a conflict. A digest of 16 octets is of the frozen
-- payload, as the library makes it; one of 17 is of a text as it was given. Each is compared with its like only.
CREATE TABLE idempotency (
    key bytea PRIMARY KEY CHECK (octet_length(key) = 16),
    payload bytea,
    event uuid NOT NULL
) WITH (autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000);

-- Unfinished deliveries, each where its lane is read: all of one subscription, by due time, then in order of routing.
-- A row never changes: who moves one deletes it and inserts it anew. So what was found at a place is there, or is gone.
CREATE TABLE delivery (
    subscription bigint NOT NULL,
    -- 0 is the live lane.
    lane smallint NOT NULL DEFAULT 0,
    due_at timestamptz(3) NOT NULL,
    seq bigint NOT NULL,
    event uuid NOT NULL,
    -- Attempts made, over all replays, and those of the present retry budget.
    attempts integer NOT NULL DEFAULT 0,
    tries integer NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, lane, due_at, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 1000000,
        autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 1000000,
        autovacuum_vacuum_cost_delay = 0);

-- One delivery for each pair, and the way from a pair to its row: a success whose row has moved, retry and cancel,
-- replays that must not touch what is unfinished, lists by event.
CREATE UNIQUE INDEX delivery_pair ON delivery (event, subscription);

-- The history: one row for each request, and one with number 0 for an end without a request. Partitioned as event is,
-- so that an event and what became of it go together.
CREATE TABLE attempt (
    event uuid NOT NULL,
    subscription bigint NOT NULL,
    number integer NOT NULL,
    at timestamptz(3) NOT NULL,
    duration_us bigint NOT NULL,
    code text NOT NULL,
    status smallint,
    -- How the delivery ended with it.
    ended text CHECK (ended IN ('delivered', 'dead', 'expired', 'refused', 'cancelled')),
    -- Where number 0 stands among the others: after the attempt of this number. The newest end counts, by this order
    -- and not by instants, which are of many clocks.
    after integer,
    -- When the next attempt was due.
    due_at timestamptz(3),
    detail text,
    excerpt bytea,
    PRIMARY KEY (event, subscription, number)
) PARTITION BY RANGE (event);

CREATE TABLE attempt_default PARTITION OF attempt DEFAULT;

-- Serves the question what was not delivered, however much was.
CREATE INDEX attempt_undelivered ON attempt (event, subscription)
    WHERE ended IN ('dead', 'expired', 'refused', 'cancelled');

-- Who wants which events, where. The short number is never used again; rows stay after a removal, for the history.
CREATE TABLE subscription (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    -- Of the id, where its lane lies.
    shard smallint NOT NULL GENERATED ALWAYS AS (shard_of(id)) STORED,
    client uuid NOT NULL,
    name text NOT NULL,
    -- The name as it is compared: normalised and folded.
    name_key text NOT NULL,
    url text NOT NULL,
    profile text NOT NULL,
    -- Event types; empty for all that the profile knows.
    events text[] NOT NULL,
    content_type text NOT NULL,
    timeout_ms bigint NOT NULL,
    -- The delay before each retry, in milliseconds.
    retry bigint[] NOT NULL,
    max_in_flight integer NOT NULL,
    created_at timestamptz(3) NOT NULL,
    updated_at timestamptz(3) NOT NULL,
    -- Goes up with each change, by people or by a worker, so that nobody replaces what was changed since they read it.
    version bigint NOT NULL DEFAULT 1,
    removed_at timestamptz(3)
);

CREATE UNIQUE INDEX subscription_name ON subscription (client, name_key) WHERE removed_at IS NULL;

-- What holds a subscription's deliveries; no row where nothing does. Written on transitions only.
CREATE TABLE subscription_state (
    subscription bigint PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('paused', 'disabled')),
    reason text,
    since timestamptz(3) NOT NULL
);

-- Sealed for its subscription with the key of this id.
CREATE TABLE secret (
    subscription bigint PRIMARY KEY,
    key text NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz(3) NOT NULL
);

-- The keys that secrets are sealed with: the id of each, and something sealed with it that opens under no other. The keys
-- themselves are in a file that every worker has. One of them seals; the others did, and are kept for what they sealed.
CREATE TABLE key (
    id text PRIMARY KEY,
    sealed bytea NOT NULL,
    created_at timestamptz(3) NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz(3)
);

CREATE UNIQUE INDEX key_sealing ON key ((retired_at IS NULL)) WHERE retired_at IS NULL;

-- Goes up with each write to the registry and with each command.
CREATE TABLE revision (
    id smallint PRIMARY KEY CHECK (id = 1),
    revision bigint NOT NULL
);
INSERT INTO revision (id, revision) VALUES (1, 1);

-- Workers that deliver, or did until a moment ago. A lease is renewed here, in one row, and not with each of its shards.
CREATE TABLE worker (
    id uuid PRIMARY KEY,
    -- The machine, the process and the program's version, for people.
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz(3) NOT NULL DEFAULT clock_timestamp(),
    -- When it last took or renewed its lease.
    renewed_at timestamptz(3) NOT NULL,
    -- Its lease is over then. Until then it counts among those that share the shards, unless it is about to leave.
    until timestamptz(3) NOT NULL,
    leaving boolean NOT NULL DEFAULT false
);

-- Who owns which shard: nobody, where that worker's lease is over. The epoch is the fence: it goes up with each change of
-- owner.
CREATE TABLE shard (
    shard smallint PRIMARY KEY,
    owner uuid,
    epoch bigint NOT NULL DEFAULT 0
);
INSERT INTO shard (shard) SELECT generate_series(0, 63);
CREATE SEQUENCE epoch AS bigint;

-- What the owner of a shard is asked to do to deliveries in it: 'retry' and 'cancel' one, or end the 'remains' of a
-- removed subscription.
CREATE TABLE command (
    shard smallint NOT NULL,
    seq bigint NOT NULL DEFAULT nextval('seq'),
    kind text NOT NULL CHECK (kind IN ('retry', 'cancel', 'remains')),
    subscription bigint NOT NULL,
    event uuid,
    asked_at timestamptz(3) NOT NULL,
    -- How far the remains have been ended: what was deleted before it may be there still for older transactions to see,
    -- and is not to be walked over with each chunk.
    cursor_lane smallint NOT NULL DEFAULT -1,
    cursor_due_at timestamptz(3) NOT NULL DEFAULT '-infinity',
    cursor_seq bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (shard, seq)
);

-- Makes past deliveries due again, in chunks; cursor and deliveries move in one transaction. The owner of the shard that
-- its id lies in works it off.
CREATE TABLE replay (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    shard smallint NOT NULL GENERATED ALWAYS AS (shard_of(id)) STORED,
    -- NULL for one that takes the deliveries listed in replay_delivery.
    filter json,
    -- Events after this instant are not touched.
    until timestamptz(3) NOT NULL,
    -- The last pair that was looked at.
    cursor_event uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    cursor_subscription bigint NOT NULL DEFAULT 0,
    examined bigint NOT NULL DEFAULT 0,
    replayed bigint NOT NULL DEFAULT 0,
    created_at timestamptz(3) NOT NULL,
    started_at timestamptz(3),
    finished_at timestamptz(3)
);

-- Serves the search for the oldest replay that is not done.
CREATE INDEX replay_unfinished ON replay (shard, seq) WHERE finished_at IS NULL;

CREATE TABLE replay_delivery (
    replay bigint NOT NULL,
    event uuid NOT NULL,
    subscription bigint NOT NULL,
    PRIMARY KEY (replay, event, subscription)
);

-- Publishing. Whoever may execute these functions needs no right to any table. They take no lock that another publisher
-- waits for, but for one who publishes under the same key.

-- The first half of a SHA-256 over a purpose and two parts, each behind its length: what the library makes of the same.
CREATE FUNCTION digest_of(purpose bytea, a bytea, b bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN substring(sha256(
        int8send(octet_length(purpose)) || purpose || int8send(octet_length(a)) || a || int8send(octet_length(b)) || b) FOR 16);

-- What is wrong with the name of a campaign or a recipient, in the words of the library and by its measure: white space
-- and control characters are Unicode's, whatever the locale.
CREATE FUNCTION wrong_label(label text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN label ~ E'^[\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]*$'
            THEN 'empty'
        WHEN char_length(label) > 255 THEN 'too_long'
        WHEN label ~ E'[\\u0001-\\u001f\\u007f-\\u009f]' THEN 'control_character'
    END;

-- What is wrong with an instant that attempts depend on: it is infinite, or no RFC 3339 says it once it is rounded.
CREATE FUNCTION wrong_time(at timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN at < '1970-01-01 00:00:00Z'::timestamptz OR at >= '9999-12-31 23:59:59.9995Z'::timestamptz THEN 'bad_time'
    END;

-- Several frozen events, as the library hands them over: an array for each column. Answers in their order which event the
-- key has, whether that one was there before, and the digest of its payload where it is to be compared. That a payload is
-- frozen is the caller's word; what else the library has checked is checked again, for others may be granted this.
-- A table has grown since its statistics were taken on an empty one: nothing of it may be walked.
CREATE FUNCTION publish_frozen(
    ids uuid[], keys bytea[], digests bytea[], types text[], clients uuid[], campaigns text[], recipients text[],
    not_befores timestamptz[], expires_ats timestamptz[], payloads text[], frozen boolean DEFAULT true)
    RETURNS TABLE (event uuid, duplicate boolean, digest bytea)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    wrong text[];
    fresh uuid[];
    all_fresh boolean;
    full_client uuid;
    answers bigint;
    at timestamptz(3) := clock_timestamp();
BEGIN
    -- What follows takes their elements by place and in order, which is the same for lists only.
    IF format('[1:%s]', cardinality(ids)) <> ANY (ARRAY[
        array_dims(ids), array_dims(keys), array_dims(digests), array_dims(types), array_dims(clients),
        array_dims(campaigns), array_dims(recipients), array_dims(not_befores), array_dims(expires_ats),
        array_dims(payloads)])
    THEN
        RAISE EXCEPTION 'the arrays are not lists of one length' USING ERRCODE = '22023', DETAIL = 'bad_lengths',
            HINT = 'give an element for each event, from place 1 on';
    END IF;
    -- A loop is several times as quick as a query. Lengths are no part of the patterns: a repetition that is counted takes a
    -- hundred times as long.
    FOR place IN 1..cardinality(ids) LOOP
        wrong := CASE
            WHEN types[place] IS NULL OR types[place] !~ '^[A-Za-z0-9._-]+$' OR octet_length(types[place]) > 128
                THEN ARRAY['type', 'bad_event_type']
            WHEN clients[place] IS NULL THEN ARRAY['client', 'bad_client']
            WHEN payloads[place] IS NULL THEN ARRAY['payload', 'payload_missing']
            WHEN octet_length(payloads[place]) > 262144 THEN ARRAY['payload', 'payload_too_large']
            WHEN octet_length(keys[place]) IS DISTINCT FROM 16 THEN ARRAY['key', 'bad_idempotency_key']
            WHEN wrong_label(campaigns[place]) IS NOT NULL THEN ARRAY['campaign', wrong_label(campaigns[place])]
            WHEN wrong_label(recipients[place]) IS NOT NULL THEN ARRAY['recipient', wrong_label(recipients[place])]
            WHEN wrong_time(not_befores[place]) IS NOT NULL THEN ARRAY['not_before', wrong_time(not_befores[place])]
            WHEN wrong_time(expires_ats[place]) IS NOT NULL THEN ARRAY['expires_at', wrong_time(expires_ats[place])]
        END;
        IF wrong IS NOT NULL THEN
            RAISE EXCEPTION 'event % is refused: % in %', place, wrong[2], wrong[1]
                USING ERRCODE = '22023', DETAIL = wrong[2], HINT = CASE wrong[2]
                    WHEN 'bad_event_type' THEN 'a type has 1 to 128 letters, digits, dots, underscores or hyphens'
                    WHEN 'bad_client' THEN 'name the client that the event is published for'
                    WHEN 'payload_missing' THEN 'give the payload as JSON text'
                    WHEN 'payload_too_large' THEN 'a payload has at most 262144 octets'
                    WHEN 'bad_idempotency_key' THEN 'a key has 1 to 255 visible ASCII characters, or is a digest of 16 octets'
                    WHEN 'bad_time' THEN 'give an instant of the years 1970 to 9999, or NULL'
                    WHEN 'empty' THEN 'give a name that can be seen, or NULL'
                    WHEN 'too_long' THEN 'a name has at most 255 characters'
                    ELSE 'leave out line breaks and other control characters'
                END;
        END IF;
    END LOOP;

    -- In order of the keys, so that two batches never wait for each other crosswise.
    WITH new AS (
        INSERT INTO idempotency AS i (key, payload, event)
        SELECT g.key, g.digest, g.id
        FROM unnest(ids, keys, digests) WITH ORDINALITY AS g(id, key, digest, place)
        ORDER BY g.key, g.place
        ON CONFLICT DO NOTHING
        RETURNING i.event
    )
    SELECT coalesce(array_agg(new.event), '{}') INTO fresh FROM new;
    all_fresh := cardinality(fresh) = cardinality(ids);

    -- What was published before is answered in any case, and what we tell of ourselves is taken.
    IF EXISTS (SELECT FROM full_backlog) THEN
        SELECT g.client INTO full_client
        FROM unnest(ids, clients, types) AS g(id, client, type)
        JOIN full_backlog f ON f.client = g.client AND f.until > clock_timestamp()
        WHERE g.id = ANY (fresh)
          AND g.type NOT IN ('subscription.suspended', 'subscription.failing', 'subscription.recovered', 'delivery.dead',
                             'address.blocked', 'delivery.expiring', 'certificate.expiring')
        LIMIT 1;
        IF full_client IS NOT NULL THEN
            RAISE EXCEPTION 'client % is refused: backlog_full', full_client
                USING ERRCODE = '53400', DETAIL = 'backlog_full',
                    HINT = 'too much of it is not delivered yet: publish again later, or raise engine.backlog_limit';
        END IF;
    END IF;

    WITH given AS (
        SELECT *
        FROM unnest(ids, types, clients, campaigns, recipients, not_befores, expires_ats, payloads)
            WITH ORDINALITY AS g(id, type, client, campaign, recipient, not_before, expires_at, payload, place)
        WHERE all_fresh OR g.id = ANY (fresh)
    ), written AS (
        INSERT INTO event (id, type, client, campaign, recipient, published_at, not_before, expires_at, frozen, payload)
        SELECT g.id, g.type, g.client, g.campaign, g.recipient, at, g.not_before, g.expires_at, publish_frozen.frozen, g.payload
        FROM given g
    )
    INSERT INTO outbox (shard, event, client, type, published_at, not_before, expires_at, size, frozen)
    SELECT shard_of(g.client), g.id, g.client, g.type, at, g.not_before, g.expires_at, octet_length(g.payload),
           publish_frozen.frozen
    FROM given g
    ORDER BY g.place;

    IF all_fresh THEN
        RETURN QUERY SELECT g.id, false, g.digest FROM unnest(ids, digests) AS g(id, digest);
        RETURN;
    END IF;
    RETURN QUERY
    SELECT i.event, i.event <> g.id, CASE WHEN octet_length(i.payload) = octet_length(g.digest) THEN i.payload END
    FROM unnest(ids, keys, digests) WITH ORDINALITY AS g(id, key, digest, place)
    CROSS JOIN LATERAL (SELECT i.event, i.payload FROM idempotency i WHERE i.key = g.key OFFSET 0) i
    ORDER BY g.place;
    GET DIAGNOSTICS answers = ROW_COUNT;
    IF answers <> cardinality(ids) THEN
        RAISE EXCEPTION 'the key of an event was forgotten while it was published'
            USING ERRCODE = '40001', DETAIL = 'key_forgotten', HINT = 'publish again: nothing was published';
    END IF;
END
$$;

-- Several events of any program, their payloads as JSON text, which is checked and frozen when they are routed. Under a key
-- of one's own, publishing again is safe: the same text is the same event, another one is refused. Without a key, the same
-- client, type and text are the same event. Answers with the event's id, that of the first one where it was published before.
CREATE FUNCTION publish_all(
    types text[], clients uuid[], payloads text[], keys text[] DEFAULT NULL, campaigns text[] DEFAULT NULL,
    recipients text[] DEFAULT NULL, not_befores timestamptz[] DEFAULT NULL, expires_ats timestamptz[] DEFAULT NULL)
    RETURNS TABLE (event uuid, duplicate boolean)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    ids uuid[];
    names bytea[];
    digests bytea[];
    events uuid[];
    duplicates boolean[];
    conflict bigint;
BEGIN
    IF cardinality(payloads) <> ANY (ARRAY[
        cardinality(types), cardinality(clients), cardinality(coalesce(keys, payloads)),
        cardinality(coalesce(campaigns, payloads)), cardinality(coalesce(recipients, payloads)),
        coalesce(cardinality(not_befores), cardinality(payloads)),
        coalesce(cardinality(expires_ats), cardinality(payloads))])
    THEN
        RAISE EXCEPTION 'the arrays have different lengths' USING ERRCODE = '22023', DETAIL = 'bad_lengths',
            HINT = 'give each event its type, client and payload, and of what else you give something for each or nothing at all';
    END IF;

    -- Ids ascend as the events do: lists are in order of ids.
    ids := ARRAY(SELECT new_id() AS id FROM generate_series(1, cardinality(payloads)) ORDER BY id);
    -- A key that is none has no digest, and is refused for that.
    SELECT array_agg(CASE WHEN g.key IS NULL
                          THEN digest_of('tharsis natural key 1'::bytea, uuid_send(g.client), g.digest)
                          WHEN g.key ~ '^[!-~]+$' AND octet_length(g.key) <= 255
                          THEN digest_of('tharsis key 1'::bytea, uuid_send(g.client), convert_to(g.key, 'UTF8'))
                     END ORDER BY g.place),
           array_agg(CASE WHEN g.key IS NOT NULL THEN '\x01'::bytea || g.digest END ORDER BY g.place)
    INTO names, digests
    FROM (
        SELECT u.*,
               digest_of('tharsis payload 1'::bytea, convert_to(u.type, 'UTF8'), convert_to(u.payload, 'UTF8')) AS digest
        FROM unnest(types, clients, payloads, keys) WITH ORDINALITY AS u(type, client, payload, key, place)) g;

    SELECT array_agg(p.event ORDER BY p.place), array_agg(p.duplicate ORDER BY p.place),
           min(p.place) FILTER (WHERE p.digest <> digests[p.place])
    INTO events, duplicates, conflict
    FROM publish_frozen(ids, names, digests, types, clients, campaigns, recipients, not_befores, expires_ats, payloads, false)
        WITH ORDINALITY AS p(event, duplicate, digest, place);
    IF conflict IS NOT NULL THEN
        RAISE EXCEPTION 'event % is refused: idempotency_conflict', conflict
            USING ERRCODE = '23505', DETAIL = 'idempotency_conflict',
                HINT = 'its key was used for another payload before: give each event a key of its own, or publish the same text again';
    END IF;
    RETURN QUERY SELECT * FROM unnest(events, duplicates);
END
$$;

-- One event of any program, as publish_all takes several. Answers with its id.
CREATE FUNCTION publish(
    type text, client uuid, payload text, key text DEFAULT NULL, campaign text DEFAULT NULL, recipient text DEFAULT NULL,
    not_before timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL)
    RETURNS uuid
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
    SELECT p.event
    FROM publish_all(ARRAY[type], ARRAY[client], ARRAY[payload], ARRAY[key], ARRAY[campaign], ARRAY[recipient],
                     ARRAY[not_before], ARRAY[expires_at]) p
$$;

REVOKE EXECUTE ON FUNCTION new_id, shard_of, digest_of, wrong_label, wrong_time,
    publish_frozen, publish_all, publish FROM PUBLIC;
