-- How many requests a subscription may get in how long, such as 10/s; NULL for as many as it takes.
ALTER TABLE tharsis_subscription ADD COLUMN rate TEXT;
