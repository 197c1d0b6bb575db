-- How many requests a subscription may get in how long, such as 10/s; NULL for as many as it takes.
ALTER TABLE subscription ADD COLUMN rate text;
