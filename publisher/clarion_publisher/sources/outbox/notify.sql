
-- Wakes publishers at once. Transactions that notify commit one after the other in the whole server,
-- so leave it out where many small transactions per second write to the outbox.
CREATE OR REPLACE FUNCTION clarion_outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('clarion_outbox', '');
    RETURN NULL;
END;
$$;
CREATE OR REPLACE TRIGGER clarion_outbox_notify AFTER INSERT ON clarion_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION clarion_outbox_notify();
