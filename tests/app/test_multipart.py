"""Files come out of an upload whole, however it is cut into pieces and whatever they are called."""

import pytest
from app_server import MULTIPART, multipart
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("python_multipart", reason="python-multipart comes with gradio, which is not installed")

from backmix.app.multipart import MOST_HEADER, BrokenUpload, Parts


def read(body, size=1 << 20, content_type=MULTIPART):
    """The files of a body that arrives in pieces, and whether its end came."""
    parts, found = Parts(content_type), {}
    for at in range(0, len(body), size):
        for part in parts.feed(body[at : at + size]):
            found.setdefault(id(part), (part, []))[1].extend(part.pieces)
    return [(part.name, b"".join(pieces), part.whole) for part, pieces in found.values()], parts.whole


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 400))
def test_any_bytes_in_any_pieces(contents, size):
    body = multipart(*((f"{i}.png", content) for i, content in enumerate(contents)))
    if any(b"\r\n--xx" in content or content.startswith(b"--xx") for content in contents):
        return
    assert read(body, size) == ([(f"{i}.png", content, True) for i, content in enumerate(contents)], True)


@given(st.text(st.characters(blacklist_characters='"\\\r\n', blacklist_categories=["Cs"]), max_size=300))
def test_any_name(name):
    ((found, content, whole),), _ = read(multipart((name, b"x")))
    assert (content, whole) == (b"x", True) and (found == name or name[1:3] == ":\\")


def test_what_is_no_file_of_the_page_is_passed_over():
    other = b'--xx\r\nContent-Disposition: form-data; name="%s"\r\n\r\n' + b"y" * 1000 + b"\r\n"
    body = other % b"files" + other % b'other"; filename="z' + multipart(("a", b"x"))
    assert read(body)[0] == [("a", b"x", True)]
    assert read(b"--xx\r\n\r\nno headers\r\n" + multipart(("a", b"x")))[0] == [("a", b"x", True)]


def test_what_ends_too_early_is_not_whole():
    body = multipart(("a", b"x" * 100))
    assert read(body[:-30])[1] is False and read(b"")[1] is False


@pytest.mark.parametrize("body", [b"hello", b"--xy\r\n", b"--xx\r\nno colon\r\n\r\n", b"--xx\r\na: b\rc", b"--xx?"])
def test_what_is_no_upload_is_refused(body):
    with pytest.raises(BrokenUpload):
        read(body + b"\r\n" * 20)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "multipart/form-data", 'multipart/form-data; boundary=""', "x; boundary=xx", ";"]
)
def test_another_type_is_refused(content_type):
    with pytest.raises(BrokenUpload):
        Parts(content_type)


def test_long_headers_are_refused():
    for header in (b"a" * MOST_HEADER + b": b\r\n", b"a: " + b"b" * MOST_HEADER + b"\r\n", b"a: b\r\n" * MOST_HEADER):
        with pytest.raises(BrokenUpload):
            read(b"--xx\r\n" + header + b"\r\nx\r\n--xx--\r\n")


@given(st.binary(max_size=400))
def test_noise_is_refused_or_holds_no_file(noise):
    try:
        read(noise)
        read(b"--xx\r\n" + noise)
    except BrokenUpload:
        pass
