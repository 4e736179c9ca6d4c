"""Curves: what larger tables take, from what smaller ones took."""

import pytest

from confiture.estimate.curve import CurveForm, Point, compute_work, fit_curve


def test_one_size_grows_with_n_log_n():
    curve = fit_curve([Point(10_000, 50.0)])

    assert curve.predict_ms(1_000_000) == pytest.approx(50.0 * compute_work(1_000_000) / compute_work(10_000))


def test_two_sizes_give_both_parts_back():
    made = [Point(rows, 7.0 + 0.001 * compute_work(rows)) for rows in (10_000, 100_000)]

    curve = fit_curve(made)

    assert curve.fixed_ms == pytest.approx(7.0)
    assert curve.predict_ms(3_000_000) == pytest.approx(7.0 + 0.001 * compute_work(3_000_000))


def test_what_grows_faster_than_n_log_n_gets_no_negative_part():
    curve = fit_curve([Point(10_000, 10.0), Point(100_000, 1000.0)])

    assert curve.fixed_ms == 0.0
    assert curve.growing_ms > 0


def test_what_shrinks_with_size_does_not_become_negative():
    curve = fit_curve([Point(10_000, 30.0), Point(100_000, 20.0)])

    assert curve.growing_ms == 0.0
    assert 20.0 <= curve.predict_ms(10_000_000) <= 30.0


def test_several_runs_of_one_size_are_one_size():
    curve = fit_curve([Point(10_000, 40.0), Point(10_000, 40.0)])

    assert curve.predict_ms(10_000) == pytest.approx(40.0)


def test_an_empty_table_has_a_time_too():
    assert fit_curve([Point(0, 1.0)]).predict_ms(0) == pytest.approx(1.0)


def test_linear_work_grows_with_the_rows():
    curve = fit_curve([Point(10_000, 50.0)], linear=True)

    assert curve.predict_ms(1_000_000) == pytest.approx(5000.0)


def test_a_linear_curve_through_two_sizes_finds_the_fixed_part():
    curve = fit_curve([Point(10_000, 17.0), Point(100_000, 107.0)], linear=True)

    assert curve.fixed_ms == pytest.approx(7.0)
    assert curve.predict_ms(1_000_000) == pytest.approx(1007.0)


def test_a_doubted_fixed_part_becomes_smaller_and_the_curve_steeper():
    points = [Point(10_000, 17.0), Point(30_000, 37.0)]

    believed, doubted = (
        fit_curve(points, "scan", linear=True, form=CurveForm({"scan": doubt})) for doubt in (0.0, 1.0)
    )

    assert believed.fixed_ms == pytest.approx(7.0)
    assert 0.0 < doubted.fixed_ms < believed.fixed_ms
    assert doubted.predict_ms(1_000_000) > believed.predict_ms(1_000_000)


def test_a_class_without_timings_is_doubted_as_all_are():
    form = CurveForm({"scan": 2.0}, other_doubt=0.5)

    assert (form.find_doubt("scan"), form.find_doubt("cluster")) == (2.0, 0.5)


def test_workers_of_the_rehearsal_and_of_production_are_told_apart():
    form = CurveForm(parallel_share=0.5)
    points = [Point(10_000, 10.0), Point(30_000, 22.5, workers=1)]

    curve = fit_curve(points, linear=True, form=form)

    assert curve.predict_ms(100_000) == pytest.approx(100.0)
    assert curve.predict_ms(100_000, 1) == pytest.approx(75.0)
