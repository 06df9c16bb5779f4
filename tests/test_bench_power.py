"""How much power the machine takes while a bench measures, by sensors of a made-up /sys."""

from pathlib import Path

from conftest import eventually

from spark_accel.bench import power


def rapl(system: Path, number: int, name: str, microjoules: int) -> Path:
    """A RAPL domain's counter."""
    domain = system / "class" / "powercap" / f"intel-rapl:{number}"
    domain.mkdir(parents=True)
    (domain / "name").write_text(f"{name}\n")
    (domain / "max_energy_range_uj").write_text("9999999\n")
    (domain / "energy_uj").write_text(f"{microjoules}\n")
    return domain / "energy_uj"


def hwmon(system: Path, number: int, name: str, sensor: str, microwatts: int) -> Path:
    """A chip's sensor."""
    chip = system / "class" / "hwmon" / f"hwmon{number}"
    chip.mkdir(parents=True)
    (chip / "name").write_text(f"{name}\n")
    (chip / sensor).write_text(f"{microwatts}\n")
    return chip / sensor


def test_rapl_counts_joules_over_the_end_of_its_counter(tmp_path: Path) -> None:
    package = rapl(tmp_path, 0, "package-0", 9_000_000)
    meter = power.find(0.0, tmp_path)

    before = meter.read()
    package.write_text("1000000\n")

    assert meter.watts(before, 2.0) == 1.0
    assert meter.facts() == {"source": "RAPL, processor packages", "nominal": False}


def test_without_a_sensor_the_nominal_figure_is_marked_as_such(tmp_path: Path) -> None:
    meter = power.find(45.0, tmp_path)

    assert meter.watts(meter.read(), 1.0) == 45.0
    assert meter.facts() == {"source": "nominal, 45 W as given by --watts", "nominal": True}


def test_without_both_power_is_unknown(tmp_path: Path) -> None:
    meter = power.find(0.0, tmp_path)

    assert meter.watts(meter.read(), 1.0) is None


def test_rapl_of_two_packages_is_added_up_and_that_of_the_platform_has_them_once_more(tmp_path: Path) -> None:
    domains = [rapl(tmp_path, number, name, 0) for number, name in enumerate(("package-0", "package-1", "psys"))]
    meter = power.find(0.0, tmp_path)

    before = meter.read()
    for domain, microjoules in zip(domains, (2_000_000, 3_000_000, 9_000_000), strict=True):
        domain.write_text(str(microjoules))

    assert meter.watts(before, 1.0) == 5.0


def test_a_sensor_of_the_moment_is_asked_while_the_work_lasts_and_named_with_its_chip(tmp_path: Path) -> None:
    sensor = hwmon(tmp_path, 3, "ina226", "power1_input", 60_000_000)
    meter = power.find(0.0, tmp_path)

    with meter.sampling() as samples:
        eventually(lambda: len(samples) >= 3)
        sensor.write_text("5000000")  # idle again

    assert meter.watts(meter.read(), 1.0, samples) == 60.0
    assert meter.facts()["source"] == "hwmon, ina226 power1_input"


def test_short_work_is_looked_at_when_it_ends(tmp_path: Path) -> None:
    hwmon(tmp_path, 0, "ina226", "power1_average", 60_000_000)
    meter = power.find(0.0, tmp_path)

    with meter.sampling() as samples:
        pass

    assert meter.watts(meter.read(), 0.001, samples) == 60.0
