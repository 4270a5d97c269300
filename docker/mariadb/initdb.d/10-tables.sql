-- The tables of socs, as `socs files create` and the PV monitor make them. Run in the database that
-- is to hold them.

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

CREATE TABLE socs_epics_events_v1 (
    id BIGINT NOT NULL AUTO_INCREMENT,
    spool_id CHAR(32) NOT NULL COMMENT 'Spool that the event came through',
    number BIGINT NOT NULL COMMENT 'Its number there',
    time DOUBLE NOT NULL COMMENT 'When it was noticed (UNIX time, s)',
    subject VARCHAR(16) NOT NULL COMMENT 'server, pv, application, ...',
    kind VARCHAR(32) NOT NULL COMMENT 'What happened: NEW, LOST, ...',
    host BIGINT NOT NULL COMMENT 'IPv4 address; 0 if none',
    port INTEGER NOT NULL COMMENT 'TCP port; 0 if none',
    protocol SMALLINT NOT NULL COMMENT '1 CA, 2 PVA; 0 if none',
    name VARBINARY(512) NOT NULL COMMENT 'Process variable, or key of application',
    cause VARCHAR(255) NOT NULL COMMENT 'The rule that says so',
    details MEDIUMTEXT NOT NULL COMMENT 'JSON: evidence, and more',
    PRIMARY KEY (id),
    CONSTRAINT uq_socs_epics_events_v1 UNIQUE (spool_id, number)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_socs_epics_events_v1_host ON socs_epics_events_v1 (host, time);

CREATE INDEX ix_socs_epics_events_v1_kind ON socs_epics_events_v1 (subject, kind, time);

CREATE INDEX ix_socs_epics_events_v1_name ON socs_epics_events_v1 (name, time);

CREATE INDEX ix_socs_epics_events_v1_time ON socs_epics_events_v1 (time);

CREATE TABLE socs_epics_logs_v1 (
    id BIGINT NOT NULL AUTO_INCREMENT,
    uid VARCHAR(64) NOT NULL COMMENT 'The same if it is added again',
    host BIGINT NOT NULL,
    time DOUBLE NOT NULL,
    kind VARCHAR(32) NOT NULL COMMENT 'NOTE, or kind of the event',
    author VARCHAR(255) NOT NULL COMMENT 'Empty for events',
    text VARCHAR(4000) NOT NULL,
    needs_ack BOOL NOT NULL,
    acknowledged_at DOUBLE,
    acknowledged_by VARCHAR(255),
    PRIMARY KEY (id),
    CONSTRAINT uq_socs_epics_logs_v1 UNIQUE (uid)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_socs_epics_logs_v1_host ON socs_epics_logs_v1 (host, id);

CREATE INDEX ix_socs_epics_logs_v1_open ON socs_epics_logs_v1 (needs_ack, acknowledged_at, host);

CREATE INDEX ix_socs_epics_logs_v1_time ON socs_epics_logs_v1 (time);

CREATE TABLE socs_epics_groups_v1 (
    id BIGINT NOT NULL AUTO_INCREMENT,
    name VARCHAR(64) NOT NULL,
    description VARCHAR(255) NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT uq_socs_epics_groups_v1 UNIQUE (name)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE socs_epics_members_v1 (
    group_id BIGINT NOT NULL,
    host BIGINT NOT NULL,
    PRIMARY KEY (group_id, host)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE INDEX ix_socs_epics_members_v1_host ON socs_epics_members_v1 (host);

CREATE TABLE socs_epics_expected_v1 (
    host BIGINT NOT NULL,
    item VARBINARY(512) NOT NULL COMMENT 'Key of an application, or port:1:5064',
    ignored BOOL NOT NULL COMMENT 'It may run, but need not',
    set_by VARCHAR(255) NOT NULL,
    set_at DOUBLE NOT NULL,
    PRIMARY KEY (host, item)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE socs_epics_hosts_v1 (
    host BIGINT NOT NULL,
    description VARCHAR(255) NOT NULL,
    maintenance BOOL NOT NULL COMMENT 'Somebody works on it',
    set_by VARCHAR(255) NOT NULL,
    set_at DOUBLE NOT NULL,
    PRIMARY KEY (host)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;
