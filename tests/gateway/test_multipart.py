"""Forms: a field is replaced in place, and all other bytes stay."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from supervisor.gateway.asked import BadRequest, look, renamed
from supervisor.gateway.multipart import BadForm, fields
from tests.gateway.asking import at, form, head

HEARD = at("/v1/audio/transcriptions")
WAV = bytes(range(256)) * 40 + b"\r\n--xyzzy\r\n--xy\r\n\r\n"


def asked(type, body, surface=HEARD):
    return look(surface, head(target="/v1/audio/transcriptions", content_type=type), body)


@pytest.mark.parametrize("before", [True, False])
def test_a_form_names_its_model_before_the_file_or_behind_it(before):
    type, body = form(("model", "whisper"), ("user", "ann"), files=[("file", WAV)])
    if not before:
        end = body.index(b'--xyz\r\nContent-Disposition: form-data; name="file"')
        body = body[end : -len(b"--xyz--\r\n")] + body[:end] + b"--xyz--\r\n"
    found = asked(type, body)
    assert (found.model, found.user, found.stream) == ("whisper", "ann", False)
    there = renamed(HEARD, head(content_type=type), body, "Systran/faster-whisper", found)
    assert there == body.replace(b"\r\nwhisper\r\n", b"\r\nSystran/faster-whisper\r\n")
    assert renamed(HEARD, head(content_type=type), body, "whisper") is body


def test_a_form_may_ask_for_a_stream():
    type, body = form(("model", "m"), ("stream", "true"))
    assert asked(type, body).stream is True
    assert asked(type, body, at("/v1/audio/translations")).stream is False


def test_a_file_that_is_called_model_is_none():
    type, body = form(files=[("model", b"gpt")])
    with pytest.raises(BadRequest) as no:
        asked(type, body)
    assert (no.value.status, no.value.param) == (400, "model")


def test_two_models_in_one_form_are_refused_unless_they_are_the_same():
    """Which of them counts differs from engine to engine."""
    type, body = form(("model", "a"), ("model", "b"))
    with pytest.raises(BadRequest):
        asked(type, body)
    assert asked(*form(("model", "a"), ("model", "a"))).model == "a"


def test_a_model_that_is_named_twice_is_another_twice():
    """An engine takes the first or the last: it may have one of its own by the client's name."""
    type, body = form(("model", "mine"), ("user", "ann"), ("model", "mine"))
    there = renamed(HEARD, head(content_type=type), body, "ours", asked(type, body))
    assert (there.count(b"ours"), there.count(b"mine")) == (2, 0)
    assert asked(type, there).model == "ours"


def test_a_form_for_azures_path_gets_a_field_that_it_does_not_have():
    path = "/openai/deployments/mine/images/edits"
    type, body = form(("prompt", "a cat"), files=[("image", WAV)])
    sent = head(target=path, content_type=type)
    there = renamed(at(path), sent, body, "flux", look(at(path), sent, body))
    assert asked(type, there).model == "flux"
    assert there.endswith(body)


def test_where_a_form_is_usual_json_is_taken_too():
    sent = head(target="/v1/images/edits", content_type="application/json")
    assert look(at("/v1/images/edits"), sent, b'{"model": "m"}').model == "m"


@pytest.mark.parametrize(
    ("type", "body", "words"),
    [
        ("multipart/form-data", b"x", "names no boundary"),
        ("multipart/form-data; boundary=" + "a" * 71, b"x", "names no boundary"),
        ("multipart/form-data; boundary=xyz", b"nothing", "does not have the boundary"),
        ("multipart/form-data; boundary=xyz", b"--xyz\r\n", "do not end"),
        ("multipart/form-data; boundary=xyz", b"--xyz and more\r\n", "does not have the boundary"),
        ("multipart/form-data; boundary=xyz", form(("model", "m"))[1][:-9], "before its last"),
        ("multipart/form-data; boundary=xyz", b"--xyz\r\na: b\r\n\r\nc", "before its last"),
        ("multipart/form-data; boundary=xyz", b"--xyz\r\n" + b"a" * 20_000, "do not end"),
        ("multipart/form-data; boundary=xyz", form(*[("a", "b")] * 1001)[1], "more than 1000"),
    ],
)
def test_what_is_no_form_is_refused(type, body, words):
    with pytest.raises(BadRequest) as no:
        asked(type, body)
    assert no.value.status == 400
    assert words in no.value.message


def test_a_quoted_boundary_a_preamble_and_odd_headers_are_understood():
    body = (
        b"preamble\r\n--a b\r\ncontent-disposition:form-data;name=model\r\nX: y\r\n\r\nm\r\n"
        b"--a b  \r\nX: y\r\n\r\nnobody's\r\n--a b--\r\nepilogue"
    )
    assert asked('multipart/form-data; charset=utf-8; boundary="a b"', body).model == "m"


NAMED = b'Content-Disposition: form-data; name="model"'


def lying(headers, secret=b"secret"):
    """A form whose first part some engines take for the model; then comes the plain one."""
    first = b"--xyz\r\n" + headers + b"\r\n\r\n" + secret + b"\r\n"
    return first + b"--xyz\r\n" + NAMED + b"\r\n\r\nallowed\r\n--xyz--\r\n"


