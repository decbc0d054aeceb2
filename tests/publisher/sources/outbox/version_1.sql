-- Clarion's outbox, version 1. PostgreSQL 14 or newer. Running it again changes nothing; running it
-- where an older version is brings that up to date. It runs in one transaction.

-- Two deployments that begin at the same moment wait for each other.
SELECT pg_advisory_xact_lock(1129070930, 0);

-- Which version this is, and which database: restored copies and clones keep the identity, new
-- outboxes get their own.
CREATE TABLE IF NOT EXISTS clarion_outbox_version (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    version  integer NOT NULL,
    identity uuid    NOT NULL DEFAULT gen_random_uuid()
);

-- The events that wait. A publisher deletes a row once its event is in Redis, so the table stays small.
CREATE TABLE IF NOT EXISTS clarion_outbox (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- all, authenticated, user:<id> or topic:<name>
    audience   text        NOT NULL CHECK (octet_length(audience) <= 1024),
    type       text        NOT NULL CHECK (octet_length(type) <= 1024),
    -- json keeps the text as it was written; jsonb would reorder it
    data       json        NOT NULL DEFAULT 'null',
    -- an idempotency key of the application's own; without one, the row is the key
    key        text        CHECK (octet_length(key) <= 1024),
    -- id of a connection that must not get the event
    exclude    text        CHECK (octet_length(exclude) <= 1024),
    -- whether clients that come back later get the event
    history    boolean     NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Rows that can never be published, each with the reason. docs/outbox.md says how to send them again.
CREATE TABLE IF NOT EXISTS clarion_outbox_refused (
    id         bigint      NOT NULL,
    audience   text        NOT NULL,
    type       text        NOT NULL,
    data       json        NOT NULL,
    key        text,
    exclude    text,
    history    boolean     NOT NULL,
    created_at timestamptz NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT now(),
    reason     text        NOT NULL,
    -- not the id alone: a database that was restored gives ids a second time
    PRIMARY KEY (id, created_at)
);

-- Many rows come and go: clean up by count, not by a share of a table that is empty most of the time.
ALTER TABLE clarion_outbox SET (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000
);

-- For SQL; an INSERT does the same. The body is bound to the table above, whatever search_path says later.
CREATE OR REPLACE FUNCTION clarion_publish(
    audience text, type text, data jsonb DEFAULT 'null', key text DEFAULT NULL,
    history boolean DEFAULT true, exclude text DEFAULT NULL
) RETURNS bigint LANGUAGE sql VOLATILE
BEGIN ATOMIC
    INSERT INTO clarion_outbox (audience, type, data, key, history, exclude)
    VALUES (audience, type, data::json, key, history, exclude)
    RETURNING clarion_outbox.id;
END;

INSERT INTO clarion_outbox_version (version) VALUES (1)
ON CONFLICT (one) DO UPDATE SET version = excluded.version WHERE clarion_outbox_version.version < excluded.version;
