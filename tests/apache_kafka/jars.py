"""Where Apache Kafka's jars come from."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

POM = Path(__file__).parent / "pom.xml"
CACHE = Path(__file__).parents[2] / ".cache" / "apache-kafka-4.1.1"


def _unavailable(why: str) -> None:
    """Skip on a machine that cannot run it, and say why; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"Apache Kafka must run in CI: {why}")
    pytest.skip(f"Apache Kafka: {why}")


def apache_kafka_jars() -> Path:
    """Return the folder with the jars, fetched once into `.cache/` beside the tests."""
    if shutil.which("java") is None:
        _unavailable("there is no Java")
    if not (CACHE / "complete").exists():
        maven = shutil.which("mvn")
        if maven is None:
            _unavailable("there is no Maven to fetch it with")
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        done = subprocess.run(
            [str(maven), "-B", "-q", "-f", str(POM), goal, f"-DoutputDirectory={CACHE}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        if done.returncode != 0:
            _unavailable(f"Maven could not fetch it: {done.stdout[-300:]}")
        (CACHE / "complete").touch()
    return CACHE
