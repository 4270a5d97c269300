# Users with the least privileges. Sourced by the entrypoint of the official MariaDB image when the
# database is made, after the tables; so this file must not be executable.
# Called with DB_USER, DB_PW, DB_ARCHIVER_PW, DB_EPICS_PW, DB_ADMIN_PW and MARIADB_DATABASE in the
# environment.

socs_user() { # NAME PASSWORD: make a user of this name
    local name password
    name=$(docker_sql_escape_string_literal "$1")
    password=$(docker_sql_escape_string_literal "$2")
    echo "CREATE USER '$name'@'%' IDENTIFIED BY '$password';"
}

socs_grant() { # NAME PRIVILEGES TABLE
    echo "GRANT $2 ON \`$MARIADB_DATABASE\`.$3 TO '$(docker_sql_escape_string_literal "$1")'@'%';"
}

socs_users() {
    socs_user "$DB_USER" "$DB_PW"
    socs_grant "$DB_USER" "INSERT, SELECT" pysmurf_files_v1
    socs_grant "$DB_USER" "INSERT, SELECT" socs_spool_batches_v1

    socs_user socs_archiver "$DB_ARCHIVER_PW"
    socs_grant socs_archiver "INSERT, SELECT, UPDATE" pysmurf_files_v1
    socs_grant socs_archiver "INSERT, SELECT" socs_spool_batches_v1
    socs_grant socs_archiver "INSERT, SELECT, UPDATE" socs_copies_v1

    socs_user socs_epics "$DB_EPICS_PW"
    socs_grant socs_epics "INSERT, SELECT" pysmurf_files_v1
    socs_grant socs_epics "INSERT, SELECT" socs_spool_batches_v1
    socs_grant socs_epics "DELETE, INSERT, SELECT" socs_epics_events_v1
    for table in logs groups members expected hosts; do
        socs_grant socs_epics "DELETE, INSERT, SELECT, UPDATE" "socs_epics_${table}_v1"
    done

    socs_user socs_admin "$DB_ADMIN_PW"
    socs_grant socs_admin "CREATE, DROP, INDEX, INSERT, SELECT, DELETE" "*"
}

socs_users | docker_process_sql --database=mysql
