"""Placeholders in SQL: which count, what they become, and what is said of one without a value."""

from pathlib import Path

import pytest

from confiture.exceptions import MigrationFault
from confiture.sql.placeholders import replace_everywhere, replace_placeholders
from confiture.sql.position import SourceFile

BOARDS = """\
CREATE TABLE {{.prefix}}boards (
    {{if .postgres}}insert_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),{{end}}
    {{if .mysql}}insert_at DATETIME(6) NOT NULL DEFAULT NOW(6),{{end}}
    id VARCHAR(36){{- /* no
    comma */ -}}
) {{if .mysql}}DEFAULT CHARACTER SET utf8mb4{{end}};
"""


def fill_in(text, **variables):
    """Return the text with the values of its placeholders."""
    return replace_placeholders(SourceFile(Path("1_a.sql"), text), variables).text


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("CREATE TABLE ${schema}.a (i int)", "CREATE TABLE app.a (i int)"),
        ("CREATE TABLE ${ schema }.a (i int)", "CREATE TABLE app.a (i int)"),
        ("CREATE INDEX idx_${schema}_a ON a (i)", "CREATE INDEX idx_app_a ON a (i)"),
        ("SELECT '${schema}', \"${schema}\"", "SELECT 'app', \"app\""),
        ("DO $$ BEGIN ${schema}.f(); END $$", "DO $$ BEGIN app.f(); END $$"),
        ("CREATE TABLE {{ .schema }}.a (i int)", "CREATE TABLE app.a (i int)"),
        ("CREATE TABLE {{schema}}.a (i int)", "CREATE TABLE app.a (i int)"),
        ("SELECT 'a {{- .schema -}} b'", "SELECT 'aappb'"),
        ("CREATE TABLE /* TEMPLATE: schema */a (i int)", "CREATE TABLE app.a (i int)"),
        ("DO $$ BEGIN /* TEMPLATE: schema */f(); END $$", "DO $$ BEGIN app.f(); END $$"),
    ],
)
def test_a_placeholder_becomes_its_value(text, filled):
    assert fill_in(text, schema="app") == filled


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '${name}', \"${name}\"",
        "SELECT '{{1,2},{3,4}}', '{{a}}', '{{ .name }}', '{{if .a}}b{{end}}'",
        "CREATE FUNCTION f() RETURNS text LANGUAGE plv8 AS $$ return `${a.b}` + `${c}` $$",
        "SELECT 1 -- ${name} {{ .name }}",
        "CREATE TABLE /* TEMPLATE: schema */a (i int)",
        "COPY a FROM stdin;\n${name}\t{{ .name }}'\n\\.\n",
    ],
)
def test_what_postgresql_reads_as_it_is_stays_so_without_variables(text):
    assert fill_in(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "SELECT '{{1,2},{3,4}}', '{{a}}', '{{ .name }}', '{{if .a}}b{{end}}'",
        "CREATE FUNCTION f() RETURNS text LANGUAGE plv8 AS $$ return `${a.b}` + `${c}` $$",
        "SELECT 1 -- ${name} {{ .name }}",
        "COPY a FROM stdin;\n${schema}\t{{ .schema }}'\n\\.\n",
    ],
)
def test_a_file_that_uses_no_variable_stays_as_it_is(text):
    assert fill_in(text, schema="app") == text


@pytest.mark.parametrize(
    ("text", "line", "written"),
    [
        ("SELECT 1;\nCREATE TABLE ${owner}.a (i int)", 2, "${owner}"),
        ("SELECT 1;\nCREATE TABLE {{ .owner }}.a (i int)", 2, "{{ .owner }}"),
        ("SELECT 1;\nCREATE TABLE {{owner}}.a (i int)", 2, "{{owner}}"),
        ("SELECT 1;\n\n{{ if not .owner }}SELECT 2;{{ end }}", 3, ".owner"),
        ("SELECT '${owner}'", 1, "${owner}"),
        ("CREATE TABLE /* TEMPLATE: owner */a (i int)", 1, "/* TEMPLATE: owner */"),
        ("SELECT ${schema};\nDO $$ BEGIN\n${owner} END $$", 3, "${owner}"),
    ],
)
def test_a_placeholder_without_a_value_names_itself_its_line_and_what_to_write(text, line, written):
    with pytest.raises(MigrationFault) as caught:
        fill_in(text, schema="app")

    fault = caught.value
    assert (fault.line, fault.message) == (line, f"{written} has no value")
    assert (fault.hint or "").startswith(
        'write owner = "…" below [tool.confiture.variables] in pyproject.toml'
    )


