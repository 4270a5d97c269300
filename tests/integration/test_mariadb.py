"""The private server behaves as the tests that stand on it need."""

import os

import psutil
import pymysql
import pytest

from socs.testing import wait_until
from socs.testing.cutter import Moment, TcpCutter, is_mysql_commit
from socs.testing.mariadb import Database, MariaDB


def connect(env, **changes):
    settings = {
        "host": env["MYSQL_HOST"],
        "port": int(env["MYSQL_PORT"]),
        "user": env["MYSQL_USER"],
        "password": env["MYSQL_PASSWORD"],
        "database": env["MYSQL_DATABASE"],
        "connect_timeout": 5,
        "read_timeout": 5,
    }
    return pymysql.connect(**settings | changes)


def test_owner_may_do_everything_in_its_database_and_nothing_elsewhere(mariadb, mariadb_server):
    owner = mariadb.user
    mariadb.query("CREATE TABLE t (id INT, s VARCHAR(9))", user=owner)
    mariadb.query("INSERT INTO t VALUES (%s, %s)", 1, "5%", user=owner)
    assert mariadb.query("SELECT * FROM t", user=owner) == [(1, "5%")]
    # A name that the first one would match if its underscore were a wildcard.
    other = Database(mariadb_server, mariadb.name.replace("_", "x"))
    try:
        with pytest.raises(pymysql.err.OperationalError, match="denied"):
            mariadb.query(f"CREATE TABLE {other.name}.t (id INT)", user=owner)
    finally:
        other.drop()
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        mariadb.query("SELECT * FROM mysql.global_priv", user=owner)


def test_user_with_few_grants(mariadb):
    mariadb.query("CREATE TABLE t (id INT)")
    mariadb.query("CREATE TABLE u (id INT)")
    env = mariadb.create_user("writer", "INSERT", on="t")
    with connect(env, autocommit=True) as connection, connection.cursor() as cursor:
        assert cursor.execute("INSERT INTO t VALUES (1)") == 1
        for denied in ("SELECT * FROM t", "INSERT INTO u VALUES (1)"):
            with pytest.raises(pymysql.err.OperationalError, match="denied"):
                cursor.execute(denied)


def test_dropped_database_leaves_no_user(mariadb_server):
    database = Database(mariadb_server, "socs_dropped")
    env = database.create_user("other")
    database.drop()
    for user in (database.user, env["MYSQL_USER"]):
        assert mariadb_server.run("SELECT user FROM mysql.user WHERE user = %s", user) == []
    assert ("socs_dropped",) not in mariadb_server.run("SHOW DATABASES")


def test_commits_are_flushed(mariadb_server):
    assert mariadb_server.run("SELECT @@innodb_flush_log_at_trx_commit") == [(1,)]


def test_kill_and_start_again(mariadb_private):
    env, pid = mariadb_private.env(), mariadb_private.pid
    mariadb_private.query("CREATE TABLE t (id INT)")
    mariadb_private.query("INSERT INTO t VALUES (7)")
    mariadb_private.kill()
    assert not psutil.pid_exists(pid)
    assert mariadb_private.pid is None
    with pytest.raises(pymysql.err.OperationalError):
        connect(env)
    mariadb_private.start()
    assert mariadb_private.env() == env
    assert mariadb_private.query("SELECT id FROM t") == [(7,)]


def test_stop_and_start_again(mariadb_private):
    mariadb_private.stop()
    mariadb_private.start()
    mariadb_private.start()
    assert mariadb_private.query("SELECT 1") == [(1,)]


def test_pause_keeps_connections_and_answers_nothing(mariadb_private):
    with connect(mariadb_private.env(), read_timeout=0.2) as connection:
        cursor = connection.cursor()
        mariadb_private.pause()
        with pytest.raises(pymysql.err.OperationalError, match="timed out"):
            cursor.execute("SELECT 1")
    mariadb_private.resume()
    assert mariadb_private.query("SELECT 1") == [(1,)]


def test_a_second_server_beside_the_first(mariadb_server, tmp_path):
    with MariaDB(tmp_path / "second") as second:
        assert second.port != mariadb_server.port
        assert second.query("SELECT 2") == [(2,)]


@pytest.mark.parametrize(
    ("moment", "rows"), [(Moment.BEFORE_SERVER, []), (Moment.BEFORE_REPLY, [(1,)])]
)
def test_commit_cut_at_a_chosen_moment(mariadb, moment, rows):
    mariadb.query("CREATE TABLE t (id INT)")
    env = mariadb.env()
    with TcpCutter((env["MYSQL_HOST"], int(env["MYSQL_PORT"]))) as cutter:
        connection = connect(env, host=cutter.address[0], port=cutter.address[1])
        connection.cursor().execute("INSERT INTO t VALUES (1)")
        cutter.arm(is_mysql_commit, moment)
        with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
            connection.commit()
        assert wait_until(lambda: cutter.cuts) == 1
    assert mariadb.query("SELECT id FROM t") == rows


def test_files_env_is_all_there_is(files_env, request):
    found = {name: value for name, value in os.environ.items() if name.startswith("MYSQL_")}
    if request.node.callspec.params["files_env"] == "sqlite":
        assert found == {}
        assert os.environ["SOCS_DATA_DIR"] == files_env["SOCS_DATA_DIR"]
    else:
        assert found == files_env
        with connect(files_env) as connection, connection.cursor() as cursor:
            assert cursor.execute("SELECT 1") == 1
