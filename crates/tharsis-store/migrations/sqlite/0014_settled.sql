-- Leads whoever follows attempts to those that nothing else leads to: they lie with their events, however old these are. A
-- success at the first attempt costs nothing here; it is found among the newest events.
CREATE INDEX tharsis_attempt_notable ON tharsis_attempt (at) WHERE number <> 1 OR ended IS NOT 'delivered';
