"""In which order a board's next process loads what the one before it had."""

from spark_accel.daemon.loaded_models import Loaded, LoadedModels


def loaded(backend: str, program: str = "", provides: str = "") -> Loaded:
    return Loaded({"config": {"backend": backend}}, (), program, provides)


def test_estimators_of_a_board_come_after_the_bitstream_that_they_have_moved_to() -> None:
    models = LoadedModels()
    models.add(1, loaded("bitstream", provides="kmeans:one"))
    models.add(2, loaded("estimator", program="kmeans"))
    models.add(3, loaded("bitstream", provides="kmeans:two"))
    models.drop(1)

    assert [key for key, _ in models.in_order()] == [3, 2]


def test_a_network_comes_after_its_own_bitstream_and_before_later_ones() -> None:
    models = LoadedModels()
    models.add(1, loaded("bitstream", provides="network:one"))
    models.add(2, loaded("network", program="network:one"))
    models.add(3, loaded("bitstream", provides="network:two"))
    models.add(4, loaded("estimator"))  # of a device that is no board
    models.add(5, loaded("network", program="network:two"))

    assert [key for key, _ in models.in_order()] == [1, 2, 3, 4, 5]
