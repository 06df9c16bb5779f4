"""The bridge's jar has one build for all versions of Spark: each member of Spark that its code uses must be there."""

from class_files import ClassPath
from script_runs import SPARK_HOME

from spark_accel import jar

OURS = ("org/sparkaccel/", "org/apache/spark/", "pyspark/", "spark_accel/")
SPARKS = ("org/apache/spark/", "py4j/", "breeze/", "org/json4s/")


def test_all_that_the_jar_uses_of_spark_is_in_the_installed_one() -> None:
    ours = ClassPath([jar.path()])
    both = ClassPath([jar.path(), *(SPARK_HOME / "jars").glob("*.jar")])
    own = [name for name in ours.names() if name.startswith(OURS) and "/shaded/" not in name]
    assert own

    missing = {
        f"{user} uses {owner}.{member[0]}{member[1]}"
        for user in own
        for owner, member in ours.get(user).references
        if owner.startswith(SPARKS) and not _there(both, owner, member)
    }

    assert not missing


def _there(path: ClassPath, owner: str, member: tuple[str, str]) -> bool:
    try:
        path.get(owner)
    except KeyError:
        return False
    return not path.lacks(owner, member)