PLAIN = lying(b"")[len(b"--xyz\r\n\r\n\r\nsecret\r\n") :]
LIES = {
    "an empty file name: to Go that is a field": lying(NAMED + b'; filename=""'),
    "a file name": lying(NAMED + b'; filename="a.bin"'),
    "a file name of another form": lying(NAMED + b"; filename*=utf-8''a"),
    "two dispositions: to Starlette the last counts": lying(
        b'Content-Disposition: form-data; name="x"\r\n' + NAMED
    ),
    "a header of two lines": lying(b'Content-Disposition: form-data;\r\n name="model"'),
    "a header of two lines, by a tab": lying(b'Content-Disposition: form-data;\r\n\tname="model"'),
    "a line that ends by a line feed alone": lying(b"X: y\n" + NAMED),
    "headers that end by line feeds": lying(NAMED + b"\n\nsecret\r\n--xyz\r\n" + NAMED),
    "a line that is no header": lying(b"model\r\n" + NAMED),
    "a space before the colon": lying(NAMED.replace(b":", b" :")),
    "two names": lying(NAMED.replace(b"name=", b'name="x"; name=')),
    "a name in pieces": lying(NAMED.replace(b'name="model"', b'name*0="mo"; name*1="del"')),
    "a name that is encoded": lying(NAMED.replace(b'name="model"', b"name*=utf-8''model")),
    "a name with an escape": lying(NAMED.replace(b"model", b"mo\\del")),
    "a quote that does not end": lying(NAMED + b'; x="'),
    "a name of another case": lying(NAMED.replace(b"model", b"Model")),
    "a name with a space": lying(NAMED.replace(b"model", b" model")),
    "a long one": lying(NAMED, b"secret" + b" " * 4096),
    "a boundary with a long line": lying(
        b'Content-Disposition: form-data; name="file"; filename="a"',
        b"x\r\n--xyz" + b" " * 100 + b"\r\n" + NAMED + b"\r\n\r\nsecret",
    ),
    "a boundary by a line feed, before the first": b"--xyz\n" + NAMED + b"\n\nsecret\n" + PLAIN,
    "a boundary by a line feed, in a preamble": b"a\n--xyz\n" + NAMED + b"\n\nb\r\n" + PLAIN,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_form_that_some_engines_read_otherwise_is_refused(lie):
    """They would ask a model that was not let through."""
    with pytest.raises(BadRequest) as no:
        asked("multipart/form-data; boundary=xyz", LIES[lie])
    assert no.value.status == 400


def test_the_form_that_is_lied_in_is_else_a_good_one():
    plain = lying(
        b'Content-Disposition: form-data; name="file"; filename="a; name=\\"model\\".wav"'
    )
    for body in (plain, PLAIN, lying(b"X: y"), lying(b"")):
        assert asked("multipart/form-data; boundary=xyz", body).model == "allowed"


@pytest.mark.parametrize(
    ("model", "file"),
    [
        (b'form-data; name="model"', b'form-data; name="file"; filename="a.wav"'),
        (b"form-data; name=model", b"form-data; name=file; filename=a.wav; filename*=utf-8''a.wav"),
        (b'form-data; name="model"', b"form-data; name=\"file\"; filename*=utf-8''%C3%A4.wav"),
        (b'form-data; name="model";', b'form-data; name="file"; filename="C:\\new\\a.wav"'),
        (b'form-data;name="model"', b'form-data ; name = "file" ; filename = my own.wav '),
        (b'form-data; name="model"', b'form-data; name="file"; filename=""'),
        (b'form-data; name="model"', b'attachment; name="file"; filename="a;b=\xc3\xa4.wav"'),
    ],
)
def test_forms_as_the_usual_libraries_write_them_are_read(model, file):
    for end in (b"", b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 1"):
        parts = [(file, WAV), (model, b"allowed")]
        lines = (b"--xyz\r\nContent-Disposition: " + d + end + b"\r\n\r\n" + v for d, v in parts)
        body = b"\r\n".join(lines) + b"\r\n--xyz--\r\n"
        assert asked('multipart/form-data; boundary="xyz"', body).model == "allowed"
        assert asked("multipart/form-data; boundary=xyz", b"\r\n" + body).model == "allowed"


def test_a_form_of_two_boundaries_is_refused():
    for more in ("; boundary=xyz", ";boundary*=utf-8''abc", '; BOUNDARY="abc"'):
        with pytest.raises(BadRequest):
            asked("multipart/form-data; boundary=xyz" + more, PLAIN)
    webkit = PLAIN.replace(b"--xyz", b"------WebKitFormBoundaryX")
    assert asked("multipart/form-data; boundary=----WebKitFormBoundaryX", webkit).model == "allowed"


def test_headers_of_whoever_means_ill_are_read_as_fast_as_others():
    """A second for each of them would be a second for everybody."""
    head = b"Content-Disposition: form-data" + b"; a= b " * 1500 + b'"'
    with pytest.raises(BadRequest):
        asked("multipart/form-data; boundary=xyz", lying(head))


def test_a_field_that_is_long_is_not_read():
    type, body = form(("model", "m"), ("prompt", "x" * 10_000))
    assert [f.name for f in fields(type.encode(), body)] == ["model"]


def test_a_form_that_ends_early_is_bad_only_when_that_is_reached():
    type, body = form(("model", "m"))
    read = fields(type.encode(), body[:-9])
    with pytest.raises(BadForm):
        list(read)


@given(st.binary(max_size=300), st.text("abc-_/:.", min_size=1), st.booleans())
def test_whatever_a_file_holds_only_the_models_name_changes(content, name, first):
    assume(b"--xyz" not in content)
    type, body = form(("model", "before"), files=[("file", content)])
    if first:
        type, body = form(("stream", "1"), ("model", "before"), files=[("file", content)])
    there = renamed(HEARD, head(content_type=type), body, name)
    assert there == body.replace(b"\r\n\r\nbefore\r\n", b"\r\n\r\n%s\r\n" % name.encode(), 1)
    assert asked(type, there).model == name
