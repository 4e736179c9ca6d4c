-- migrate:up
CREATE TABLE jams (fruit text PRIMARY KEY);
INSERT INTO jams VALUES ('plum'), ('fig');

-- migrate:down
DROP TABLE jams;
