"""An old program, for examples/legacy_db.py: blocking handlers that ask two databases. It knows nothing of greensock.

    python examples/queries.py

A client sends lines of a database's name and a number of seconds, and gets its version after so long::

    $ printf 'postgresql 1\nmariadb 1\n' | nc -q 5 127.0.0.1 8080
    postgresql 15.18
    mariadb 10.11.19

POSTGRESQL is a connection string of libpq, MARIADB the path of a socket; both have their usual defaults.
"""

import os
import socketserver

import psycopg
import pymysql


def ask_postgresql(seconds):
    with psycopg.connect(os.environ.get("POSTGRESQL", "")) as connection:
        rows = connection.execute("SELECT current_setting('server_version'), pg_sleep(%s)", [seconds])
        return next(rows)[0].split()[0]


def ask_mariadb(seconds):
    path = os.environ.get("MARIADB", "/run/mysqld/mysqld.sock")
    with (
        pymysql.connect(unix_socket=path, user="root", ssl_disabled=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT version(), sleep(%s)", [seconds])
        return cursor.fetchall()[0][0].split("-")[0]


DATABASES = {"postgresql": ask_postgresql, "mariadb": ask_mariadb}


class Query(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            try:
                name, seconds = line.decode().split()
                answer = f"{name} {DATABASES[name](float(seconds))}"
            except Exception as error:
                answer = f"{type(error).__name__}: {error}".splitlines()[0]
            self.wfile.write(answer.encode() + b"\n")


if __name__ == "__main__":
    with socketserver.ThreadingTCPServer(("127.0.0.1", 8080), Query) as server:
        server.serve_forever()
