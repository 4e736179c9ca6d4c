"""``make calibration-live`` on databases that take no time: everything is there, and well-formed."""

from __future__ import annotations

from xml.etree import ElementTree

import psycopg
import pytest

from confiture.estimate.statement_estimate import Prediction
from confiture.models.report import Estimate, StatementReport
from confiture.testing.databases import TemplateDatabases
from tests.calibration.live.draw import draw_picture
from tests.calibration.live.measure import Judged, Processor, Timed, measure
from tests.calibration.live.render import format_ms, render_summary, render_table
from tests.calibration.live.schemas import PARCELS, SCHEMAS, TICKETS, Change

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"
# As many rows there as here: that is answered however quick it was.
SIZES = (300, 600, 600)


@pytest.fixture
def templates(_confiture_templates: TemplateDatabases) -> TemplateDatabases:
    """A server, and databases to copy."""
    return _confiture_templates


def judged(actual_ms: float, *, p50_ms: float | None = 100.0, **more) -> Judged:
    """Return a change that was predicted to take between 50 and 200 ms."""
    estimate = Estimate(
        known=True,
        p50_ms=p50_ms,
        interval50_ms=(80.0, 125.0),
        interval90_ms=(50.0, 200.0),
        confidence_percent=60.0,
    )
    change = Change("index time", "index", "CREATE INDEX ON seen (at)")
    return Judged(change, Prediction(more.get("estimate", estimate)), actual_ms, more.get("crosses", False))


def test_every_change_is_rehearsed_predicted_and_run(templates: TemplateDatabases):
    names = {"add column", "validate key", "index text", "add token", "update all", "matview"}
    changes = [change for change in PARCELS.changes if change.name in names]

    measured = measure(templates, PARCELS, SIZES, changes, runs=1, probed_s=0.0, tell=lambda _: None)
    answers = [change.judge(adjusted=True) for change in measured]

    assert [answer.change.work for answer in answers] == [
        "catalog",
        "foreign key",
        "text index",
        "rewrite",
        "dml",
        "matview",
    ]
    assert all(answer.actual_ms > 0 and answer.prediction.estimate.known for answer in answers)
    assert [answer.prediction.estimate.p50_ms is None for answer in answers] == [True, *[False] * 5]
    assert len(render_table(answers).splitlines()) == 2 + len(changes)
    assert "answered 6 of 6" in render_summary(answers)
    drawn = ElementTree.fromstring(draw_picture(answers, "Tried"))
    assert len(drawn.findall(f"{SVG}g/{SVG}circle")) == 5


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_every_change_of_a_schema_runs(templates: TemplateDatabases, schema):
    name = templates.copy("template0")

    with psycopg.connect(templates.server.conninfo(name), autocommit=True) as conn:
        schema.fill(conn, 200)
        for change in schema.changes:
            with conn.transaction(force_rollback=True):
                conn.execute(change.sql.encode())
    templates.drop(name)

    assert schema in (PARCELS, TICKETS)


def test_the_same_size_and_seed_is_the_same_database(templates: TemplateDatabases):
    digests = []

    for seed in (1, 1, 2):
        name = templates.copy("template0")
        with psycopg.connect(templates.server.conninfo(name), autocommit=True) as conn:
            PARCELS.fill(conn, 200, seed)
            query = (
                "SELECT md5(string_agg(p::text || s::text, ',')) FROM parcels p JOIN seen s ON parcel = id"
            )
            digests += conn.execute(query).fetchall()
        templates.drop(name)

    assert digests[0] == digests[1] != (None,)
    assert digests[2] != digests[0]


def test_a_line_says_what_was_predicted_and_what_came():
    line = render_table([judged(120.0)]).splitlines()[-1]

    assert line == (
        "| 1 | `CREATE INDEX ON seen (at)` | index | 100 ms | 50 ms to 200 ms | 60 % | 120 ms | yes | +20 % |"
    )


def test_a_miss_is_said_to_be_one():
    assert "| 1.2 s | NO | +1100 % |" in render_table([judged(1200.0)])


def test_what_was_not_known_says_why_and_what_it_took():
    unknown = Estimate(known=False, reason="it took 1.8 ms here")

    assert "| unknown: it took 1.8 ms here |  |  | 120 ms |  |  |" in render_table(
        [judged(120.0, estimate=unknown)]
    )


def test_the_sum_tells_settings_apart():
    bound = Estimate(known=True, interval90_ms=(0.0, 3.0))
    unknown = Estimate(known=False, reason="too few")

    text = render_summary(
        [
            judged(110.0),
            judged(300.0),
            judged(90.0, crosses=True),
            judged(2.0, estimate=bound),
            judged(9.0, estimate=unknown),
        ]
    )

    assert text.splitlines() == [
        "- answered 4 of 5; catalog only: 1 of 1 within their bound",
        "- within memory: 1 of 2 inside 90 %, 1 inside 50 %, median error 105.0 %, median width ×/÷ 2.00",
        "- crossing a memory threshold: 1 of 1 inside 90 %, 1 inside 50 %, median error 10.0 %, median width ×/÷ 2.00",
        "- both: 2 of 3 inside 90 %, 2 inside 50 %, median error 10.0 %, median width ×/÷ 2.00;"
        " confidence 60 % stated, 67 % within 15 %; in the middle the truth is 1.10 × the prediction",
    ]


def test_the_picture_draws_what_has_an_interval_and_numbers_it_as_the_table_does():
    bound = Estimate(known=True, interval90_ms=(0.0, 3.0))

    drawn = ElementTree.fromstring(draw_picture([judged(2.0, estimate=bound), judged(120.0)], "Tried"))

    assert [element.text for element in drawn.findall(f"{SVG}g/{SVG}title")] == [
        "index time: predicted 100 ms, actual 120 ms"
    ]
    assert "2" in [element.text for element in drawn.findall(f"{SVG}text")]


def test_a_true_prediction_stands_on_the_line():
    drawn = ElementTree.fromstring(draw_picture([judged(100.0)], "Tried"))

    (point,) = drawn.findall(f"{SVG}g/{SVG}circle")
    (line,) = drawn.findall(f"{SVG}line[@class='true']")
    along = float(point.attrib["cx"]) + float(point.attrib["cy"])
    assert along == pytest.approx(float(line.attrib["x1"]) + float(line.attrib["y1"]), abs=0.2)


def test_nothing_answered_is_a_picture_too():
    assert ElementTree.fromstring(draw_picture([], "Tried")).tag == f"{SVG}svg"


@pytest.mark.parametrize(
    ("processor", "left_ms"),
    [
        (Processor(cpu_ms=60.0, waited_ms=30.0), 70.0),
        # The waiting before and after it was not its own.
        (Processor(cpu_ms=60.0, waited_ms=95.0), 60.0),
        (Processor(cpu_ms=130.0, waited_ms=95.0), 100.0),
        (None, 100.0),
    ],
)
def test_waiting_for_a_cpu_is_taken_out(processor, left_ms):
    assert Timed(StatementReport(1, "SELECT", 100.0), processor).adjusted.duration_ms == left_ms


@pytest.mark.parametrize(
    ("ms", "words"),
    [(0.42, "0.42 ms"), (12.34, "12.3 ms"), (412.2, "412 ms"), (3141.5, "3.14 s"), (123456.0, "123 s")],
)
def test_times_have_three_figures(ms, words):
    assert format_ms(ms) == words
