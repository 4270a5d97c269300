-- The tables of socs, as `socs files create` makes them. Run in the database that is to hold them.

CREATE TABLE pysmurf_files_v1 (
    id BIGINT NOT NULL AUTO_INCREMENT,
    path VARCHAR(1024) NOT NULL COMMENT 'Where the file is: first on the machine that wrote it, once copied in storage',
    action VARCHAR(255) COMMENT 'What made the file; files of one action stay together',
    timestamp DATETIME(6) COMMENT 'When the file was written (UTC)',
    action_timestamp BIGINT COMMENT 'Start of the action (UNIX time, s)',
    format VARCHAR(32) COMMENT 'File format, e.g. npy or txt',
    plot BOOL COMMENT 'True if the file is a plot',
    site VARCHAR(255) COMMENT 'Site name',
    pub_id VARCHAR(255) COMMENT 'Publisher id (SMURFPUB_ID)',
    instance_id VARCHAR(255) COMMENT 'Agent that registered the file',
    copied BOOL COMMENT 'True once the archiver has a verified copy',
    failed_copy_attempts INTEGER COMMENT 'Copies that failed',
    md5sum BINARY(16) NOT NULL COMMENT 'MD5 of the contents, 16 bytes',
    pysmurf_version VARCHAR(255) COMMENT 'Version of pysmurf that wrote the file',
    socs_version VARCHAR(255) COMMENT 'Version of socs that registered the file',
    PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC COLLATE utf8mb4_bin;

CREATE INDEX ix_pysmurf_files_v1_copy ON pysmurf_files_v1 (copied, instance_id, failed_copy_attempts);

CREATE INDEX ix_pysmurf_files_v1_md5sum ON pysmurf_files_v1 (md5sum);

CREATE INDEX ix_pysmurf_files_v1_path ON pysmurf_files_v1 (path(255));

CREATE INDEX ix_pysmurf_files_v1_timestamp ON pysmurf_files_v1 (timestamp);

CREATE TABLE socs_spool_batches_v1 (
    spool_id CHAR(32) NOT NULL,
    batch BIGINT NOT NULL,
    files INTEGER NOT NULL,
    digest CHAR(16) NOT NULL,
    PRIMARY KEY (spool_id, batch)
)ENGINE=InnoDB CHARSET=ascii;

CREATE TABLE socs_copies_v1 (
    file_id BIGINT NOT NULL,
    state VARCHAR(16) NOT NULL COMMENT 'See the states of a copy',
    owner VARCHAR(255) COMMENT 'Instance id of the archiver that has or had it',
    due DOUBLE COMMENT 'End of a claim, or time of the next attempt (UNIX time)',
    cause VARCHAR(64) COMMENT 'Why the last attempt failed: a counter name',
    detail VARCHAR(1024) COMMENT 'The same in words',
    md5sum BINARY(16) COMMENT 'MD5 of the file as found, if not that of the files table',
    source VARCHAR(1024) COMMENT 'Where the file was written',
    size BIGINT COMMENT 'Bytes of the archived copy',
    archived_at DOUBLE COMMENT 'When it was archived (UNIX time)',
    verified_at DOUBLE COMMENT 'When its MD5 was last found right (UNIX time)',
    deleted_at DOUBLE COMMENT 'When the file at `source` was deleted (UNIX time)',
    PRIMARY KEY (file_id)
)ENGINE=InnoDB CHARSET=utf8mb4 ROW_FORMAT=DYNAMIC COLLATE utf8mb4_bin;

CREATE INDEX ix_socs_copies_v1_due ON socs_copies_v1 (state, due);
