"""What a query may do: grants and bounds of the engine itself, written as its own configuration.

The engine has one user. It is granted what forewarn and its analysts need and nothing that reaches outside: no source
(files, URLs, other databases, Kafka), no table engine but those that live in this directory, no users, no backups.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

ENGINES = ("MergeTree", "Memory", "Null", "MaterializedView", "View", "Buffer", "Set", "Join", "Log", "StripeLog")
GRANTS = (
    (
        "GRANT SHOW, SELECT, INSERT, ALTER, CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE TEMPORARY TABLE, DROP,"
        " UNDROP TABLE, TRUNCATE, OPTIMIZE, KILL QUERY, CHECK ON *.*"
    ),
    "GRANT SYSTEM MERGES, SYSTEM VIEWS, SYSTEM SYNC FILE CACHE ON *.*",
    *(f"GRANT TABLE ENGINE ON {engine}" for engine in ENGINES),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the embedded store.

    Attributes:
        execution_s: The most that a query may run; a query may ask for less, never for more.
        memory_bytes: The most memory of one query.
        memory_total_bytes: The most memory of all queries together.
        result_bytes: The largest result that is answered.
        body_bytes: The largest request body, decompressed.
        bodies_bytes: All request bodies under way together, decompressed.
        running: Queries that run at once.
        waiting: Queries that may wait for that; more are answered 503.
    """

    execution_s: int = 300
    memory_bytes: int = 2 * 1024**3
    memory_total_bytes: int = 3 * 1024**3
    result_bytes: int = 1024**3
    body_bytes: int = 256 * 1024**2
    bodies_bytes: int = 512 * 1024**2
    running: int = 8
    waiting: int = 64


_CONFIG = """<clickhouse>
  <access_control_improvements>
    <table_engines_require_grant>true</table_engines_require_grant>
  </access_control_improvements>
  <users_config>{users}</users_config>
  <timezone>UTC</timezone>
  <max_server_memory_usage>{memory_total_bytes}</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <index_mark_cache_size>16777216</index_mark_cache_size>
  <primary_index_cache_size>67108864</primary_index_cache_size>
  <query_condition_cache_size>8388608</query_condition_cache_size>
</clickhouse>
"""
_USERS = """<clickhouse>
  <profiles><default>
    <max_execution_time>{execution_s}</max_execution_time>
    <max_memory_usage>{memory_bytes}</max_memory_usage>
    <max_result_bytes>{result_bytes}</max_result_bytes>
    <result_overflow_mode>throw</result_overflow_mode>
    <async_insert>0</async_insert>
    <compile_expressions>0</compile_expressions>
    <compile_aggregate_expressions>0</compile_aggregate_expressions>
    <compile_sort_description>0</compile_sort_description>
    <constraints>
      <max_execution_time><min>0.001</min><max>{execution_s}</max></max_execution_time>
      <max_memory_usage><min>1</min><max>{memory_bytes}</max></max_memory_usage>
      <max_result_bytes><min>1</min><max>{result_bytes}</max></max_result_bytes>
      <wait_for_async_insert><readonly/></wait_for_async_insert>
      <allow_experimental_eval_table_function><readonly/></allow_experimental_eval_table_function>
    </constraints>
  </default></profiles>
  <quotas><default/></quotas>
  <users><default>
    <password></password>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <access_management>0</access_management>
    <grants>
{grants}
    </grants>
  </default></users>
</clickhouse>
"""


def write_config(directory: Path, limits: Limits, *, grants: tuple[str, ...] = GRANTS) -> Path:
    """Write the engine's configuration into this directory and return the file to start it with.

    Raises:
        OSError: If the directory cannot be written.
    """
    users, config = directory / "users.xml", directory / "config.xml"
    queries = "\n".join(f"      <query>{escape(grant)}</query>" for grant in grants)
    users.write_text(
        _USERS.format(
            grants=queries,
            execution_s=limits.execution_s,
            memory_bytes=limits.memory_bytes,
            result_bytes=limits.result_bytes,
        ),
        encoding="utf-8",
    )
    config.write_text(
        _CONFIG.format(users=escape(str(users)), memory_total_bytes=limits.memory_total_bytes), encoding="utf-8"
    )
    return config