def test_all_names_without_a_value_are_in_one_hint():
    with pytest.raises(MigrationFault, match="has no value") as caught:
        fill_in("SELECT ${a}, ${b.c}, ${a}")

    assert (caught.value.hint or "").startswith('write a = "…" and "b.c" = "…" below')


def test_a_block_keeps_the_branch_of_its_condition_and_all_lines():
    filled = fill_in(BOARDS, prefix="p_", postgres="true", mysql="false")

    lines = [" ".join(line.split()) for line in filled.split("\n")]
    assert lines[:4] == [
        "CREATE TABLE p_boards (",
        "insert_at TIMESTAMPTZ NOT NULL DEFAULT NOW(),",
        "",
        "id VARCHAR(36)",
    ]
    assert lines[4:] == ["", ") ;", ""]


@pytest.mark.parametrize(
    ("condition", "branch"),
    [
        (".yes", "1"),
        ("$.yes", "1"),
        (".no", "3"),
        (".empty", "3"),
        ("not .no", "1"),
        ('eq .driver "postgres"', "1"),
        ('eq .driver "mysql" "postgres"', "1"),
        ('ne .driver "postgres"', "3"),
        ('and .yes (or .no (eq .driver "postgres"))', "1"),
        ("and .yes .no", "3"),
        ("true", "1"),
    ],
)
def test_a_condition_is_evaluated_as_go_does(condition, branch):
    text = f"SELECT {{{{ if {condition} }}}}1{{{{ else if .no }}}}2{{{{ else }}}}3{{{{ end }}}}"

    assert fill_in(text, yes="true", no="false", empty="", driver="postgres").split() == ["SELECT", branch]


def test_what_is_in_a_branch_not_taken_needs_no_value():
    filled = fill_in(
        "{{if .a}}{{if .b}}{{ f .c }}{{end}}{{range .d}}{{.e}}{{end}}{{else}}SELECT 1{{end}}", a=""
    )

    assert filled.strip() == "SELECT 1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{{ template "shared.sql" . }}', "cannot be evaluated"),
        ('SELECT 1; {{ createIndex "a" "b" }}', 'createIndex "a" "b" }} cannot be evaluated'),
        ("{{ range .tables }}SELECT 1;{{ end }}", "{{ range .tables }} cannot be evaluated"),
        ("{{ if lt .a 1 }}SELECT 1;{{ end }}", "{{ if lt .a 1 }} cannot be evaluated"),
        ("{{ if .a }}SELECT 1;", "{{ if }} has no {{ end }}"),
        ("SELECT 1;{{ end }}", "{{ end }} ends no {{ if }}"),
        ("SELECT 1;{{ else }}", "{{ else }} ends no {{ if }}"),
    ],
)
def test_what_only_go_can_evaluate_is_refused(text, words):
    with pytest.raises(MigrationFault) as caught:
        fill_in(text, a="1")

    assert words in caught.value.message


def test_a_value_with_a_line_break_is_refused():
    with pytest.raises(MigrationFault, match="the value of a has a line break"):
        fill_in("SELECT ${a}", a="1\n2")


def test_a_schema_of_river_gets_its_dot_only_where_a_name_follows():
    text = "SELECT /* TEMPLATE: schema */a, '/* TEMPLATE: schema */'"

    assert fill_in(text, schema="app.") == "SELECT app.a, '/* TEMPLATE: schema */'"
    assert fill_in(text, schema="") == "SELECT a, '/* TEMPLATE: schema */'"


def test_a_tool_that_knows_no_sql_replaces_in_comments_and_quotes_too():
    source = SourceFile(Path("V1__a.sql"), "-- #[a]\nSELECT '#[a]', $$#[a]$$ #[a]")

    filled = replace_everywhere(source, {"a": "1"}, prefix="#[", suffix="]", end=len(source.text) - 4)

    assert filled.text == "-- 1\nSELECT '1', $$1$$ #[a]"
