
-- Without a trigger, publishers look for rows a few times a second.
DROP TRIGGER IF EXISTS clarion_outbox_notify ON clarion_outbox;
