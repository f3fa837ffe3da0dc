"""Standard streams that a shell has closed: every command works or ends with a sentence."""

import errno
import os
import subprocess
import sys

import pytest

from backmix.cli.standard_streams import told_in_one_line

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shells there cannot close them")


def in_shell(redirection, code, **options):
    command = f'exec "$0" -c "$1" {redirection}'
    return subprocess.run(["sh", "-c", command, sys.executable, code], capture_output=True, check=False, **options)


OPEN = "from backmix.cli.standard_streams import closed, open_closed_streams; open_closed_streams()\n"


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_each_closed_stream_gets_the_null_device(redirection, tmp_path):
    names = {"<&-": "stdin", ">&-": "stdout", "2>&-": "stderr"}
    wanted = sorted(names[one] for one in redirection.split())
    code = OPEN + (
        "import os, sys\n"
        f"file = open({str(tmp_path / 'answers')!r}, 'w')\n"
        "assert file.fileno() > 2 and sys.stdin.buffer.read() == b''\n"
        "print('for people'); print('an error', file=sys.stderr); sys.stdout.buffer.write(b'bytes')\n"
        "os.write(2, b'from a library')\n"
        "file.write(','.join(sorted(closed)))\n"
    )
    done = in_shell(redirection, code, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "answers").read_text().split(",") == wanted
    assert (b"for people" in done.stdout) == ("stdout" not in wanted)
    assert (b"from a library" in done.stderr) == ("stderr" not in wanted)


def test_open_streams_stay_as_they_are():
    code = "import sys; before = sys.stdin, sys.stdout, sys.stderr\n" + OPEN
    done = in_shell("", code + "assert before == (sys.stdin, sys.stdout, sys.stderr) and not closed", input=b"")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


MAIN = "import sys; from backmix.cli import main; sys.argv = ['backmix', *{}]; main()"


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", [["--help"], ["report", "no-such-run"], ["predict", "no-such-run", "-"]])
def test_commands_end_without_a_traceback(redirection, words):
    done = in_shell(redirection, MAIN.format(words), stdin=subprocess.DEVNULL)
    assert done.returncode == (words != ["--help"])
    assert b"Traceback" not in done.stdout + done.stderr
    if words != ["--help"] and "2>&-" not in redirection:
        assert done.stderr.startswith(b"backmix: ") and done.stderr.count(b"\n") == 1


def test_predict_says_that_nobody_would_see_its_answers():
    done = in_shell(">&-", MAIN.format(["predict", "no-such-run", "-", "--format", "csv"]), stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert done.stderr == b"backmix: standard output is closed, so nobody would see the answers; give --out FILE\n"


def test_a_reader_that_goes_away_is_no_traceback():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", MAIN.format(["--help"])]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert done.returncode == 1 and done.stderr == b""


def test_errors_of_the_system_are_told_in_one_line():
    told = told_in_one_line(OSError(errno.EROFS, "Read-only file system", "/run/file"))
    assert told.startswith("could not write /run/file: Read-only file system. Choose a folder")
    assert told_in_one_line(OSError(errno.ENOSPC, "No space left on device")).startswith("could not write standard out")
    told = told_in_one_line(OSError(errno.ENOSPC, "No space left on device", b"/run/events"))
    assert told.startswith("could not write /run/events: No space left")
    assert told_in_one_line(OSError(errno.ENOSPC, "No space left on device", 7)).startswith("could not write standard")
    assert told_in_one_line(ValueError("two\nlines")) == "two lines"
    assert told_in_one_line(FileNotFoundError(2, "No such file", "x")) == "[Errno 2] No such file: 'x'"
    assert "nobody reads standard output" in told_in_one_line(BrokenPipeError(errno.EPIPE, "Broken pipe"))
