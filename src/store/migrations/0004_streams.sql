-- Streams of a match, and those that ended long ago.
CREATE INDEX streams_of_match ON streams (match_id);
CREATE INDEX streams_ended ON streams (ended_at);
-- Matches that were closed long ago.
CREATE INDEX matches_closed ON matches (closed_at);
